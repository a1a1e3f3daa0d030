"""Problems with data, value and subgradient, and the baselines that they are judged by."""

from specdesc.problems.corruption import corrupt
from specdesc.problems.pursuit import principal_component_pursuit
from specdesc.problems.rank import estimate_rank
from specdesc.problems.robust_recovery import RobustRecovery
from specdesc.problems.synthetic import random_recovery
from specdesc.problems.trace_locked import TraceLocked

__all__ = [
    "RobustRecovery",
    "TraceLocked",
    "corrupt",
    "estimate_rank",
    "principal_component_pursuit",
    "random_recovery",
]
