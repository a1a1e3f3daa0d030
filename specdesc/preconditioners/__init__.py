"""Nonlinear preconditioners: the maps grad phi* of the proximal spectral methods.

A *kernel* h is an even convex function of a number; phi is the sum of eps h over the magnitudes of
a matrix in one *geometry* (singular values, entries, rows, columns, or the matrix as a whole), and
the preconditioner is grad phi*, which turns a gradient into a step. Any kernel runs in any
geometry. `prox` has the proximal operators in the same geometries.

The construction follows arXiv:2605.11850, of which only the abstract was read, and the papers that
it builds on (arXiv:2502.08532, arXiv:2210.15531); formulas and constants are derived.
"""

from specdesc._linalg.magnitudes import Geometry
from specdesc.preconditioners.fit import Fit
from specdesc.preconditioners.kernels import Kernel
from specdesc.preconditioners.named import (
    Arcsinh,
    Arctan,
    Clip,
    Kappa,
    Log,
    Quadratic,
    Sign,
    SoftSign,
    Sqrt,
    Tanh,
)
from specdesc.preconditioners.polynomial import Polynomial
from specdesc.preconditioners.preconditioner import Preconditioner

__all__ = [
    "Arcsinh",
    "Arctan",
    "Clip",
    "Fit",
    "Geometry",
    "Kappa",
    "Kernel",
    "Log",
    "Polynomial",
    "Preconditioner",
    "Quadratic",
    "Sign",
    "SoftSign",
    "Sqrt",
    "Tanh",
]
