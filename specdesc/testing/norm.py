"""Norms, their duals and their linear minimisers against their definitions."""

from specdesc._lib.typing import Array
from specdesc.norms import Norm
from specdesc.testing.report import Report
from specdesc.testing.stack import check_stack
from specdesc.testing.trial import DRAWS, Trial


def check_norm(
    n: Norm,
    /,
    *,
    shape: tuple[int, int] = (4, 3),
    transposed: bool = True,
    dtype: str | None = None,
    backend: str = "numpy",
    seed: int = 0,
) -> Report:
    """Hold a norm, its dual and its linear minimiser to their definitions.

    Parameters
    ----------
    n : Norm
        With ``value(x)``, ``dual(x)``, ``lmo(g, radius=1.0)``, ``direction(g)`` = -lmo(g, 1) and
        ``sharp(g)`` = dual(g) direction(g).
    shape, transposed, dtype, backend, seed
        Of the matrices that are tried, as in `check_prox`.

    Returns
    -------
    Report
        ``(passed, failures)``.

    Raises
    ------
    NotImplementedError
        What `n` raises.

    Notes
    -----
    Both norms: homogeneous, positive, below the sum for a sum. Hölder's inequality, with equality
    at the minimiser, which lies in the ball: at random matrices, and where entries, columns or
    singular values tie or are zero. Zero has finite answers. A stack is a loop.

    Examples
    --------
    >>> from specdesc import norms, testing
    >>> testing.check_norm(norms.Nuclear(), dtype="float32").passed
    True
    """
    trial = Trial(seed, shape, dtype, backend)
    with trial.caught():
        for turn in range(1 + (transposed and shape[0] != shape[1])):
            if turn:
                trial.turned()
            _check(trial, n)
    return trial.report()


def _check(trial: Trial, n: Norm) -> None:
    special = trial.special()
    zero = special["zero"]
    for y in [*(trial.draw() for _ in range(3 * DRAWS)), *special.values()]:
        x = trial.draw()
        _check_sizes(trial, n, x, y)
        if y is not zero:
            for law, size in (("norm", n.value), ("dual norm", n.dual)):
                trial.hold(f"{law}: positive", 1e-30, trial.number(size(y)), 0.0)
        if not _check_minimiser(trial, n, y):
            return
        reach = trial.number(n.value(n.lmo(0 * y)))
        trial.near("lmo: finite at zero", reach, 1.0, 1.0)
    for law, call in (("value", n.value), ("dual", n.dual), ("lmo", n.lmo)):
        check_stack(trial, f"{law} of a stack", call)


def _check_sizes(trial: Trial, n: Norm, x: Array, y: Array) -> None:
    for law, size in (("norm", n.value), ("dual norm", n.dual)):
        here, there = trial.number(size(x)), trial.number(size(y))
        sum_, scale = trial.number(size(x + y)), here + there
        trial.same(f"{law}: homogeneous", trial.number(size(-2.5 * x)), 2.5 * here, 5.0 * here)
        trial.near(f"{law}: triangle inequality", sum_, scale, scale)
        trial.same(f"{law}: zero", trial.number(size(0 * x)), 0.0, 0.0)
    value, dual = trial.number(n.value(x)), trial.number(n.dual(y))
    trial.near("Hölder", trial.inner(x, y), value * dual, value * dual)


def _check_minimiser(trial: Trial, n: Norm, y: Array) -> bool:
    """Return whether `lmo` gives arrays at all."""
    before, dual = trial.host(y), trial.number(n.dual(y))
    s = n.lmo(y, 2.0)
    if not trial.alike("lmo", y, s, before):
        return False
    trial.near("lmo: in the ball", trial.number(n.value(s)), 2.0, 2.0)
    trial.same("lmo: attains the dual norm", trial.inner(y, s), -2.0 * dual, 4.0 * dual)
    direction, sharp = n.direction(y), n.sharp(y)
    for law, found in (("direction", direction), ("sharp", sharp)):
        if not trial.alike(law, y, found, before):
            return False
    size = trial.size(direction)
    trial.near("direction", trial.size(direction + n.lmo(y)), 0.0, size)
    # Not one by one: several matrices may be minimisers of a matrix that ties.
    trial.near("sharp", trial.apart(sharp, dual * trial.host(direction)), 0.0, dual * size)
    return True
