"""Sign descent: the steepest descent of the largest entry."""

from dataclasses import dataclass
from typing import ClassVar

from specdesc._lib.typing import Array
from specdesc._linalg.magnitudes import Geometry
from specdesc.backends import Backend
from specdesc.norms import Max
from specdesc.rules.steepest import Steepest


@dataclass(frozen=True)
class SignDescent(Steepest):
    r"""x <- prox_g((1 - weight_decay step) x - step sign(grad)), entry by entry.

    .. math::

        x \leftarrow \operatorname{prox}_{\eta g}\bigl((1 - \eta\lambda)\, x - \eta
            \operatorname{sign}(G)\bigr)

    Parameters
    ----------
    step : float, array or schedule
        Step size, in the units of x: every entry moves by `step`.
    weight_decay : float or array
        Decoupled. With strength w > 0 and step sizes of `schedules.frank_wolfe(w)` this is the
        Frank-Wolfe method on the ball of entries at most 1 / w.
    g : prox function, optional
        A set whose Euclidean projection follows the step: `prox.MaxBall`, `prox.Box`, or one that
        is not convex, as a heuristic.
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
    AdamW : With averages.
    specdesc.norms.Max : The norm whose oracle this is.

    Notes
    -----
    The sign of a complex entry is the entry over its absolute value; that of 0 is 0.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import rules
    >>> x, grad = np.ones((2, 2)), np.diag([3.0, -2.0])
    >>> rule = rules.SignDescent(0.1)
    >>> rule.update(x, grad, rule.init(x))[0].round(3)
    array([[0.9, 1. ],
           [1. , 1.1]])
    """

    geometry: ClassVar[Geometry] = "elementwise"

    def _direction(self, grad: Array, /, *, backend: Backend) -> Array:
        return Max().uphill(grad, 1.0, backend=backend)
