"""The proximal spectral method with a variance-reduced estimate of the gradient."""

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
class ProximalStorm(Advancing):
    r"""The proximal spectral step along buffer <- grad + beta (buffer - previous_grad).

    .. math::

        m \leftarrow G + \beta\, (m - G'), \qquad
        y = x - \gamma \nabla\varphi^*(m), \qquad
        x \leftarrow \operatorname{argmin}_z\; g(z) + \gamma\, \varphi\bigl((z - y) / \gamma\bigr)

    Parameters
    ----------
    step : float, array or schedule
        Step size, of the map and of the prox.
    beta : float, array or schedule
        The factor on the old buffer, which starts from the first gradient.
    preconditioner : Preconditioner
        Any of `specdesc.preconditioners`.
    g : Operator
        A function or a set of `specdesc.prox`; ``prox.Zero()`` for none.
    approximate : bool
        False: `previous_grad` is the gradient of the *same sample* at the previous point, so a
        step costs two gradients. True: the gradient of the last step stands in for it, which is
        another sample's, so a step costs one; the theorem behind `schedules.storm` does not hold
        then.
    scale : str or callable
        What the step is multiplied with in both places, as in `scale_factor`.
    layout : {"out_in", "in_out"}
        Which axis counts outputs, for `scale`.

    Raises
    ------
    ValueError
        Parameters out of range; what `ProximalSpectral` refuses.

    See Also
    --------
    ProximalSpectral : With plain momentum.
    specdesc.schedules.storm : Its steps by the theory.

    Notes
    -----
    At the first step the buffer is the gradient and `previous_grad` is not used, but a rule that
    needs it refuses to run without: hand over the gradient itself.

    The estimate is that of STORM (arXiv:1905.10018). The form of MARS, the average of
    grad + (beta / (1 - beta)) (grad - previous_grad), is the same with its factor 1 (derived); its
    approximate variant is the one here. In a proximal step with a preconditioner: arXiv:2605.11850
    (abstract); `schedules.storm` has steps with a proven rate (derived).

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import preconditioners, prox, rules
    >>> x, grad = np.diag([0.9, 0.1]), np.diag([-1.0, 2.0])
    >>> rule = rules.ProximalStorm(
    ...     0.2, preconditioner=preconditioners.Sign(), g=prox.SpectralBall(1.0)
    ... )
    >>> x1, state = rule.update(x, grad, rule.init(x), previous_grad=grad)
    >>> x2, state = rule.update(x1, grad, state, previous_grad=grad)
    >>> x2.round(3) + 0.0
    array([[ 1. ,  0. ],
           [ 0. , -0.3]])
    """

    step: float | Array | Schedule
    _: KW_ONLY
    beta: float | Array | Schedule = 0.9
    preconditioner: Preconditioner
    g: Operator
    approximate: bool = False
    scale: Scale = "none"
    layout: Layout = "out_in"

    def __post_init__(self) -> None:
        rule.check_rule(self.step, 0.0)
        momentum.check_beta(self.beta)
        check_proximal(self.preconditioner, self.g)
        check_scale(self.scale, self.layout)

    @property
    def needs_previous_grad(self) -> bool:
        """Whether `update` needs the gradient of the same sample at the previous point."""
        return not self.approximate

    def init(self, x: Array, /) -> State:
        """Return the state before the first step."""
        more = ("previous_grad",) if self.approximate else ()
        return momentum.initial_state(x, *more)

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
        if self.approximate or previous_grad is None:
            backend = rule.enter_update(x, grad)
        else:
            backend = rule.enter_update(x, grad, previous_grad)
        before = self._before(state, previous_grad)
        with backend.guard(x):
            size = rule.length(self.step, x, grad, state, value, backend=backend)
            size = size * scale_factor(self.scale, tuple(x.shape), self.layout)
            beta = momentum.factor(self.beta, x, grad, state, value, backend=backend)
            beta = momentum.from_first(beta, state, x, backend=backend)
            terms = ((1.0, grad), (beta, state["momentum_buffer"]), (-beta, before))
            buffer = momentum.combination(*terms, like=grad, backend=backend)
            state = rule.counted({**state, "momentum_buffer": buffer})
            if not whole:  # a difference of points, of full precision
                x, buffer = (working(backend.xp, z) for z in (x, buffer))
            pull = momentum.within(self.g, buffer, backend=backend)
            y = preconditioned_step(x, pull, size, self.preconditioner, self.g, backend=backend)
            if self.approximate:
                state["previous_grad"] = momentum.combination(
                    (1.0, grad), like=grad, backend=backend
                )
            return y if whole else y - x, state

    def _before(self, state: State, previous_grad: Array | None) -> Array:
        if self.approximate:
            return state["previous_grad"]
        if previous_grad is None:
            msg = (
                "previous_grad must be the gradient of the same sample at the previous point, "
                "got None; ProximalStorm(approximate=True) does without"
            )
            raise ValueError(msg)
        return previous_grad
