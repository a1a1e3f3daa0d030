"""Claims about the methods, each of which one command tests.

A claim is one file with a `Claim` called ``CLAIM``; it is known when it stands in the list here.
"""

from specdesc.verify import (
    counterexample,
    effect_of_k,
    heavy_tailed_rate,
    ill_conditioned,
    linear_convergence,
    noise_floor,
    phase_diagram,
    polar_express_kappa,
    recovery,
    storm_rate,
    training,
    weight_decay_rates,
)
from specdesc.verify.claim import Claim, Finding, Verdict
from specdesc.verify.job import Options, choose, listing, verify
from specdesc.verify.trial import Trial

__all__ = [
    "CLAIMS",
    "Claim",
    "Finding",
    "Options",
    "Trial",
    "Verdict",
    "choose",
    "listing",
    "verify",
]

#: All claims by name, in the order in which ``--all`` runs them.
CLAIMS = {
    claim.name: claim
    for claim in (
        linear_convergence.CLAIM,
        counterexample.CLAIM,
        effect_of_k.CLAIM,
        recovery.CLAIM,
        ill_conditioned.CLAIM,
        weight_decay_rates.CLAIM,
        noise_floor.CLAIM,
        phase_diagram.CLAIM,
        heavy_tailed_rate.CLAIM,
        storm_rate.CLAIM,
        polar_express_kappa.CLAIM,
        training.CLAIM,
    )
}
