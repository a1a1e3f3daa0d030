"""Anisotropic proxes against their definition."""

from collections.abc import Callable

from specdesc._lib.typing import Array
from specdesc.preconditioners import Kappa, Log, Preconditioner
from specdesc.testing.trial import Trial


def check_anisotropic(trial: Trial, g: object, feasible: Callable[[Array], Array], /) -> None:
    """Hold ``anisotropic_prox`` to its definition where there is one, in full precision."""
    if trial.half or not hasattr(g, "anisotropic_prox"):
        return
    for p in (
        make(eps=0.5, geometry=geometry)
        for make in (Kappa, Log)
        for geometry in ("spectral", "elementwise", "global")
    ):
        for step in (0.3, 1.0):
            start = feasible(trial.draw())
            y = start - step * p(0.6 * trial.draw())
            try:
                x = _with_status(g, y, step, p)
            except NotImplementedError:
                continue
            if x is not None:
                _check_definition(trial, g, p, y, step, x, [start, feasible(trial.draw())])


def _with_status(g: object, y: Array, step: float, p: Preconditioner) -> Array | None:
    """Return the point, None where the operator itself says that it is not optimal."""
    solve: Callable[..., Array] = g.anisotropic_prox  # type: ignore[attr-defined]
    try:
        x, status = solve(y, step, p, full_output=True)
    except TypeError:
        return solve(y, step, p)
    return x if int(status) == 0 else None


def _check_definition(
    trial: Trial,
    g: object,
    p: Preconditioner,
    y: Array,
    step: float,
    x: Array,
    others: list[Array],
) -> None:
    value: Callable[[Array], Array] = g.value  # type: ignore[attr-defined]
    # What rounding of a difference may take beyond the domain of phi.
    unit = trial.rounding * (1.0 + trial.size(y) / step)

    def cost(z: Array, shrunk: float) -> float:
        displacement = (1.0 - shrunk) * (trial.host(z) - trial.host(y)) / step
        price = trial.number(p.reference(trial.array(displacement)))
        return trial.number(value(z)) + step * price

    ours = cost(x, unit)
    room = 4.0 * abs(ours - cost(x, 2.0 * unit)) + trial.rounding * (1.0 + abs(ours))
    room += trial.rounding * trial.size(y) * trial.apart(x, y) / step
    others = [*others, 0.5 * x, 0.999 * x]
    for exponent in (-4, -3, -2, -1):
        noise = trial.draw(size=10.0**exponent)
        others += [_into(g, x + noise), x + noise, x + 10.0**exponent * (y - x)]
    for z in others:
        trial.hold("anisotropic prox: a competitor is better", ours, cost(z, unit), room)


def _into(g: object, x: Array) -> Array:
    """Return a point where the function is finite."""
    nearest: Callable[[Array, float], Array] = g.prox  # type: ignore[attr-defined]
    return nearest(x, 1e-9)
