"""The proximal preconditioned gradient step."""

from specdesc._lib.checks import check_same_shape
from specdesc._lib.typing import Array
from specdesc._linalg.basic import replace_broken, restore
from specdesc.backends import Backend
from specdesc.backends.entry import check_supported, enter
from specdesc.preconditioners import Preconditioner
from specdesc.prox import Operator
from specdesc.prox.operator import step_of


def proximal_step(
    x: Array,
    d: Array,
    step: float | Array,
    /,
    *,
    preconditioner: Preconditioner,
    g: Operator,
) -> Array:
    r"""Return the proximal point of g at x - step grad phi*(d), in the geometry of phi.

    .. math::

        y = x - \gamma \nabla\varphi^*(d), \qquad
        x^+ \in \operatorname{argmin}_z\; g(z) + \gamma\, \varphi\bigl((z - y) / \gamma\bigr)

    Parameters
    ----------
    x : array, shape (..., m, n)
        The point.
    d : array, shape (..., m, n)
        The gradient of the smooth part, or an estimate of it.
    step : float or array of the batch shape
        At least 0.
    preconditioner : Preconditioner
        The map grad phi* and the geometry of the prox.
    g : Operator
        A function or a set of `specdesc.prox`.

    Returns
    -------
    array
        The argmin over z of g(z) + step phi((z - y) / step) with y = x - step grad phi*(d),
        like `x`.

    Raises
    ------
    TypeError, ValueError
        As in the table of bad input.
    NotImplementedError
        `g` has no prox in the geometry of the preconditioner.

    See Also
    --------
    specdesc.rules.ProximalSpectral : The rule with this step.
    specdesc.prox.combinations : Which functions have a prox in which geometry.

    Notes
    -----
    With v in the subdifferential of g at the result, x_next = x - step (grad phi*(d) +
    grad phi*(v)): for strictly convex phi* and convex g, x is a fixed point exactly where
    0 = d + v, that is where f + g is stationary. For a bounded kernel and a set that holds x, the
    set has a point within reach of y, namely x. If f has an L-Lipschitz gradient in the Frobenius
    norm, a step of ``preconditioner.convexity / L`` never increases f + g (derived).

    The method is that of arXiv:2605.11850, reconstructed from its abstract and from
    arXiv:2210.15531. Cost: one SVD for the map and one for the prox in the spectral geometry.

    Examples
    --------
    >>> import numpy as np
    >>> import specdesc
    >>> from specdesc import preconditioners, prox
    >>> specdesc.proximal_step(
    ...     np.diag([1.0, 0.2]),
    ...     np.diag([-5.0, 1.0]),
    ...     0.5,
    ...     preconditioner=preconditioners.Sign(),
    ...     g=prox.SpectralBall(1.0),
    ... )
    array([[ 1. ,  0. ],
           [ 0. , -0.3]])
    """
    backend = enter("proximal_step", x, d, names=("x", "d"))
    check_same_shape(x, d, "x", "d")
    return preconditioned_step(x, d, step, preconditioner, g, backend=backend)


def preconditioned_step(
    x: Array,
    d: Array,
    step: float | Array,
    preconditioner: Preconditioner,
    g: Operator,
    /,
    *,
    backend: Backend,
) -> Array:
    """Return what `proximal_step` returns, for arrays that were checked."""
    check_supported("proximal_step", backend)
    xp = backend.xp
    with backend.guard(x):
        length = step_of(step, x, backend)
        if length.ndim:
            length = length[..., None]
        start, finite = replace_broken(x, backend=backend, by_entry=True)
        direction = preconditioner.apply(d, backend=backend)
        y = restore(start - xp.astype(length, x.dtype) * direction, finite, backend=backend)
        return g.preconditioned_point(y, step, preconditioner, backend=backend)[0]
