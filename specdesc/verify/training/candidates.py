"""The rules that are compared, each with the first step size of its grid."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

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


#: Radii that the proximal method is tried with, and that of the other rules. The start has spectral
#: norm 1 and Frobenius norm at most 8; free training ends at about 4 and 16, so that all are met.
SPECTRAL, FROBENIUS, RADIUS = (1.0, 2.0, 3.0), (6.0, 12.0), 2.0
#: Strengths of decoupled weight decay beside none, for the free rules: they may shrink, too.
DECAYS = (0.1, 0.3, 1.0)
#: Families of rules, of which one is chosen on the validation rows: what the claim is about,
HELD = {
    "proximal, spectral ball": tuple(f"proximal, spectral ball {r:g}" for r in SPECTRAL),
    "proximal, Frobenius ball": tuple(f"proximal, Frobenius ball {r:g}" for r in FROBENIUS),
}
#: and what it is held against.
FREE = {
    "SGD": ("SGD",),
    "AdamW": ("AdamW", *(f"AdamW, decay {w:g}" for w in DECAYS)),
    "Muon": ("Muon", *(f"Muon, decay {w:g}" for w in DECAYS)),
    "proximal, no constraint": ("proximal, no constraint",),
}
#: The smooth substitute of the sign, at a scale of 1e-3 of the Frobenius norm of the momentum.
MAP = Kappa(4, normalize=True)


def candidates() -> tuple[Candidate, ...]:
    """Return all rules."""
    ball = SpectralBall(RADIUS)
    return (
        Candidate("SGD", HeavyBall, 0.1),
        Candidate("AdamW", AdamW, 8e-3),
        *(_decayed("AdamW", AdamW, 8e-3, decay) for decay in DECAYS),
        Candidate("Muon", Muon, 3e-2),
        *(_decayed("Muon", Muon, 3e-2, decay) for decay in DECAYS),
        Candidate(
            f"Scion, spectral ball {RADIUS:g}",
            lambda step: Scion(step, radius=RADIUS),
            3e-2,
            ball,
        ),
        Candidate("proximal, no constraint", _proximal(Zero()), 3e-2),
        *(_in_ball("spectral", SpectralBall(radius), radius) for radius in SPECTRAL),
        *(_in_ball("Frobenius", FrobeniusBall(radius), radius) for radius in FROBENIUS),
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


def _decayed(name: str, rule: Callable[..., Rule], first: float, decay: float, /) -> Candidate:
    return Candidate(f"{name}, decay {decay:g}", partial(rule, weight_decay=decay), first)


def _in_ball(kind: str, ball: Operator, radius: float) -> Candidate:
    """Return the proximal method with all layers in a ball."""
    return Candidate(f"proximal, {kind} ball {radius:g}", _proximal(ball), 3e-2, ball)


def _proximal(g: Operator) -> Callable[[Schedule], Rule]:
    return lambda step: ProximalSpectral(step, preconditioner=MAP, g=g)
