"""The subgradient method with normalized steps: what spectral steps are compared with."""

from dataclasses import dataclass
from typing import ClassVar

from specdesc._lib.typing import Array
from specdesc._linalg.magnitudes import Geometry
from specdesc.backends import Backend
from specdesc.norms import Frobenius
from specdesc.rules.steepest import Steepest


@dataclass(frozen=True)
class NormalizedGradient(Steepest):
    r"""x <- prox_g((1 - weight_decay step) x - step grad / ||grad||_F).

    .. math::

        x \leftarrow \operatorname{prox}_{\eta g}\bigl((1 - \eta\lambda)\, x - \eta\, G
            / \|G\|_F\bigr)

    Parameters
    ----------
    step : float, array or schedule
        Step size, in the units of x: the step has Frobenius norm `step`.
    weight_decay : float or array
        Decoupled.
    g : prox function, optional
        A set whose Euclidean projection follows the step: any; with weight decay, the ball of the
        Frobenius norm. One that is not convex is a heuristic.
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
    SpectralDescent : The same in the spectral norm.

    Notes
    -----
    A zero gradient is a zero step. Each matrix of a stack is normalized by its own norm.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import rules
    >>> x, grad = np.ones((2, 2)), np.diag([3.0, -2.0])
    >>> rule = rules.NormalizedGradient(1.0)
    >>> rule.update(x, grad, rule.init(x))[0].round(3)
    array([[0.168, 1.   ],
           [1.   , 1.555]])
    """

    geometry: ClassVar[Geometry] = "global"

    def _direction(self, grad: Array, /, *, backend: Backend) -> Array:
        return Frobenius().uphill(grad, 1.0, backend=backend)
