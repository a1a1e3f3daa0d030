"""Scalar maths of the polynomial iterations: floats in, floats out, no arrays.

An iteration applies odd polynomials p(x) = a x + b x**3 + ... to the singular values of a matrix.
What it does to a whole interval of them is known before any matrix is seen.
"""

from specdesc.minimax.costs import gram_side_costs, x_side_costs
from specdesc.minimax.forms import PRODUCTS, Step, evaluation_step, step_polynomial
from specdesc.minimax.images import Polynomial, composed_image, image
from specdesc.minimax.polynomial import MinimaxPolynomial, minimax_polynomial
from specdesc.minimax.published import (
    NEWTON_SCHULZ,
    POLAR_EXPRESS,
    SAFETY,
    Quintic,
    bound,
    damped,
    damped_polar_express,
    slope,
)
from specdesc.minimax.schedule import Schedule, cheapest_schedule
from specdesc.minimax.segments import Split, split

__all__ = [
    "NEWTON_SCHULZ",
    "POLAR_EXPRESS",
    "PRODUCTS",
    "SAFETY",
    "MinimaxPolynomial",
    "Polynomial",
    "Quintic",
    "Schedule",
    "Split",
    "Step",
    "bound",
    "cheapest_schedule",
    "composed_image",
    "damped",
    "damped_polar_express",
    "evaluation_step",
    "gram_side_costs",
    "image",
    "minimax_polynomial",
    "slope",
    "split",
    "step_polynomial",
    "x_side_costs",
]
