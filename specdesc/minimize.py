"""The driver: it runs a rule on a problem and says how it went."""

from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple

from specdesc import _extras
from specdesc._array import enter
from specdesc._typing import Array
from specdesc.backends import Backend
from specdesc.rules import Rule

Status = Literal["tol", "steps", "nonfinite", "callback"]


class History(NamedTuple):
    """What was seen on the way.

    Attributes
    ----------
    value : array, shape (points, ...)
        The objective at every point that was visited, the last one included.
    certificate : array or None
        What `stop` returned at every point, None without a `stop`.
    """

    value: Array
    certificate: Array | None


class Result(NamedTuple):
    """The result of `minimize`.

    Attributes
    ----------
    x : array
        The last point, or the last good one if the objective ceased to be finite.
    value : array
        The objective there, of the batch shape.
    status : {"tol", "steps", "nonfinite", "callback"}
        Why it stopped.
    history : History
        What was seen on the way.
    state : dict of str to array
        The state of the rule after the last step.
    """

    x: Array
    value: Array
    status: Status
    history: History
    state: dict[str, Array]


def minimize(
    value_and_grad: Callable[..., tuple[Array, Array]],
    x0: Array,
    rule: Rule,
    /,
    *,
    steps: int,
    samples: Callable[[int], object] | None = None,
    stop: Callable[[Array, Array, Array, dict[str, Array]], Array] | None = None,
    tol: float | None = None,
    callback: Callable[[int, Array, Array], bool | None] | None = None,
    progress: bool = False,
) -> Result:
    """Run `rule` from `x0` for at most `steps` steps.

    Parameters
    ----------
    value_and_grad : callable
        ``value_and_grad(x)``, or ``value_and_grad(x, sample)`` with `samples`: the objective, of
        the batch shape, and a subgradient of the shape of x.
    x0 : array, shape (..., m, n)
        Where to start. It is not changed.
    rule : Rule
        Any of `specdesc.rules`.
    steps : int
        At least 0.
    samples : callable, optional
        A pure function of the step count that gives the sample of a stochastic objective.
    stop : callable, optional
        ``stop(x, value, grad, state)`` is held against `tol`; on a stack all must pass.
    tol : float, optional
        Needs `stop`.
    callback : callable, optional
        ``callback(t, x, value)`` after each evaluation; True stops.
    progress : bool
        Show a progress bar on standard error; needs tqdm, which the extra ``demo`` has.

    Returns
    -------
    Result
        ``(x, value, status, history, state)``.

    Raises
    ------
    ValueError
        If `steps` is negative, or `tol` comes without `stop`, or the other way round.
    specdesc.MissingExtra
        If `progress` is wanted and tqdm is not there.

    Notes
    -----
    A host loop: it reads one value a step, on every backend, to see whether it is finite. To run a
    rule inside a traced loop, call its ``update`` there.

    Examples
    --------
    >>> import numpy as np
    >>> import specdesc as sd
    >>> target = np.diag([2.0, 1.0])
    >>> def distance(x):
    ...     u, s, vh = np.linalg.svd(x - target)
    ...     return s.sum(), u @ vh
    >>> rule = sd.rules.SpectralDescent(sd.schedules.geometric(1.0, 0.7))
    >>> found = sd.minimize(distance, np.zeros((2, 2)), rule, steps=60)
    >>> found.status, bool(found.value < 1e-6)
    ('steps', True)
    """
    backend = _check(x0, steps, stop, tol)
    x, good_x, good_value = x0, x0, None
    state = rule.init(x0)
    values: list[Array] = []
    certificates: list[Array] = []
    status: Status = "steps"
    for t in _counted(steps, progress):
        sample = () if samples is None else (samples(t),)
        value, grad = value_and_grad(x, *sample)
        values.append(value)
        if not bool(backend.xp.all(backend.xp.isfinite(value))):
            status = "nonfinite"
            break
        good_x, good_value = x, value
        if stop is not None and tol is not None:
            certificates.append(stop(x, value, grad, state))
            if bool(backend.xp.all(certificates[-1] <= tol)):
                status = "tol"
                break
        if callback is not None and callback(t, x, value):
            status = "callback"
            break
        if t < steps:
            x, state = rule.update(x, grad, state, value=value)
    last = values[-1] if good_value is None else good_value
    history = History(
        backend.xp.stack(values), backend.xp.stack(certificates) if certificates else None
    )
    return Result(good_x, last, status, history, state)


def _check(x0: Array, steps: int, stop: object, tol: float | None) -> Backend:
    backend = enter("minimize", x0, names=("x0",))
    if steps < 0:
        msg = f"steps must be at least 0, got {steps}"
        raise ValueError(msg)
    if (stop is None) != (tol is None):
        msg = f"stop and tol belong together, got stop={stop!r} and tol={tol!r}"
        raise ValueError(msg)
    return backend


def _counted(steps: int, progress: bool) -> Iterable[int]:
    """Count the points: one more than the steps between them."""
    points = range(steps + 1)
    if not progress:
        return points
    bar: Iterable[int] = _extras.require("tqdm", "demo").tqdm(points, unit="step", leave=False)
    return bar
