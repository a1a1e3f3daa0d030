"""Spectral descent: the polar factor of the subgradient as the step."""

from dataclasses import KW_ONLY, dataclass

from specdesc._lib.typing import Array
from specdesc._polar_factor.direction import Accuracy, check_accuracy, direction
from specdesc.backends import Backend
from specdesc.rules.steepest import Steepest


@dataclass(frozen=True)
class SpectralDescent(Steepest):
    r"""x <- prox_g((1 - weight_decay step) x - step U Vᴴ), with grad = U S Vᴴ.

    .. math::

        x \leftarrow \operatorname{prox}_{\eta g}\bigl((1 - \eta\lambda)\, x - \eta\, U
            V^H\bigr), \qquad
        G = U S V^H

    Parameters
    ----------
    step : float, array or schedule
        Step size, in the units of x: the step has spectral norm `step`.
    weight_decay : float or array
        Decoupled. With strength w > 0 and step sizes of `schedules.frank_wolfe(w)` this is the
        Frank-Wolfe method on the ball of spectral norm at most 1 / w.
    g : prox function, optional
        A set whose Euclidean projection follows the step: `prox.SpectralBall`, or one that is not
        convex such as `prox.Rank`, as a heuristic.
    beta : float, array or schedule, optional
        Momentum: the factor on the old buffer, beta buffer + (1 - beta) grad, which starts from
        zero. None is no buffer.
    error_feedback : bool
        Add what a step leaves of the gradient to the next one. The step is then the part of error +
        step grad along the direction, so that `step` is that of a subgradient method, and sees the
        scale of the gradient. With neither `weight_decay` nor `g`.
    tol, floor : float, optional
        Of the factor, as in `orthogonalize`. None is the working accuracy, and on a device, where
        no step takes an SVD, ``tol=3e-2, floor=1e-3``.
    dtype : str, optional
        Name of the dtype in which the factor is computed. None is that of the gradient.

    Raises
    ------
    NotImplementedError
        A `g` with which the rule would not minimise f + g.

    See Also
    --------
    Muon : With momentum that looks ahead, scales and other decays.
    TruncatedSpectralDescent : The leading pairs alone.

    Notes
    -----
    Without `tol` the exact polar factor where values can be read, one SVD a step; zero
    singular values are dropped and a zero gradient is a zero step. The method and its link to
    Frank-Wolfe: arXiv:2605.26977 (abstract).

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import rules
    >>> x, grad = np.ones((2, 2)), np.diag([3.0, -2.0])
    >>> rule = rules.SpectralDescent(0.1)
    >>> rule.update(x, grad, rule.init(x))[0].round(3)
    array([[0.9, 1. ],
           [1. , 1.1]])
    """

    _: KW_ONLY
    tol: float | None = None
    floor: float | None = None
    dtype: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_accuracy(self._accuracy)

    @property
    def _accuracy(self) -> Accuracy:
        return Accuracy(self.tol, self.floor, self.dtype)

    def _direction(self, grad: Array, /, *, backend: Backend) -> Array:
        return direction(grad, self._accuracy, backend=backend)
