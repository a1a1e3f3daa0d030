"""What users of optax expect: rules as gradient transformations, and Muon by the names of optax."""

from .aliases import muon, scale_by_muon, scion
from .base import transformation
from .states import RuleState

__all__ = ["RuleState", "muon", "scale_by_muon", "scion", "transformation"]
