"""Spectral descent: the polar factor of the subgradient as the step."""

from dataclasses import dataclass

from specdesc._lib.typing import Array
from specdesc.backends import Backend
from specdesc.rules.factor import factor
from specdesc.rules.steepest import Steepest


@dataclass(frozen=True)
class SpectralDescent(Steepest):
    """x <- prox_g((1 - weight_decay step) x - step U Vᴴ), with grad = U S Vᴴ.

    Parameters
    ----------
    step : float or schedule
        Step size, in the units of x: the step has spectral norm `step`.
    weight_decay : float
        Decoupled. With strength w > 0 and step sizes of `schedules.frank_wolfe(w)` this is the
        Frank-Wolfe method on the ball of spectral norm at most 1 / w.
    g : prox function, optional
        A constraint or penalty on the iterate, applied with the Euclidean prox.

    Notes
    -----
    The exact polar factor, one SVD a step; zero singular values are dropped and a zero gradient is
    a zero step. The method and its link to Frank-Wolfe: arXiv:2605.26977 (abstract).
    """

    def _direction(self, grad: Array, /, *, backend: Backend) -> Array:
        return factor(grad, "auto", backend=backend)
