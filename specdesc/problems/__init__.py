"""Problems with data, value and subgradient, and the baselines that they are judged by."""

from specdesc.problems.corruption import corrupt
from specdesc.problems.covariance import geometric_covariance, spiked_covariance
from specdesc.problems.mnist1d import mnist1d
from specdesc.problems.nuclear_distance import NuclearDistance
from specdesc.problems.perceptron import Perceptron
from specdesc.problems.pursuit import principal_component_pursuit
from specdesc.problems.quadratic import NoisyQuadratic, random_quadratic
from specdesc.problems.rank import estimate_rank
from specdesc.problems.regression import (
    MatrixRegression,
    MultinomialRegression,
    digits,
    random_regression,
)
from specdesc.problems.robust_recovery import RobustRecovery
from specdesc.problems.robust_regression import RobustRegression, random_robust_regression
from specdesc.problems.synthetic import random_completion, random_recovery
from specdesc.problems.trace_locked import TraceLocked

__all__ = [
    "MatrixRegression",
    "MultinomialRegression",
    "NoisyQuadratic",
    "NuclearDistance",
    "Perceptron",
    "RobustRecovery",
    "RobustRegression",
    "TraceLocked",
    "corrupt",
    "digits",
    "estimate_rank",
    "geometric_covariance",
    "mnist1d",
    "principal_component_pursuit",
    "random_completion",
    "random_quadratic",
    "random_recovery",
    "random_regression",
    "random_robust_regression",
    "spiked_covariance",
]
