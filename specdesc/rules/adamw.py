"""AdamW: for the parameters that are no matrices, and as a baseline."""

import math
from dataclasses import KW_ONLY, dataclass

from specdesc._lib.arrays import times
from specdesc._lib.checks import check_number, is_number, plain
from specdesc._lib.dtypes import is_complex, real_dtype, working, working_dtype
from specdesc._lib.typing import Array, Namespace
from specdesc._linalg.basic import replace_broken, restore
from specdesc.backends import Backend
from specdesc.rules import rule
from specdesc.rules.advancing import Advancing
from specdesc.rules.rule import State
from specdesc.schedules import Schedule


@dataclass(frozen=True)
class AdamW(Advancing):
    r"""x <- (1 - weight_decay step) x - step m / (sqrt(v) + eps), entry by entry.

    .. math:: x \leftarrow (1 - \eta\lambda)\, x - \eta\, \hat m / (\sqrt{\hat v} + \varepsilon)

    m and v are the averages of grad and abs(grad)^2 with their bias taken out.

    Parameters
    ----------
    step : float, array or schedule
        Step size, in the units of x: an entry moves by about `step`.
    betas : tuple of float or array
        The factors on the old averages of grad and abs(grad)^2.
    eps : float or array
        Positive, in the units of the gradient.
    weight_decay : float or array
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
    averages carry that NaN; `change` under tracers leaves it to its entry. Unlike the steps of
    spectral rules, this one feels the scale of the gradient once that nears `eps`.

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

    step: float | Array | Schedule
    _: KW_ONLY
    betas: tuple[float | Array, float | Array] = (0.9, 0.999)
    eps: float | Array = 1e-8
    weight_decay: float | Array = 0.0

    def __post_init__(self) -> None:
        rule.check_rule(self.step, self.weight_decay)
        betas = self.betas
        if len(betas) != 2 or any(isinstance(plain(b), float) and not 0 <= b < 1 for b in betas):
            msg = f"betas must be two numbers in [0, 1), got {betas!r}"
            raise ValueError(msg)
        for beta in betas:
            check_number(beta, "betas", lambda _: True, "two numbers in [0, 1)")
        check_number(
            self.eps, "eps", lambda eps: 0.0 < eps < float("inf"), "a finite number above 0"
        )

    def init(self, x: Array, /) -> State:
        """Return the state before the first step."""
        backend = rule.enter_init(x)
        xp = backend.xp
        wide = working_dtype(xp, x.dtype)
        with backend.guard(x):
            # Like x, so that they lie where it does, over several devices too.
            sizes = xp.real(x) if is_complex(xp, x.dtype) else x
            return {
                **rule.initial_state(x, None, backend=backend),
                "mean": xp.zeros_like(x, dtype=wide),
                "root_mean_square": xp.zeros_like(sizes, dtype=real_dtype(xp, wide)),
            }

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
            pull, finite = grad, None
            if backend.branches or backend.warns:  # what is not finite meets no arithmetic
                pull, finite = replace_broken(grad, backend=backend, by_entry=True)
                x, sound = replace_broken(x, backend=backend, by_entry=True)
            mean, root = self._averages(pull, state, backend)
            t = state["t"] + 1
            quotient, factor = self._direction(mean, root, t, x, backend)
            length = rule.per_matrix(size) * factor
            share = rule.per_matrix(rule.decayed(self.weight_decay, size, x, backend=backend))
            if whole:
                y = backend.primitives.axpby(1.0 - share, x, length, quotient)
            else:
                y = times(length, quotient, xp=xp)
                if not is_number(share, 0.0):
                    y = y - times(share, working(xp, x), xp=xp)
            if finite is not None:
                mean, root = (restore(z, finite, backend=backend) for z in (mean, root))
                y = restore(y, finite & sound, backend=backend)
            elif whole:
                # Entry by entry a NaN stays where it is; a matrix that has one is NaN.
                y = y + xp.astype(backend.primitives.nan_where_broken(y), y.dtype, copy=False)
            return y, {"t": t, "mean": mean, "root_mean_square": root}

    def _averages(self, grad: Array, state: State, backend: Backend) -> tuple[Array, Array]:
        """Return the new averages of grad and abs(grad)^2, the second one as its root."""
        xp, pull = backend.xp, working(backend.xp, grad)
        first, second = (rule.number(beta, grad, backend=backend) for beta in self.betas)
        mean = backend.primitives.axpby(first, state["mean"], 1.0 - first, pull)
        # The root is kept, and no square is ever made: gradients of 1e30 have none in float32.
        size = xp.abs(pull) if is_complex(xp, pull.dtype) else pull
        old = second**0.5 * state["root_mean_square"]
        return mean, backend.primitives.hypot(old, (1.0 - second) ** 0.5 * size)

    def _direction(
        self, mean: Array, root: Array, t: Array, like: Array, backend: Backend
    ) -> tuple[Array, float | Array]:
        """Return -m / (sqrt(v) + eps) as a quotient and its factor, with the bias taken out.

        With d = b^t - 1 of each beta that is sqrt(-d2) / d1 times mean / (root + eps sqrt(-d2)).
        """
        xp = backend.xp
        t = xp.astype(t, root.dtype)
        first, second = (rule.number(beta, like, backend=backend) for beta in self.betas)
        eps = rule.number(self.eps, like, backend=backend)
        unbiased = 1.0 if is_number(second, 0.0) else xp.sqrt(-_power_less_one(second, t, xp))
        quotient = mean / xp.astype(root + eps * unbiased, mean.dtype, copy=False)
        return quotient, unbiased / (
            -1.0 if is_number(first, 0.0) else _power_less_one(first, t, xp)
        )


def _power_less_one(beta: float | Array, t: Array, xp: Namespace) -> Array:
    """Return beta^t - 1, to full precision also for beta near 1."""
    return xp.expm1(t * (math.log(beta) if isinstance(beta, float) else xp.log(beta)))
