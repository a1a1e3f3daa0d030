"""Stationarity of f + g in the geometry of a preconditioner (theory derived)."""

from specdesc._lib.arrays import per_batch
from specdesc._lib.checks import check_same_shape
from specdesc._lib.dtypes import eps, working
from specdesc._lib.typing import Array
from specdesc._linalg import magnitudes
from specdesc._linalg.basic import all_finite, restore
from specdesc.backends import Backend
from specdesc.backends.entry import enter
from specdesc.diagnostics.products import inner
from specdesc.preconditioners import Preconditioner
from specdesc.preconditioners.preconditioner import over
from specdesc.prox.operator import Operator, step_of


def stationarity(
    x: Array,
    grad: Array,
    step: float | Array,
    /,
    *,
    preconditioner: Preconditioner,
    g: Operator | None = None,
) -> Array:
    r"""Return by how much a proximal step at x would decrease its model, per unit of step.

    .. math::

        G(x) = \frac1\gamma \Bigl[ g(x) + \gamma\varphi(u)
        - \min_z \bigl( g(z) + \gamma \varphi((z - y) / \gamma) \bigr) \Bigr]

    Parameters
    ----------
    x : array, shape (..., m, n)
        The point.
    grad : array, shape (..., m, n)
        The gradient of f there.
    step : float or array of the batch shape
        Above 0.
    preconditioner : Preconditioner
        A smooth one, without `normalize`.
    g : Operator, optional
        A function or a set of `specdesc.prox`.

    Returns
    -------
    array, shape (...)
        G(x) = (g(x) + step phi(u) - min over z of (g(z) + step phi((z - y) / step))) / step with
        u = grad phi*(grad) and y = x - step u; real, in float32 at least. inf at a point outside of
        a set, NaN where `x` or `grad` is not finite.

    Raises
    ------
    TypeError, ValueError, NotImplementedError
        As in the table of bad input; a step of 0; a preconditioner that divides by the norm; the
        sign, whose phi is 0 in its ball, so that G sees no constraint; a polynomial, which has no
        phi; a pair of `g` and geometry that has no prox.

    See Also
    --------
    step_stationarity : For bounded preconditioners.
    frank_wolfe_gap : For bounded sets.

    Notes
    -----
    At least 0 up to rounding, as x itself is a candidate of the minimum, and 0 at fixed points of
    `proximal_step`. Without g it is phi(grad phi*(grad)), which for small gradients is
    ||grad||_F² / (2 eps).

    If f has an L-Lipschitz gradient in the Frobenius norm, and step <= convexity / L for the
    ``convexity`` of the preconditioner, a proximal step decreases F = f + g by at least step G: the
    least G of K steps is at most (F(x_0) - inf F) / (step K), for nonconvex g too. Derived: the
    measure and the constants are not those of arXiv:2605.11850, whose text was not available.

    Rounding: eps (||grad||_* + (abs(g(x)) + ||x|| ||grad||_*) / step) or so. Cost: that of
    `proximal_step`, one SVD more in the spectral geometry, one less without g.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import diagnostics, preconditioners, prox
    >>> ball, smooth = prox.SpectralBall(1.0), preconditioners.Sqrt(eps=1.0)
    >>> x = np.diag([1.0, 0.5])
    >>> def at(grad):
    ...     return diagnostics.stationarity(x, grad, 0.5, preconditioner=smooth, g=ball)
    >>> round(float(at(np.diag([-3.0, 0.0]))), 12)  # pushes against the bound
    0.0
    >>> round(float(at(np.diag([0.0, 0.75]))), 12)  # moves the other singular value
    0.2
    """
    backend = enter("diagnostics.stationarity", x, grad, names=("x", "grad"))
    check_same_shape(x, grad, "x", "grad")
    if preconditioner.normalize or preconditioner.kernel.convexity == 0.0:
        msg = (
            f"preconditioner must be smooth, without normalize, got {preconditioner!r}; "
            "step_stationarity and frank_wolfe_gap take any"
        )
        raise ValueError(msg)
    xp = backend.xp
    with backend.guard(x):
        size = _positive(step, x, backend)
        here, d = working(xp, x), working(xp, grad)
        taken = magnitudes.take_apart(d, preconditioner.geometry, backend=backend)

        def pre(s: Array) -> Array:
            return preconditioner.kernel.pre(over(s, preconditioner.eps, xp=xp), xp=xp)

        t = pre(taken.magnitudes)
        before = _reference(t, preconditioner, backend)
        if g is None:
            finite = per_batch(taken.finite & all_finite(here, xp=xp))
            return restore(before, finite, backend=backend)
        u = taken.rebuild(t, pre)
        wide = size[..., None, None]
        y = here - xp.astype(wide, here.dtype) * u
        point = g.anisotropic_prox(y, step, preconditioner)
        # From x, not from y: where little moves, the difference is exact.
        w = u + (point - here) / xp.astype(wide, here.dtype)
        after = _of_displacement(w, here, size, preconditioner, backend)
        # The new point lies in a set as far as rounding lets it.
        there = 0.0 if g.is_set else g.value(point)
        # In the dtype of x: a set takes its tolerance from that.
        return (xp.astype(g.value(x), before.dtype) - there) / size + (before - after)


def step_stationarity(
    x: Array,
    d: Array,
    step: float | Array,
    x_next: Array,
    grad_next: Array,
    /,
    *,
    preconditioner: Preconditioner,
) -> Array:
    r"""Return how far the gradient at the end of a proximal step is from what would keep it there.

    .. math::

        S = \varphi^*(\nabla f(x^+)) + \varphi(w) - \langle w, \nabla f(x^+) \rangle, \qquad
        w = (x^+ - y) / \gamma

    Parameters
    ----------
    x : array, shape (..., m, n)
        Where the step began.
    d : array, shape (..., m, n)
        The gradient, or the estimate of it, that the step was made along.
    step : float or array of the batch shape
        Above 0.
    x_next : array, shape (..., m, n)
        Where it ended: ``proximal_step(x, d, step, ...)``.
    grad_next : array, shape (..., m, n)
        The gradient of f there.
    preconditioner : Preconditioner
        That of the step.

    Returns
    -------
    array, shape (...)
        S = phi*(grad_next) + phi(w) - Re <w, grad_next> with y = x - step grad phi*(d) and
        w = (x_next - y) / step; real, in float32 at least. inf where w is no displacement of a
        proximal step, NaN where an array is not finite.

    Raises
    ------
    TypeError, ValueError, NotImplementedError
        As in the table of bad input; a step of 0; a polynomial, which has no phi.

    Notes
    -----
    The Fenchel-Young gap of phi, so at least 0 up to rounding. w is grad phi*(-v) for a subgradient
    v of g at x_next; for strictly convex phi*, S = 0 exactly where grad_next = -v, which makes
    x_next stationary for f + g. The other way round S = 0 at fixed points of the method. Without g
    it is phi*(grad_next), the nuclear norm for the sign in the spectral geometry. As eps tends to 0
    the measure sees directions alone.

    It is what the rates of `schedules.heavy_tailed` and `schedules.storm` bound the mean of
    (derived; not the measure of arXiv:2605.11850, whose text was not available).

    Rounding: eps ||grad_next||_* (1 + ||x|| / step) or so. Cost: three SVDs in the spectral
    geometry.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import diagnostics, preconditioners
    >>> x, d = np.diag([1.0, 0.5]), np.diag([2.0, 1.0])
    >>> sign, x_next = preconditioners.Sign(), x - 0.1 * np.eye(2)
    >>> s = diagnostics.step_stationarity(x, d, 0.1, x_next, 0.5 * d, preconditioner=sign)
    >>> round(float(s), 12)
    1.5
    """
    names = ("x", "d", "x_next", "grad_next")
    backend = enter("diagnostics.step_stationarity", x, d, x_next, grad_next, names=names)
    for name, y in zip(names[1:], (d, x_next, grad_next), strict=True):
        check_same_shape(x, y, "x", name)
    xp = backend.xp
    with backend.guard(x):
        size = _positive(step, x, backend)
        here, there, after = (working(xp, part) for part in (x, x_next, grad_next))
        moved = (there - here) / xp.astype(size[..., None, None], here.dtype)
        w = preconditioner(working(xp, d)) + moved
        kept = _of_displacement(w, here, size, preconditioner, backend)
        return preconditioner.conjugate(after) + kept - inner(w, after, backend=backend)


def _positive(step: float | Array, x: Array, backend: Backend) -> Array:
    """Return a step of shape () or the batch shape."""
    if isinstance(step, (int, float)) and step == 0:
        msg = f"step must be above 0, got {step!r}"
        raise ValueError(msg)
    size = step_of(step, x, backend)
    return size[..., 0] if size.ndim else size


def _reference(s: Array, preconditioner: Preconditioner, backend: Backend) -> Array:
    """Return phi of magnitudes in its domain, of the batch shape.

    A magnitude that rounding has put on the border of the domain is one just inside: phi may be
    inf there, where no displacement of finite gradients ends.
    """
    xp, kernel = backend.xp, preconditioner.kernel
    values = kernel.reference(s, xp=xp)
    if kernel.limit < float("inf"):
        inside = kernel.limit * (1.0 - eps(xp, s.dtype))
        highest = kernel.reference(xp.clip(s, max=inside), xp=xp)
        border = (s >= inside) & (s <= kernel.limit) & (values == float("inf"))
        values = xp.where(border, highest, values)
    return preconditioner.eps * xp.sum(values, axis=-1)


def _of_displacement(
    w: Array, x: Array, step: Array, preconditioner: Preconditioner, backend: Backend
) -> Array:
    """Return phi(w) for a displacement that was computed from points like `x`."""
    xp, limit = backend.xp, preconditioner.kernel.limit
    taken = magnitudes.take_apart(w, preconditioner.geometry, backend=backend)
    s = taken.magnitudes
    if limit < float("inf"):
        lengths = magnitudes.norm(x, (-2, -1), xp=xp)[..., 0] / (
            step[..., None] if step.ndim else step
        )
        bound = limit + magnitudes.slack(x, xp=xp) * (1.0 + lengths)
        s = xp.where(s <= bound, xp.clip(s, max=limit), s)
    return magnitudes.number(_reference(s, preconditioner, backend), taken, backend=backend)
