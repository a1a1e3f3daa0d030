"""From a measure to a certificate that the driver can stop on."""

from collections.abc import Callable
from typing import Any, Literal

from specdesc._lib.typing import Array
from specdesc.backends.entry import enter
from specdesc.diagnostics.residual import prox_residual
from specdesc.diagnostics.stationary import stationarity
from specdesc.prox.operator import Function

#: What `specdesc.minimize` calls.
Stop = Callable[[Array, Array, Array, dict[str, Array]], Array]


def certificate(
    measure: Callable[..., Array],
    /,
    *arguments: Any,
    of: Literal["both", "x", "grad"] = "both",
    estimate: str | None = None,
    **options: Any,
) -> Stop:
    """Return a measure in the form that `specdesc.minimize` takes as ``stop``.

    Parameters
    ----------
    measure : callable
        Of ``(x, grad, *arguments)``, such as `frank_wolfe_gap` and `stationarity`, or of one array.
    *arguments
        What it takes beside the arrays, by position.
    of : {"both", "x", "grad"}
        Which arrays it takes: the point alone for ``prox_set.violation``, the gradient alone for
        ``norm.dual`` or ``norm.value``.
    estimate : str, optional
        The entry of the rule's state that takes the place of the gradient, such as
        ``"momentum_buffer"``: the gradient of one sample is too noisy to stop on. At the first
        point, where no step has filled it, the gradient itself is used.
    **options
        What it takes beside the arrays, by name.

    Returns
    -------
    callable
        ``stop(x, value, grad, state)``.

    Raises
    ------
    ValueError
        For another `of`.

    Notes
    -----
    `stationarity` with a penalty falls as eps⁴ while the point is far from stationary, so that a
    certificate of it is the larger one of it and of `prox_residual` (with the step 1).

    The Ky Fan value of a subgradient is a certificate for convex f: if some minimiser lies within R
    of x in the norm max(spectral norm, nuclear norm / k), then f(x) - min f is at most R times
    ``norms.KyFan(k).value(grad)`` (duality, derived). It tends to 0 for smooth f; at a sharp
    minimum of a non-smooth f it does not.

    Examples
    --------
    >>> import numpy as np
    >>> import specdesc as sd
    >>> from specdesc import diagnostics, norms, rules
    >>> target = np.diag([2.0, 1.0])
    >>> found = sd.minimize(
    ...     lambda x: (((x - target) ** 2).sum() / 2, x - target),
    ...     np.zeros((2, 2)),
    ...     rules.NormalizedGradient(0.25),
    ...     steps=100,
    ...     stop=diagnostics.certificate(norms.KyFan(1).value, of="grad"),
    ...     tol=0.25,
    ... )
    >>> found.status, bool(found.history.certificate[-1] <= 0.25)
    ('tol', True)
    """
    if of not in ("both", "x", "grad"):
        msg = f'of must be "both", "x" or "grad", got {of!r}'
        raise ValueError(msg)

    g = options.get("g") if measure is stationarity else None
    penalty = None if g is None or g.is_set else g

    def stop(x: Array, _: Array, grad: Array, state: dict[str, Array]) -> Array:
        if estimate is not None:
            xp = enter("diagnostics.certificate", x).xp
            grad = xp.where(state["t"] > 0, state[estimate], grad)
        arrays = {"both": (x, grad), "x": (x,), "grad": (grad,)}[of]
        found = measure(*arrays, *arguments, **options)
        return found if penalty is None else _no_less(found, x, grad, penalty)

    return stop


def _no_less(found: Array, x: Array, grad: Array, g: Function) -> Array:
    """Return the larger one of a measure and the Euclidean residual; NaN stays."""
    xp = enter("diagnostics.certificate", x).xp
    residual = prox_residual(x, grad, g)
    return xp.where(residual > found, residual, found)
