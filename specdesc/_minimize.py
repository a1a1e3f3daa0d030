"""The driver: it runs a rule on a problem and says how it went."""

import os
from collections.abc import Callable
from typing import Literal, NamedTuple

from specdesc._driver import resume
from specdesc._driver.checkpoint import Snapshot
from specdesc._driver.history import Point, Recorder, Records
from specdesc._driver.packing import unpack
from specdesc._lib.progress import bar as progress_bar
from specdesc._lib.typing import Array
from specdesc.backends import Backend
from specdesc.backends.entry import enter
from specdesc.rules import Rule

Status = Literal["tol", "steps", "nonfinite", "callback"]


class History(NamedTuple):
    """What was seen on the way.

    Attributes
    ----------
    step : array of int32, shape (points,)
        Which points these are: all multiples of a power of two, and the last one.
    value : array, shape (points, ...)
        The objective there.
    certificate : array or None
        What `stop` returned there, None without a `stop`.
    """

    step: Array
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
        Why it stopped: "nonfinite" where no matrix has a finite value any more.
    history : History
        What was seen on the way.
    state : dict of str to array
        The state of the rule after the last step.
    finite : array of bool
        Which matrices have a finite value at the end, of the batch shape. The others are what they
        became, and did not stop the run.
    """

    x: Array
    value: Array
    status: Status
    history: History
    state: dict[str, Array]
    finite: Array


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
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: int = 100,
    history_budget: int = 4096,
    progress: bool = False,
) -> Result:
    """Run `rule` from `x0` for at most `steps` steps.

    Parameters
    ----------
    value_and_grad : callable
        ``value_and_grad(x)``, or ``value_and_grad(x, sample)`` with `samples`: the objective, of
        the batch shape, and a subgradient of the shape of x. A rule that needs the gradient of the
        same sample at the previous point gets it by a second call.
    x0 : array, shape (..., m, n)
        Where to start. It is not changed.
    rule : Rule
        Any of `specdesc.rules`.
    steps : int
        At least 0.
    samples : callable, optional
        A pure function of the step count that gives the sample of a stochastic objective.
    stop : callable, optional
        ``stop(x, value, grad, state)`` is held against `tol`; on a stack all must pass whose value
        is finite.
        `diagnostics.certificate` makes one of every measure there.
    tol : float, optional
        Needs `stop`.
    callback : callable, optional
        ``callback(t, x, value)`` after each evaluation; True stops.
    checkpoint : path, optional
        A file that the run is written to every `checkpoint_every` steps, and at its end. If it is
        there, the run goes on from it. Its folder must exist.
    checkpoint_every : int
        At least 1.
    history_budget : int
        The largest number of points of the history, at least 2.
    progress : bool
        Show a progress bar on standard error, with the largest value of the stack; needs tqdm,
        which the extra ``demo`` has.

    Returns
    -------
    Result
        ``(x, value, status, history, state, finite)``.

    Raises
    ------
    ValueError
        If `steps` is negative, or `tol` comes without `stop`, or the other way round; if the file
        of `checkpoint` is damaged, or that of another run: another rule, option, start or
        objective, which the message names.
    specdesc.MissingExtra
        If `progress` is wanted and tqdm is not there.

    See Also
    --------
    specdesc.rules.Rule : What it runs.
    specdesc.diagnostics.certificate : What it may stop on.

    Notes
    -----
    A host loop: it reads one number a step, on every backend, to see whether the value is finite
    and the certificate met. To run a rule inside a traced loop, call its ``update`` there.

    A run that is killed and started again gives the iterates and the history of one that was not,
    bit for bit, on one machine and one version of the library, if `value_and_grad`, `samples` and
    `stop` are pure functions. The file holds x, the previous point, the state, the history and the
    step count as arrays that are read without pickle, and takes the place of the older one in one
    step. `steps`, `tol`, `callback` and `checkpoint_every` may change between two calls; a longer
    run goes on from the end of a shorter one. Whether the objective is the same is asked at the
    last point that the file knows, by one call of `value_and_grad`. One run a file at a time.

    The history keeps all multiples of the least power of two that fits into the budget, and the
    last point.

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
    backend = _check(x0, steps, stop, tol, checkpoint_every, history_budget)
    options = {
        "samples": "given" if samples else None,
        "stop": "given" if stop else None,
        "history_budget": history_budget,
    }
    start = Snapshot(0, x0, rule.init(x0), None, None)
    file = resume.run_file(checkpoint, start, rule, options, backend=backend)
    sample_of = _arguments(samples)
    first, x, state, previous, records = file.restored(
        start, steps, lambda x, t: value_and_grad(x, *sample_of(t))[0]
    )
    recorder = Recorder(history_budget, backend, [] if records is None else records.points())
    status: Status = "steps"
    with progress_bar(shown=progress, total=steps + 1, first=first) as advance:
        for t in range(first, steps + 1):
            if t > first and t % checkpoint_every == 0:
                here = Snapshot(t, x, state, previous, recorder.before(t))
                file.save(here, "running")
            sample = sample_of(t)
            value, grad = value_and_grad(x, *sample)
            verdict, certificate = _judge(x, value, grad, state, stop, tol, backend)
            recorder.add(Point(t, value, certificate))
            advance(_note(value, backend))
            if verdict is None and callback is not None and callback(t, x, value):
                verdict = "callback"
            if verdict is not None:
                status = verdict
                break
            if t < steps:
                before = None
                if rule.needs_previous_grad:
                    # There is no point before the first: its own gradient, as rules ask for.
                    before = grad if previous is None else value_and_grad(previous[0], *sample)[1]
                # Before the step, so that the point before the last one is let go.
                previous = x, value
                x, state = rule.update(x, grad, state, value=value, previous_grad=before)
                del grad  # two of them at a time are one too many
    file.save(Snapshot(t, x, state, previous, recorder.before(t)), status)
    if status == "nonfinite" and previous is not None:
        x, value = previous
    history = _history(recorder.all(), value, backend)
    return Result(x, value, status, history, state, backend.xp.isfinite(value))


def _note(value: Array, backend: Backend) -> Callable[[], str]:
    """Return what stands beside the bar, when it is asked for: a look at the device."""
    return lambda: f"value {float(backend.xp.max(value)):.4g}"


def _check(
    x0: Array, steps: int, stop: object, tol: float | None, every: int, budget: int
) -> Backend:
    backend = enter("minimize", x0, names=("x0",))
    for name, count, least in (
        ("steps", steps, 0),
        ("checkpoint_every", every, 1),
        ("history_budget", budget, 2),
    ):
        if count < least:
            msg = f"{name} must be at least {least}, got {count}"
            raise ValueError(msg)
    if (stop is None) != (tol is None):
        msg = f"stop and tol belong together, got stop={stop!r} and tol={tol!r}"
        raise ValueError(msg)
    return backend


def _arguments(samples: Callable[[int], object] | None) -> Callable[[int], tuple[object, ...]]:
    """Return what the objective of a step takes next to the point."""
    return lambda t: () if samples is None else (samples(t),)


def _judge(
    x: Array,
    value: Array,
    grad: Array,
    state: dict[str, Array],
    stop: Callable[[Array, Array, Array, dict[str, Array]], Array] | None,
    tol: float | None,
    backend: Backend,
) -> tuple[Status | None, Array | None]:
    """Say whether to stop at a point, and return its certificate.

    A matrix whose value is not finite does not stop the others of its stack.
    """
    xp = backend.xp
    good = xp.isfinite(value)
    some = xp.any(good)
    if stop is None or tol is None:
        return (None if bool(some) else "nonfinite"), None
    if backend.branches and not bool(some):
        return "nonfinite", None
    certificate = stop(x, value, grad, state)
    # Both answers in one number: on a device each look is a wait.
    met = xp.astype(xp.all((certificate <= tol) | ~good), xp.int32)
    code = int(xp.where(some, met, 2 * xp.ones_like(met)))
    verdicts: tuple[Status | None, ...] = (None, "tol", "nonfinite")
    return verdicts[code], certificate


def _history(records: Records, like: Array, backend: Backend) -> History:
    """Return the columns next to the values."""
    steps = backend.xp.asarray(records.steps, dtype=backend.xp.int32, device=backend.placement)
    certificates = records.certificates
    return History(
        steps,
        unpack(records.values, like, backend=backend),
        None if certificates is None else unpack(certificates, like, backend=backend),
    )
