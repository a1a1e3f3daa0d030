"""How far a point is from a solution, how heavy the noise is, and what the theory makes of it.

Measures of arrays are of the batch shape and in the real dtype; those of noise are numbers of the
host. `certificate` makes a ``stop`` of `specdesc.minimize` from any of them, and from the methods
of norms and sets: ``norm.dual`` of a gradient, ``violation`` of a point.
"""

from specdesc.diagnostics.frank_wolfe import frank_wolfe_gap
from specdesc.diagnostics.ranks import nuclear_rank, spectral_gain, stable_rank
from specdesc.diagnostics.residual import prox_residual
from specdesc.diagnostics.spectra import active_share, orthogonality_error
from specdesc.diagnostics.stationary import stationarity, step_stationarity
from specdesc.diagnostics.stopping import certificate
from specdesc.diagnostics.subdifferential import subdifferential_distance
from specdesc.diagnostics.suggestion import Suggestion, suggest
from specdesc.diagnostics.tail import TailIndex, tail_index

__all__ = [
    "Suggestion",
    "TailIndex",
    "active_share",
    "certificate",
    "frank_wolfe_gap",
    "nuclear_rank",
    "orthogonality_error",
    "prox_residual",
    "spectral_gain",
    "stable_rank",
    "stationarity",
    "step_stationarity",
    "subdifferential_distance",
    "suggest",
    "tail_index",
]
