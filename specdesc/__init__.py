"""Spectral-descent mathematics on arrays of any library that follows the Array API standard."""

from importlib.metadata import version

from specdesc import (
    backends,
    diagnostics,
    minimax,
    norms,
    preconditioners,
    problems,
    prox,
    rules,
    schedules,
    testing,
    trees,
)

# Not in __all__, where they would hide the libraries.
from specdesc import optax as optax
from specdesc import torch as torch
from specdesc._clip import spectral_clip
from specdesc._lib.extras import MissingExtra
from specdesc._linalg.operator import LinearOperator
from specdesc._minimize import History, Result, minimize
from specdesc._orthogonalize import Orthogonalization, Status, orthogonalize
from specdesc._planned import Plan, plan_orthogonalization
from specdesc._polar import Polar, polar, spectral_map
from specdesc._proximal import proximal_step
from specdesc._truncate import (
    TruncatedStep,
    initial_start,
    truncated_spectral_step,
    truncated_svd,
)
from specdesc._truncated_svd.leading import TruncatedSVD
from specdesc.minimax import MinimaxPolynomial, minimax_polynomial

#: The version of the installed distribution.
__version__ = version("specdesc")

__all__ = [
    "History",
    "LinearOperator",
    "MinimaxPolynomial",
    "MissingExtra",
    "Orthogonalization",
    "Plan",
    "Polar",
    "Result",
    "Status",
    "TruncatedSVD",
    "TruncatedStep",
    "backends",
    "diagnostics",
    "initial_start",
    "minimax",
    "minimax_polynomial",
    "minimize",
    "norms",
    "orthogonalize",
    "plan_orthogonalization",
    "polar",
    "preconditioners",
    "problems",
    "prox",
    "proximal_step",
    "rules",
    "schedules",
    "spectral_clip",
    "spectral_map",
    "testing",
    "trees",
    "truncated_spectral_step",
    "truncated_svd",
]
