"""What users of optax expect: rules as gradient transformations, and Muon by the names of optax."""

from .base import transformation
from .states import RuleState

__all__ = ["RuleState", "transformation"]
