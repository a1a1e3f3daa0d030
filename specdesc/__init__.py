"""Spectral-descent mathematics on arrays of any library that follows the Array API standard."""

from specdesc import backends, norms, problems, prox, rules, schedules
from specdesc._extras import MissingExtra
from specdesc._operator import LinearOperator
from specdesc.minimax import MinimaxPolynomial, minimax_polynomial
from specdesc.minimize import History, Result, minimize
from specdesc.orthogonalize import Orthogonalization, Polar, orthogonalize, polar, spectral_map
from specdesc.plan import Plan, plan_orthogonalization
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
    "initial_start",
    "minimax_polynomial",
    "minimize",
    "norms",
    "orthogonalize",
    "plan_orthogonalization",
    "polar",
    "problems",
    "prox",
    "rules",
    "schedules",
    "spectral_map",
    "truncated_spectral_step",
    "truncated_svd",
]
