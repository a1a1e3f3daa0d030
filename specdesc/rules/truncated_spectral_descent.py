"""Truncated spectral descent: the leading singular pairs of the subgradient as the step."""

from dataclasses import KW_ONLY, dataclass

from specdesc._lib.checks import check_fraction, check_positive_rank, is_number
from specdesc._lib.typing import Array
from specdesc._linalg.operator import LinearOperator
from specdesc._truncate import first_block, isometry_from
from specdesc.backends import Backend
from specdesc.prox import Function
from specdesc.prox.fixed_points import check_step
from specdesc.rules import feedback, momentum, rule
from specdesc.rules.advancing import Advancing
from specdesc.rules.rule import State
from specdesc.schedules import Schedule


@dataclass(frozen=True)
class TruncatedSpectralDescent(Advancing):
    r"""x <- prox_g((1 - weight_decay step) x - step U_k V_kᴴ), with grad = U S Vᴴ.

    .. math::

        x \leftarrow \operatorname{prox}_{\eta g}\bigl((1 - \eta\lambda)\, x - \eta\,
            U_k V_k^H\bigr), \qquad
        G = U S V^H

    Parameters
    ----------
    rank : int
        k, the number of singular pairs.
    step : float, array or schedule
        Step size, in the units of x: the step has spectral norm `step`, nuclear norm k `step`.
    weight_decay : float or array
        Decoupled. With strength w > 0 and step sizes of `schedules.frank_wolfe(w)` this is the
        Frank-Wolfe method on {spectral norm <= 1 / w, nuclear norm <= k / w}.
    g : prox function, optional
        A set whose Euclidean projection follows the step: `prox.KyFanBall` of the same k, which is
        `prox.NuclearBall` for k = 1, or one that is not convex such as `prox.Rank`, as a heuristic.
    tol : float, optional
        How much of the Ky Fan value of the subgradient a step may miss, relative, in the sense of
        `truncated_svd`. None is one dense SVD a step.
    beta : float, array or schedule, optional
        Momentum: the factor on the old buffer, beta buffer + (1 - beta) grad, which starts from
        zero. None is no buffer.
    error_feedback : bool
        Add what a step leaves of the gradient to the next one. The step is then the part of error +
        step grad along the direction, so that `step` is that of a subgradient method, and sees the
        scale of the gradient. With neither `weight_decay` nor `g`.

    Raises
    ------
    NotImplementedError
        A `g` with which the rule would not minimise f + g.

    See Also
    --------
    SpectralDescent : All pairs.
    specdesc.truncated_spectral_step : The step.

    Notes
    -----
    The state carries the block of the last step, so that a step costs 4 m n (k + 10) flops where
    the subgradient moves little. It is applied by its two thin factors: beyond the new point, a
    step takes O((m + n) (k + 10)) memory on NumPy and torch, and where a compiler fuses. `grad` may
    be a `LinearOperator`, for a subgradient that is sparse or low-rank; `tol` must not be None
    then. The method, its linear convergence on
    sharp problems and its link to Frank-Wolfe: arXiv:2605.26977 (abstract); that the step and not
    the iterate is truncated is our reading of it.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import rules
    >>> x, grad = np.ones((2, 2)), np.diag([3.0, -2.0])
    >>> rule = rules.TruncatedSpectralDescent(1, 0.1)
    >>> rule.update(x, grad, rule.init(x))[0].round(3)
    array([[0.9, 1. ],
           [1. , 1. ]])
    """

    rank: int
    step: float | Array | Schedule
    weight_decay: float | Array = 0.0
    g: Function | None = None
    tol: float | None = 0.2
    _: KW_ONLY
    beta: float | Array | Schedule | None = None
    error_feedback: bool = False

    def __post_init__(self) -> None:
        rule.check_rule(self.step, self.weight_decay)
        check_positive_rank(self.rank)
        check_step(
            type(self).__name__, self.g, self.rank, decay=not is_number(self.weight_decay, 0.0)
        )
        check_fraction(self.tol, "tol")
        if self.beta is not None:
            momentum.check_beta(self.beta)
        feedback.check(self.error_feedback, self.weight_decay, self.g)

    def init(self, x: Array, /) -> State:
        """Return the state before the first step."""
        backend = rule.enter_init(x)
        with backend.guard(x):
            start = first_block(x, self.rank, backend=backend)
            state = rule.buffered(x, self.g, self.buffers, backend=backend)
            return {**state, "start": start}

    @property
    def buffers(self) -> tuple[str, ...]:
        """The names of the arrays like x that the state has."""
        return rule.buffers_of(self.beta is not None, self.error_feedback)

    def _advance(
        self,
        x: Array,
        grad: Array | LinearOperator,
        state: State,
        value: Array | None,
        previous_grad: Array | None,
        whole: bool,
        /,
    ) -> tuple[Array, State]:
        backend = rule.enter_update(x, grad)
        with backend.guard(x):
            size = rule.length(self.step, x, grad, state, value, backend=backend)
            grad, state = self._pull(x, grad, size, state, value, backend)
            pairs = isometry_from(
                grad, self.rank, self.tol, state["start"], step=state["t"], backend=backend
            )
            state = {**state, "start": pairs.start}
            if self.error_feedback:
                fed = feedback.split(
                    grad, backend.xp.matmul(pairs.left, pairs.right), backend=backend
                )
                thin = rule.ThinMove(0.0, fed.length, pairs.left, pairs.right)
                state = {**state, "error": fed.error}
                return rule.finish(x, thin, size, None, state, whole, backend=backend)
            share = rule.decayed(self.weight_decay, size, x, backend=backend)
            move = rule.ThinMove(share, size, pairs.left, pairs.right)
            return rule.finish(x, move, size, self.g, state, whole, backend=backend)

    def _pull(
        self,
        x: Array,
        grad: Array | LinearOperator,
        size: float | Array,
        state: State,
        value: Array | None,
        backend: Backend,
    ) -> tuple[Array | LinearOperator, State]:
        """Return what the pairs are taken of: the gradient, its average, or that and the error."""
        if isinstance(grad, LinearOperator):
            if self.buffers:
                msg = "grad must be an array for a rule with beta or error_feedback"
                raise TypeError(msg)
            return grad, state
        if self.beta is not None:
            grad = momentum.remember(self.beta, x, grad, state, value, backend=backend)
            state = {**state, "momentum_buffer": grad}
        if self.error_feedback:
            grad = feedback.sum_of(state["error"], grad, size, backend=backend)
        return grad, state
