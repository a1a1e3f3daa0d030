"""Claims about the methods, each of which one command tests.

A claim is one file with a `Claim` called ``CLAIM``; it is known when it stands in the list here.
"""

from specdesc.verify import counterexample, linear_convergence, noise_floor, recovery
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
        recovery.CLAIM,
        noise_floor.CLAIM,
    )
}
