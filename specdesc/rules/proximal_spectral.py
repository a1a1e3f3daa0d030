"""The proximal spectral method: momentum, a preconditioner, and a prox in its geometry."""

from dataclasses import KW_ONLY, dataclass

from specdesc._lib.dtypes import working
from specdesc._lib.typing import Array
from specdesc._proximal import preconditioned_step
from specdesc.preconditioners import Preconditioner
from specdesc.prox import Operator
from specdesc.prox.fixed_points import check_proximal
from specdesc.rules import momentum, rule
from specdesc.rules.advancing import Advancing
from specdesc.rules.rule import State
from specdesc.rules.scale import Layout, Scale, check_scale, scale_factor
from specdesc.schedules import Schedule


@dataclass(frozen=True)
class ProximalSpectral(Advancing):
    r"""x <- the proximal point of g at x - step grad phi*(buffer), in the geometry of phi.

    .. math::

        m \leftarrow \beta m + (1 - \beta) G, \qquad
        y = x - \gamma \nabla\varphi^*(m), \qquad
        x \leftarrow \operatorname{argmin}_z\; g(z) + \gamma\, \varphi\bigl((z - y) / \gamma\bigr)

    Parameters
    ----------
    step : float, array or schedule
        Step size, of the map and of the prox. A map of reach 1 moves by 2 `step` at most, in the
        norm of its geometry.
    beta : float, array or schedule
        The factor on the old buffer: buffer <- beta buffer + (1 - beta) grad, which starts from
        the first gradient.
    preconditioner : Preconditioner
        Any of `specdesc.preconditioners`.
    g : Operator
        A function or a set of `specdesc.prox`; ``prox.Zero()`` for none.
    scale : str or callable
        What the step is multiplied with in both places, as in `scale_factor`: a layer of its own
        radius.
    layout : {"out_in", "in_out"}
        Which axis counts outputs, for `scale`.

    Raises
    ------
    ValueError
        Parameters out of range; a penalty with ``normalize=True``; a penalty whose slope is so far
        above eps that a bounded kernel is flat there; the sign, or a polynomial, with a penalty or
        with a convex set whose normal cones it does not keep.

    See Also
    --------
    ProximalStorm : With variance reduction.
    specdesc.proximal_step : One step without a buffer.
    specdesc.schedules.heavy_tailed : Its steps by the theory.

    Notes
    -----
    The problem is to minimise E f(x, sample) + g(x), g convex or not. Every point after a start in
    a set stays in it. For a convex g a point stays where it is exactly if it is stationary, as phi*
    is strictly convex (derived); pairs of which that is not true are refused. In finite precision
    the eps of a bounded kernel should be of the size of the gradient: far above it the map is 1
    up to rounding, sees no magnitudes, and the method stops where only the directions agree. For a
    penalty eps is held against its slope; for `prox.SpectralBall`, and in their geometries
    `prox.MaxBall`, `prox.Box` and all sets of the global one, any eps will do, and the sign, too.
    In sets of Hermitian matrices the Hermitian part of the gradient counts.

    The method is that of arXiv:2605.11850, reconstructed from its abstract and from
    arXiv:2210.15531; `schedules.heavy_tailed` has steps with a proven rate (derived).
    See `proximal_step` for the cost and for what `g` may be.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import preconditioners, prox, rules
    >>> x, grad = np.diag([0.9, 0.1]), np.diag([-1.0, 2.0])
    >>> rule = rules.ProximalSpectral(
    ...     0.2, preconditioner=preconditioners.Sign(), g=prox.SpectralBall(1.0)
    ... )
    >>> rule.update(x, grad, rule.init(x))[0].round(3) + 0.0
    array([[ 1. ,  0. ],
           [ 0. , -0.1]])
    """

    step: float | Array | Schedule
    _: KW_ONLY
    beta: float | Array | Schedule = 0.9
    preconditioner: Preconditioner
    g: Operator
    scale: Scale = "none"
    layout: Layout = "out_in"

    def __post_init__(self) -> None:
        rule.check_rule(self.step, 0.0)
        momentum.check_beta(self.beta)
        check_proximal(self.preconditioner, self.g)
        check_scale(self.scale, self.layout)

    def init(self, x: Array, /) -> State:
        """Return the state before the first step."""
        return momentum.initial_state(x)

    def _advance(
        self,
        x: Array,
        grad: Array,
        state: State,
        value: Array | None,
        previous_grad: Array | None,
        whole: bool,
        /,
    ) -> tuple[Array, State]:
        backend = rule.enter_update(x, grad)
        with backend.guard(x):
            size = rule.length(self.step, x, grad, state, value, backend=backend)
            size = size * scale_factor(self.scale, tuple(x.shape), self.layout)
            beta = momentum.factor(self.beta, x, grad, state, value, backend=backend)
            beta = momentum.from_first(beta, state, x, backend=backend)
            buffer = momentum.ema(state["momentum_buffer"], grad, beta, backend=backend)
            state = rule.counted({**state, "momentum_buffer": buffer})
            if not whole:  # a difference of points, of full precision
                x, buffer = (working(backend.xp, z) for z in (x, buffer))
            pull = momentum.within(self.g, buffer, backend=backend)
            y = preconditioned_step(x, pull, size, self.preconditioner, self.g, backend=backend)
            return y if whole else y - x, state
