"""Error feedback: what a step leaves of the gradient is added to the next one."""

from typing import NamedTuple

from specdesc._lib.checks import is_number
from specdesc._lib.dtypes import is_complex, working
from specdesc._lib.typing import Array
from specdesc._linalg.basic import balance
from specdesc.backends import Backend
from specdesc.prox import Function
from specdesc.rules import momentum, rule


class Fed(NamedTuple):
    """A step against `direction`, of this length, and what it leaves."""

    length: Array  # of the batch shape
    direction: Array
    error: Array


def check(error_feedback: bool, weight_decay: float | Array, g: Function | None, /) -> None:
    """Raise `ValueError` for error feedback with a decay or a set.

    The proof follows x - error, which makes plain subgradient steps; a decay and a projection of x
    do not reach it.
    """
    if error_feedback and (g is not None or not is_number(weight_decay, 0.0)):
        msg = (
            "error_feedback takes neither weight_decay nor g, got "
            f"weight_decay={weight_decay!r}, g={g!r}"
        )
        raise ValueError(msg)


def sum_of(error: Array, pull: Array, size: float | Array, /, *, backend: Backend) -> Array:
    """Return error + size pull."""
    terms = ((1.0, error), (rule.per_matrix(size), pull))
    return momentum.combination(*terms, like=error, backend=backend)


def split(p: Array, d: Array, /, *, backend: Backend) -> Fed:
    """Return the step of p = error + size pull along the direction d of p, and the rest.

    The step is the part of p along d, Re <p, d> / ||d||_F² d. Of ||p||_F² it takes at least the
    share 1 / min(m, n) if d is a polar factor, truncated or not, 1 / (m n) for the sign, and all
    for the gradient, so that the error stays within a multiple of size ||pull||. x - error moves by
    size pull alone: it makes subgradient steps, and converges as those do (after arXiv:1901.09847,
    with any norm in place of the largest entry; derived).
    """
    length = _along(p, d, backend)
    terms = ((1.0, p), (-length[..., None, None], d))
    return Fed(length, d, momentum.combination(*terms, like=p, backend=backend))


def _along(p: Array, d: Array, backend: Backend) -> Array:
    """Return Re <p, d> / ||d||_F² of every matrix, 0 for no direction."""
    xp = backend.xp
    balanced = balance(working(xp, p), backend=backend)
    d = working(xp, d)
    product = xp.conj(balanced.matrix) * d if is_complex(xp, d.dtype) else balanced.matrix * d
    product = xp.real(product) if is_complex(xp, product.dtype) else product
    energy = xp.sum(xp.sum(xp.abs(d) ** 2, axis=-1), axis=-1)
    safe = xp.where(energy > 0, energy, xp.ones_like(energy))
    total = xp.sum(xp.sum(product, axis=-1), axis=-1)
    return total / safe * balanced.scale[..., 0, 0]
