"""AdamW: for the parameters that are no matrices, and as a baseline."""

import math
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

from specdesc._lib.dtypes import is_complex, real_dtype, working
from specdesc._lib.typing import Array, Namespace
from specdesc._linalg.basic import replace_broken, restore
from specdesc.backends import Backend
from specdesc.rules import rule
from specdesc.rules.rule import State
from specdesc.schedules import Schedule


@dataclass(frozen=True)
class AdamW:
    r"""x <- (1 - weight_decay step) x - step m / (sqrt(v) + eps), entry by entry.

    .. math:: x \leftarrow (1 - \eta\lambda)\, x - \eta\, \hat m / (\sqrt{\hat v} + \varepsilon)

    m and v are the averages of grad and abs(grad)^2 with their bias taken out.

    Parameters
    ----------
    step : float or schedule
        Step size, in the units of x: an entry moves by about `step`.
    betas : tuple of float
        The factors on the old averages of grad and abs(grad)^2.
    eps : float
        Positive, in the units of the gradient.
    weight_decay : float
        Decoupled.

    See Also
    --------
    Muon : For matrices.
    SignDescent : Without averages.

    Notes
    -----
    arXiv:1711.05101 (foundation), with the conventions of ``torch.optim.AdamW`` but for the default
    of weight decay (theirs is 0.01). The averages are float32 at least; that of the squares is kept
    as its root, which gradients of any size have. A matrix whose gradient has a NaN is NaN, and its
    averages carry that NaN. Unlike the steps of spectral rules, this one
    feels the scale of the gradient once that nears `eps`.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import rules
    >>> rule = rules.AdamW(0.1)
    >>> x, state = rule.update(np.eye(2), np.full((2, 2), 5.0), rule.init(np.eye(2)))
    >>> np.round(x, 6)
    array([[ 0.9, -0.1],
           [-0.1,  0.9]])
    """

    needs_previous_grad: ClassVar[bool] = False

    step: float | Schedule
    _: KW_ONLY
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        rule.check_rule(self.step, self.weight_decay)
        if len(self.betas) != 2 or not all(0.0 <= beta < 1.0 for beta in self.betas):
            msg = f"betas must be two numbers in [0, 1), got {self.betas!r}"
            raise ValueError(msg)
        if not 0.0 < self.eps < float("inf"):
            msg = f"eps must be a finite number above 0, got {self.eps!r}"
            raise ValueError(msg)

    def init(self, x: Array, /) -> State:
        """Return the state before the first step."""
        backend = rule.enter_init(x)
        xp, device = backend.xp, backend.placement
        wide, shape = working(xp, x[..., :0, :0]).dtype, tuple(x.shape)
        with backend.guard(x):
            return {
                **rule.initial_state(x, None, backend=backend),
                "mean": xp.zeros(shape, dtype=wide, device=device),
                "root_mean_square": xp.zeros(shape, dtype=real_dtype(xp, wide), device=device),
            }

    def update(
        self,
        x: Array,
        grad: Array,
        state: State,
        /,
        *,
        value: Array | None = None,
        previous_grad: Array | None = None,
    ) -> tuple[Array, State]:
        """Return the next point and state."""
        backend = rule.enter_update(x, grad)
        xp = backend.xp
        with backend.guard(x):
            size = rule.length(self.step, x, grad, state, value, backend=backend)
            pull, finite = grad, None
            if backend.branches or backend.warns:  # what is not finite meets no arithmetic
                pull, finite = replace_broken(grad, backend=backend)
                x, whole = replace_broken(x, backend=backend)
            mean, root = self._averages(pull, state, backend)
            t = state["t"] + 1
            quotient, factor = self._direction(mean, root, t, backend)
            keep = rule.per_matrix(1.0 - self.weight_decay * size)
            y = backend.primitives.axpby(keep, x, rule.per_matrix(size) * factor, quotient)
            if finite is None:
                # Entry by entry a NaN stays where it is; a matrix that has one is NaN.
                y = y + xp.astype(backend.primitives.nan_where_broken(y), y.dtype, copy=False)
            else:
                mean, root = (restore(z, finite, backend=backend) for z in (mean, root))
                y = restore(y, finite & whole, backend=backend)
            return y, {"t": t, "mean": mean, "root_mean_square": root}

    def _averages(self, grad: Array, state: State, backend: Backend) -> tuple[Array, Array]:
        """Return the new averages of grad and abs(grad)^2, the second one as its root."""
        xp, pull = backend.xp, working(backend.xp, grad)
        first, second = self.betas
        mean = backend.primitives.axpby(first, state["mean"], 1.0 - first, pull)
        # The root is kept, and no square is ever made: gradients of 1e30 have none in float32.
        size = xp.abs(pull) if is_complex(xp, pull.dtype) else pull
        old = second**0.5 * state["root_mean_square"]
        return mean, backend.primitives.hypot(old, (1.0 - second) ** 0.5 * size)

    def _direction(
        self, mean: Array, root: Array, t: Array, backend: Backend
    ) -> tuple[Array, float | Array]:
        """Return -m / (sqrt(v) + eps) as a quotient and its factor, with the bias taken out.

        With d = b^t - 1 of each beta that is sqrt(-d2) / d1 times mean / (root + eps sqrt(-d2)).
        """
        xp = backend.xp
        t = xp.astype(t, root.dtype)
        first, second = self.betas
        unbiased = xp.sqrt(-_power_less_one(second, t, xp)) if second else 1.0
        quotient = mean / xp.astype(root + self.eps * unbiased, mean.dtype, copy=False)
        return quotient, unbiased / (_power_less_one(first, t, xp) if first else -1.0)


def _power_less_one(beta: float, t: Array, xp: Namespace) -> Array:
    """Return beta^t - 1, to full precision also for beta near 1."""
    return xp.expm1(t * math.log(beta))
