"""Scion: momentum, and a linear minimisation oracle of any norm as the step."""

from dataclasses import KW_ONLY, dataclass, field

from specdesc._lib.checks import check_number
from specdesc._lib.typing import Array
from specdesc._polar_factor.direction import Accuracy
from specdesc.backends import Backend
from specdesc.norms import Norm, Spectral
from specdesc.rules import momentum, rule
from specdesc.rules.advancing import Advancing
from specdesc.rules.rule import State
from specdesc.schedules import Schedule


@dataclass(frozen=True)
class Scion(Advancing):
    r"""x <- (1 - step) x + step lmo(buffer, radius), or x <- x + step lmo(buffer, radius).

    .. math::

        m \leftarrow \beta m + (1 - \beta) G, \qquad
        x \leftarrow (1 - \eta)\, x + \eta \operatorname{lmo}(m) \quad\text{or}\quad x
            \leftarrow x + \eta \operatorname{lmo}(m)

    Parameters
    ----------
    step : float, array or schedule
        With a constraint the share of the way to the minimiser, at most 1; without one the step
        has the norm step * radius.
    beta : float, array or schedule
        The factor on the old buffer: buffer <- beta buffer + (1 - beta) grad, from zero. What
        others call the momentum of Scion is 1 - beta.
    norm : Norm
        Any of `specdesc.norms`.
    radius : float or array
        Radius of the ball, positive. Factors of the layer's sizes belong into it.
    constrained : bool
        True is the stochastic Frank-Wolfe method on the ball, which is never left from a start
        inside; False the steepest descent of the norm.

    tol, floor : float, optional
        Of the polar factor, for the spectral norm alone: see `norms.Spectral`.
    dtype : str, optional
        Likewise, the name of the dtype in which it is computed.

    See Also
    --------
    Muon : The spectral norm without a constraint.
    specdesc.norms.Spectral : The default norm.

    Notes
    -----
    `lmo` points downhill: it is the minimiser itself. A zero buffer has the minimiser 0, to which
    a constrained step shrinks. The update is that of arXiv:2502.07529 (foundation, by its public
    code). Cost: one `lmo` a step; for the norms of singular values that is one SVD.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import norms, rules
    >>> rule = rules.Scion(0.5, norm=norms.Max(), radius=2.0)
    >>> x, state = rule.update(np.eye(2), np.ones((2, 2)), rule.init(np.eye(2)))
    >>> x
    array([[-0.5, -1. ],
           [-1. , -0.5]])
    """

    step: float | Array | Schedule
    _: KW_ONLY
    beta: float | Array | Schedule = 0.9
    norm: Norm = field(default_factory=Spectral)
    radius: float | Array = 1.0
    constrained: bool = True
    tol: float | None = None
    floor: float | None = None
    dtype: str | None = None

    def __post_init__(self) -> None:
        asked = Accuracy(self.tol, self.floor, self.dtype)
        if asked.given:
            if self.norm != Spectral():
                msg = f"tol, floor and dtype are options of norms.Spectral(), got {self.norm!r}"
                raise ValueError(msg)
            object.__setattr__(self, "norm", Spectral(**asked._asdict()))
        rule.check_rule(self.step, 0.0)
        if self.constrained:
            rule.check_share(self.step)
        momentum.check_beta(self.beta)
        check_number(
            self.radius, "radius", lambda r: 0.0 < r < float("inf"), "a finite number above 0"
        )

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
            beta = momentum.factor(self.beta, x, grad, state, value, backend=backend)
            buffer = momentum.ema(state["momentum_buffer"], grad, beta, backend=backend)
            direction = self._direction(buffer, backend)
            radius = rule.number(self.radius, x, backend=backend)
            move = rule.Move(size if self.constrained else 0.0, radius * size, direction)
            state = {**state, "momentum_buffer": buffer}
            return rule.finish(x, move, size, None, state, whole, backend=backend)

    def _direction(self, buffer: Array, backend: Backend) -> Array:
        """Return the direction; the norm of a user checks its array itself."""
        uphill = getattr(self.norm, "uphill", None)
        if uphill is None:
            return self.norm.direction(buffer)
        direction: Array = uphill(buffer, 1.0, backend=backend)
        return direction
