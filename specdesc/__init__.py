"""Spectral-descent mathematics on arrays of any library that follows the Array API standard."""

from specdesc import (
    backends,
    diagnostics,
    norms,
    preconditioners,
    problems,
    prox,
    rules,
    schedules,
    testing,
    trees,
)
from specdesc._extras import MissingExtra
from specdesc._operator import LinearOperator
from specdesc.clip import spectral_clip
from specdesc.minimax import MinimaxPolynomial, minimax_polynomial
from specdesc.minimize import History, Result, minimize
from specdesc.orthogonalize import Orthogonalization, orthogonalize
from specdesc.plan import Plan, plan_orthogonalization
from specdesc.polar import Polar, polar, spectral_map
from specdesc.proximal import proximal_step
from specdesc.truncate import (
    TruncatedStep,
    TruncatedSVD,
    initial_start,
    truncated_spectral_step,
    truncated_svd,
)

__all__ = [
    "History",
    "LinearOperator",
    "MinimaxPolynomial",
    "MissingExtra",
    "Orthogonalization",
    "Plan",
    "Polar",
    "Result",
    "TruncatedSVD",
    "TruncatedStep",
    "backends",
    "diagnostics",
    "initial_start",
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
