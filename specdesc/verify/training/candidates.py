"""The rules that are compared, each with the first step size of its grid."""

from collections.abc import Callable
from dataclasses import dataclass

from specdesc.preconditioners import Kappa
from specdesc.prox import FrobeniusBall, Operator, SpectralBall, Zero
from specdesc.rules import AdamW, Muon, ProximalSpectral, ProximalStorm, Rule, Scion
from specdesc.schedules import Schedule
from specdesc.verify.training.heavy_ball import HeavyBall


@dataclass(frozen=True)
class Candidate:
    """A rule up to its step size.

    Attributes
    ----------
    name : str
        In tables and keys of cells.
    rule : callable
        From a schedule of the step to the rule.
    first : float
        Step size where the search begins.
    constraint : Operator or None
        The set that every layer should stay in.
    gradients : int
        Gradients of a step.
    """

    name: str
    rule: Callable[[Schedule], Rule]
    first: float
    constraint: Operator | None = None
    gradients: int = 1


#: Spectral radii that the proximal method is tried with, that of the other rules, and the Frobenius
#: radius. The start has 1 and at most 8; unconstrained training ends at about 4 and 16.
RADII, RADIUS, FROBENIUS = (0.5, 1.0, 2.0, 4.0), 2.0, 12.0
#: What the claim is about: of several radii the one that is best on the validation rows.
HELD = {
    "proximal, spectral ball": tuple(f"proximal, spectral ball {radius:g}" for radius in RADII),
    "proximal, Frobenius ball": (f"proximal, Frobenius ball {FROBENIUS:g}",),
}
#: What it is held against.
FREE = ("SGD", "AdamW", "Muon", "proximal, no constraint")
#: The smooth substitute of the sign, at a scale of 1e-3 of the Frobenius norm of the momentum.
MAP = Kappa(4, normalize=True)


def candidates() -> tuple[Candidate, ...]:
    """Return all rules."""
    ball = SpectralBall(RADIUS)
    return (
        Candidate("SGD", HeavyBall, 0.1),
        Candidate("AdamW", AdamW, 8e-3),
        Candidate("Muon", Muon, 3e-2),
        Candidate(
            f"Scion, spectral ball {RADIUS:g}", lambda step: Scion(step, radius=RADIUS), 3e-2, ball
        ),
        Candidate("proximal, no constraint", _proximal(Zero()), 3e-2),
        *map(_spectral_ball, RADII),
        Candidate(
            f"proximal, Frobenius ball {FROBENIUS:g}",
            _proximal(FrobeniusBall(FROBENIUS)),
            3e-2,
            FrobeniusBall(FROBENIUS),
        ),
        Candidate(
            f"STORM, spectral ball {RADIUS:g}",
            lambda step: ProximalStorm(step, preconditioner=MAP, g=ball),
            3e-2,
            ball,
            gradients=2,
        ),
        Candidate(
            f"STORM of one gradient, spectral ball {RADIUS:g}",
            lambda step: ProximalStorm(step, preconditioner=MAP, g=ball, approximate=True),
            3e-2,
            ball,
        ),
    )


def _spectral_ball(radius: float) -> Candidate:
    """Return the proximal method with all layers in the spectral ball of a radius."""
    ball = SpectralBall(radius)
    return Candidate(f"proximal, spectral ball {radius:g}", _proximal(ball), 3e-2, ball)


def _proximal(g: Operator) -> Callable[[Schedule], Rule]:
    return lambda step: ProximalSpectral(step, preconditioner=MAP, g=g)
