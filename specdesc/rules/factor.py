"""The orthogonal factor of a step, for a rule that has checked its arrays."""

from specdesc._lib.typing import Array
from specdesc._polar_factor.method import Method, Request
from specdesc._polar_factor.solvers import orthogonal_factor
from specdesc.backends import Backend
from specdesc.backends.entry import check_supported


def factor(x: Array, method: Method, /, *, backend: Backend) -> Array:
    """Return U Vᴴ to working accuracy, or what a published iteration gives."""
    check_supported("orthogonalize", backend)
    return orthogonal_factor(x, Request(None, None, method), backend=backend)[0]
