"""Update rules: pure, finite from the first step on, with a state that keeps its form."""

from typing import Protocol

import numpy

from specdesc._lib.typing import Array
from specdesc.testing.report import Report
from specdesc.testing.stack import check_stack
from specdesc.testing.trial import Trial

State = dict[str, Array]

#: What a step may make of rounding: a preconditioner of scale eps has the slope 1 / eps.
STEEPNESS = 64.0

#: Steps of a run; its gradients are random but for the one of these steps, which is zero.
STEPS, STILL = 4, (1,)


class Rule(Protocol):
    """What is checked."""

    def init(self, x: Array, /) -> State:
        """Return the state before the first step."""
        ...

    def update(
        self,
        x: Array,
        grad: Array,
        state: State,
        /,
        *,
        value: Array | None = None,
        previous_grad: Array | None = None,
    ) -> tuple[Array, State]:
        """Return the next point and state."""
        ...


def check_rule(
    rule: Rule,
    /,
    *,
    shape: tuple[int, int] = (4, 3),
    transposed: bool = True,
    dtype: str | None = None,
    backend: str = "numpy",
    seed: int = 0,
) -> Report:
    """Hold an update rule to what `minimize` and the optimizers expect of one.

    Parameters
    ----------
    rule : Rule
        With ``init(x)`` and ``update(x, grad, state, value=, previous_grad=)``.
    shape, transposed, dtype, backend, seed
        Of the matrices that are tried, as in `check_prox`.

    Returns
    -------
    Report
        ``(passed, failures)``.

    Raises
    ------
    NotImplementedError
        What `rule` raises.

    Notes
    -----
    The state is a flat dictionary of arrays whose keys, shapes and dtypes never change, from `init`
    on. Points have the kind of the first one and are finite, also where the first gradient, or a
    later one, is zero or ties. The arguments are left alone, and a second call with the same ones
    gives the same. The matrices of a stack are apart. The first step from 0 does not go uphill:
    with the opposite gradient it goes no further down.

    Examples
    --------
    >>> from specdesc import rules, testing
    >>> testing.check_rule(rules.Muon(0.1)).passed
    True
    """
    trial = Trial(seed, shape, dtype, backend)
    with trial.caught():
        for turn in range(1 + (transposed and shape[0] != shape[1])):
            if turn:
                trial.turned()
            _check(trial, rule)
    return trial.report()


def _check(trial: Trial, rule: Rule) -> None:
    special = trial.special()
    for first in [trial.draw(), *special.values()]:
        gradients = [first, *(trial.draw() for _ in range(STEPS - 1))]
        for step in STILL:
            gradients[step] = special["zero"]
        _run(trial, rule, trial.draw(), gradients)
    _check_downhill(trial, rule)
    later = trial.draw()

    def twice(x: Array) -> Array:
        state = rule.init(0.0 * x)
        moved, state = _update(trial, rule, 0.0 * x, x, state)
        return _update(trial, rule, moved, x + later, state)[0]

    check_stack(trial, "steps of a stack", twice, steepness=STEEPNESS)


def _update(trial: Trial, rule: Rule, x: Array, grad: Array, state: State) -> tuple[Array, State]:
    """Call a rule with all that it may ask for: the value of half the square."""
    value = 0.5 * abs(trial.host(x)) ** 2
    like = trial.backend.xp.real(x) if trial.is_complex else x
    name = str(like.dtype).rsplit(".", 1)[-1]
    values = trial.backend.from_host(value.sum((-2, -1)), dtype=name)
    more = {"previous_grad": grad} if getattr(rule, "needs_previous_grad", False) else {}
    return rule.update(x, grad, state, value=values, **more)


def _run(trial: Trial, rule: Rule, x: Array, gradients: list[Array]) -> None:
    state = rule.init(x)
    form = _form(trial, state)
    if form is None:
        return
    for step, grad in enumerate(gradients):
        before = {name: trial.host(part) for name, part in state.items()}
        given = trial.host(grad)
        moved, new = _update(trial, rule, x, grad, state)
        law = f"step {step}"
        if not trial.alike(law, x, moved, trial.host(x)) or not _unchanged(trial, state, before):
            return
        if not numpy.array_equal(trial.host(grad), given):
            trial.fail("input", "the gradient was written to")
        if _form(trial, new) != form:
            trial.fail("state", f"step {step} changed keys, shapes or dtypes of the state")
            return
        again, _ = _update(trial, rule, x, grad, state)
        trial.near("pure: a second call", trial.apart(again, moved), 0.0, 0.0)
        x, state = moved, new


def _form(trial: Trial, state: State) -> dict[str, tuple[str, tuple[int, ...]]] | None:
    """Return dtypes and shapes of a state by name, None where it is none."""
    if not isinstance(state, dict) or not all(hasattr(part, "dtype") for part in state.values()):
        trial.fail("state", f"must be a dictionary of arrays, is {type(state).__name__}")
        return None
    return {name: (str(part.dtype), tuple(part.shape)) for name, part in state.items()}


def _unchanged(trial: Trial, state: State, before: dict[str, Array]) -> bool:
    same = all(
        numpy.array_equal(trial.host(state[name]), part, equal_nan=True)
        for name, part in before.items()
    )
    if not same:
        trial.fail("state", "an update wrote to the old state")
    return same


def _check_downhill(trial: Trial, rule: Rule) -> None:
    grad = trial.draw()
    x = 0.0 * grad
    ends = [_update(trial, rule, x, each, rule.init(x))[0] for each in (grad, -grad)]
    moved = trial.host(ends[0]) - trial.host(ends[1])
    along = float((trial.host(grad).conj() * moved).sum().real)
    scale = trial.size(grad) * (trial.size(ends[0]) + trial.size(ends[1]))
    trial.near("the first step goes uphill", along, 0.0, scale)
