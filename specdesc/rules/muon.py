"""Muon: momentum, and the polar factor of the buffer as the step."""

from dataclasses import KW_ONLY, dataclass
from typing import Literal, get_args

from specdesc._lib.checks import is_number
from specdesc._lib.dtypes import is_complex, real_dtype, working, working_dtype
from specdesc._lib.typing import Array, Namespace
from specdesc._linalg.basic import replace_broken
from specdesc._polar_factor.direction import DTYPES, Accuracy, check_accuracy, direction
from specdesc._polar_factor.method import METHODS, Method
from specdesc.backends import Backend
from specdesc.prox import Function
from specdesc.prox.fixed_points import check_step
from specdesc.rules import feedback, momentum, rule
from specdesc.rules.advancing import Advancing
from specdesc.rules.rule import State
from specdesc.rules.scale import Layout, Scale, check_scale, scale_factor
from specdesc.schedules import Schedule

Decay = Literal["decoupled", "independent", "l2", "cautious", "frank_wolfe"]
Momentum = Literal["ema", "heavy_ball", "ema_corrected"]


@dataclass(frozen=True)
class Muon(Advancing):
    r"""x <- (1 - weight_decay step) x - step scale U Vᴴ, with buffer = U S Vᴴ.

    .. math::

        m \leftarrow \beta m + (1 - \beta) G, \qquad
        x \leftarrow (1 - \eta\lambda)\, x - \eta\, c\, U V^H, \qquad
        U S V^H = m \ \text{ or }\ \beta m + (1 - \beta) G \text{ (Nesterov)}

    Parameters
    ----------
    step : float, array or schedule
        Step size, in the units of x: the step has spectral norm `step` times the scale.
    beta : float, array or schedule
        The factor on the old buffer, which starts from zero.
    nesterov : bool
        Use Nesterov momentum: orthogonalize beta buffer + (1 - beta) grad (``"ema"``) or beta
        buffer + grad (``"heavy_ball"``), with the new buffer, instead of the buffer.
    weight_decay : float or array
        Strength of the decay, see `decay`.
    decay : str
        ``"decoupled"``: x is multiplied by 1 - step weight_decay; the scale plays no part.
        ``"independent"``: by 1 - weight_decay, whatever the step. ``"l2"``: weight_decay x is added
        to the gradient, before the buffer. ``"cautious"``: decoupled, on those entries alone that
        do not grow by the step, Re(conj(u) x) >= 0 with u the entry of U Vᴴ. ``"frank_wolfe"``: the
        constrained step x <- (1 - step) x - (step / weight_decay) scale U Vᴴ on the ball of
        spectral norm scale / weight_decay; it is ``"decoupled"`` with step / weight_decay.
    momentum : {"ema", "heavy_ball", "ema_corrected"}
        buffer <- beta buffer + (1 - beta) grad, or beta buffer + grad. The factor does not tell
        them apart: with a constant beta the steps are the same. ``"ema_corrected"`` looks ahead as
        optax does, with averages that are divided by 1 - beta^(t + 2) and 1 - beta^(t + 1), which
        makes the first steps those of the gradient more than of the buffer; beta must be a number.
    scale : str or callable
        As in `scale_factor`.
    layout : {"out_in", "in_out"}
        Which axis counts outputs: the first as in torch, or the second as in JAX and Keras.
    method : str
        Of `orthogonalize`; what a backend does not have raises `NotImplementedError`.
    polar_dtype : str, optional
        Another name for `dtype`.
    tol, floor : float, optional
        Of the factor, as in `orthogonalize`. None is the working accuracy, and on a device, where
        no step takes an SVD, ``tol=3e-2, floor=1e-3``.
    dtype : str, optional
        Name of the dtype in which the factor is computed, such as ``"bfloat16"``. None is the dtype
        of the gradient. Half precision is multiplied as `orthogonalize` says.
    g : prox function, optional
        A set whose Euclidean projection follows the step: `prox.SpectralBall`, or one that is not
        convex such as `prox.Rank`, as a heuristic. The decays ``"independent"`` and ``"cautious"``
        have none.
    error_feedback : bool
        Add what a step leaves of the buffer to the next one. The step is then the part of error +
        step scale buffer along its polar factor, so that `step` is that of a subgradient method,
        and sees the scale of the gradient. With neither `weight_decay` nor `g`.

    See Also
    --------
    Scion : Other norms, and a constraint by Frank-Wolfe steps.
    SpectralDescent : Without momentum.
    specdesc.torch.Muon : The optimizer for torch.
    specdesc.orthogonalize : The factor.

    Notes
    -----
    The buffer has the dtype of x; sums are made in float32 at least and rounded once. Bias
    correction matters to Nesterov's form alone: the factor does not see a positive multiple.
    Conventions as in Keller Jordan's
    Muon and ``torch.optim.Muon``, whose defaults these are but for weight decay (theirs is 0.1) and
    for the accuracy of the factor. Cautious decay: arXiv:2510.12402. Cost: one `orthogonalize`, to
    working accuracy unless `method` names a published iteration.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import rules
    >>> rule = rules.Muon(0.1, weight_decay=1.0)
    >>> x = np.ones((2, 2))
    >>> x, state = rule.update(x, np.diag([3.0, -2.0]), rule.init(x))
    >>> x
    array([[0.8, 0.9],
           [0.9, 1. ]])
    """

    step: float | Array | Schedule
    _: KW_ONLY
    beta: float | Array | Schedule = 0.95
    nesterov: bool = True
    weight_decay: float | Array = 0.0
    decay: Decay = "decoupled"
    momentum: Momentum = "ema"
    scale: Scale = "keller"
    layout: Layout = "out_in"
    method: Method = "auto"
    polar_dtype: str | None = None
    tol: float | None = None
    floor: float | None = None
    dtype: str | None = None
    g: Function | None = None
    error_feedback: bool = False

    def __post_init__(self) -> None:
        rule.check_rule(self.step, self.weight_decay)
        momentum.check_beta(self.beta)
        self._check_g()
        feedback.check(self.error_feedback, self.weight_decay, self.g)
        check_scale(self.scale, self.layout)
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                msg = f"{name} must be one of {', '.join(choices)}, got {getattr(self, name)!r}"
                raise ValueError(msg)
        if self.polar_dtype is not None and self.dtype is not None:
            msg = f"dtype and polar_dtype are one option, got {self.dtype!r}, {self.polar_dtype!r}"
            raise ValueError(msg)
        if self.polar_dtype not in (None, *DTYPES):
            msg = f"polar_dtype must be one of {', '.join(DTYPES)}, got {self.polar_dtype!r}"
            raise ValueError(msg)
        check_accuracy(self._accuracy)
        if self.momentum == "ema_corrected" and callable(self.beta):
            msg = f"beta must be a number for momentum='ema_corrected', got {self.beta!r}"
            raise ValueError(msg)
        if self.decay == "frank_wolfe":
            rule.check_share(self.step)
            if is_number(self.weight_decay, 0.0):
                msg = "weight_decay must be above 0 for decay='frank_wolfe', got 0.0"
                raise ValueError(msg)

    def init(self, x: Array, /) -> State:
        """Return the state before the first step."""
        more = ("error",) if self.error_feedback else ()
        return momentum.initial_state(x, *more, g=self.g)

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
        xp = backend.xp
        with backend.guard(x):
            size = rule.length(self.step, x, grad, state, value, backend=backend)
            beta = momentum.factor(self.beta, x, grad, state, value, backend=backend)
            pull = self._with_l2(grad, x, backend)
            average = momentum.heavy_ball if self.momentum == "heavy_ball" else momentum.ema
            buffer = ahead = average(state["momentum_buffer"], pull, beta, backend=backend)
            if self.nesterov:
                ahead = average(self._weighed(buffer, beta, state, xp), pull, beta, backend=backend)
            state = {**state, "momentum_buffer": buffer}
            if self.error_feedback:
                reach = scale_factor(self.scale, tuple(x.shape), self.layout) * size
                p = feedback.sum_of(state["error"], ahead, reach, backend=backend)
                step = direction(p, self._accuracy, self.method, backend=backend)
                fed = feedback.split(p, step, backend=backend)
                move = rule.Move(0.0, fed.length, step)
                state = {**state, "error": fed.error}
            else:
                step = direction(ahead, self._accuracy, self.method, backend=backend)
                move = self._move(x, size, step, backend)
            return rule.finish(x, move, size, self.g, state, whole, backend=backend)

    def _check_g(self) -> None:
        decays = not is_number(self.weight_decay, 0.0) and self.decay != "l2"
        check_step("Muon", self.g, "spectral", decay=decays)
        if decays and self.decay in ("independent", "cautious") and self.g is not None:
            msg = f"decay must be decoupled, l2 or frank_wolfe next to g, got {self.decay!r}"
            raise NotImplementedError(msg)

    def _with_l2(self, grad: Array, x: Array, backend: Backend) -> Array:
        if self.decay != "l2" or is_number(self.weight_decay, 0.0):
            return grad
        terms = ((1.0, grad), (rule.number(self.weight_decay, x, backend=backend), x))
        return momentum.combination(*terms, like=grad, backend=backend)

    def _weighed(self, buffer: Array, beta: float | Array, state: State, xp: Namespace) -> Array:
        """Return the buffer with its weight relative to the gradient that is added to it."""
        if self.momentum != "ema_corrected":
            return buffer
        wide = working(xp, buffer)
        t = xp.astype(state["t"], real_dtype(xp, wide.dtype))
        weight = (1.0 - beta ** (t + 1.0)) / (1.0 - beta ** (t + 2.0))
        return xp.astype(weight, wide.dtype) * wide

    @property
    def _accuracy(self) -> Accuracy:
        return Accuracy(self.tol, self.floor, self.dtype or self.polar_dtype)

    def _move(self, x: Array, size: float | Array, direction: Array, backend: Backend) -> rule.Move:
        xp = backend.xp
        decay = rule.number(self.weight_decay, x, backend=backend)
        decay = 0.0 if self.decay == "l2" else decay
        reach = scale_factor(self.scale, tuple(x.shape), self.layout) * size
        share = 0.0 if is_number(decay, 0.0) else decay * size
        if self.decay == "frank_wolfe":
            share, reach = size, reach / decay
        elif self.decay == "independent":
            share = decay
        where = None
        if self.decay == "cautious":
            real = real_dtype(xp, working_dtype(xp, x.dtype))
            where = xp.astype(_shrinks(x, direction, backend), real)
        return rule.Move(share, reach, direction, where)


def _shrinks(x: Array, direction: Array, backend: Backend) -> Array:
    """Say which entries of `x` a step against `direction` does not make larger, to first order."""
    xp = backend.xp
    x, _ = replace_broken(x, backend=backend, by_entry=True)
    direction = xp.astype(direction, x.dtype, copy=False)
    if not is_complex(xp, x.dtype):
        return x * direction >= 0
    return xp.real(xp.conj(direction) * x) >= 0


_CHOICES = {"decay": get_args(Decay), "momentum": get_args(Momentum), "method": METHODS}
