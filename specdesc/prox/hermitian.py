"""Sets of Hermitian matrices: the positive semi-definite cone, and its matrices of one trace."""

from dataclasses import dataclass
from typing import Any, ClassVar

from specdesc._lib.arrays import adjoint
from specdesc._lib.dtypes import working
from specdesc._lib.typing import Array
from specdesc._linalg import lift, magnitudes
from specdesc._linalg.basic import balance, restore
from specdesc._linalg.lift import Decomposed
from specdesc._linalg.magnitudes import Map, Parts
from specdesc.backends import Backend
from specdesc.preconditioners import Preconditioner
from specdesc.prox import sets
from specdesc.prox.frames import Frame
from specdesc.prox.operator import BoundedSet, Operator, check_non_negative
from specdesc.prox.profile import Phi


@dataclass(frozen=True)
class _Eigenvalues:
    """A stack of square matrices with the eigenvalues of their Hermitian parts."""

    matrix: Array
    finite: Array
    magnitudes: Array  # eigenvalues, with their signs
    vectors: Array
    skew: Array  # (...,): the Frobenius norm of the rest
    backend: Backend
    known: Decomposed | None = None  # where somebody may ask for a derivative

    def rebuild(self, magnitudes: Array, function: Map, /) -> Array:
        """Return the Hermitian matrices with other eigenvalues."""
        xp = self.backend.xp
        if self.known is not None:
            y = lift.with_values(self.known, magnitudes, function, backend=self.backend)
            return xp.astype(y, self.matrix.dtype, copy=False)
        scaled = self.vectors * xp.astype(magnitudes, self.vectors.dtype)[..., None, :]
        y = xp.matmul(scaled, adjoint(self.vectors, xp=xp))
        y = xp.astype(0.5 * (y + adjoint(y, xp=xp)), self.matrix.dtype, copy=False)
        return restore(y, self.finite, backend=self.backend)


def _eigenvalues(x: Array, backend: Backend) -> _Eigenvalues:
    xp = backend.xp
    asked = backend.asks(x)
    balanced = balance(working(xp, backend.frozen(x) if asked else x), backend=backend)
    turned = adjoint(balanced.matrix, xp=xp)
    values, vectors = xp.linalg.eigh(0.5 * (balanced.matrix + turned))
    scale, known = balanced.scale[..., 0], None
    skew = magnitudes.norm(0.5 * (balanced.matrix - turned), (-2, -1), xp=xp)[..., 0] * scale
    values = values * scale
    if asked:
        whole = working(xp, x)
        part = 0.5 * (whole + adjoint(whole, xp=xp))
        vh = adjoint(vectors, xp=xp)
        known = Decomposed(part, vectors, values, vh, balanced.finite, signed=True)
        values = lift.singular_values(known, backend=backend)
    return _Eigenvalues(x, balanced.finite, values, vectors, skew[..., 0], backend, known)


def _skew(taken: Parts) -> Array:
    """Return the Frobenius norms of the skew parts."""
    assert isinstance(taken, _Eigenvalues)  # noqa: S101
    return taken.skew


EIGENVALUES = Frame("eigenvalues", ("spectral",), _eigenvalues, unitary=True)


class _Hermitian(Operator):
    """What sets of Hermitian matrices share: they are sets of eigenvalues, without a skew part."""

    is_set: ClassVar[bool] = True
    frame: ClassVar[Frame] = EIGENVALUES
    is_hermitian: ClassVar[bool] = True

    def _check(self, x: Array) -> None:
        if x.shape[-1] != x.shape[-2]:
            name = type(self).__name__
            msg = f"x must have square matrices for {name}, got shape {tuple(x.shape)}"
            raise ValueError(msg)

    def _violation(self, backend: Backend, x: Array) -> Array:
        """Return the larger of the violation of the eigenvalues and the norm of the skew part."""
        if 0 in x.shape:
            return super()._violation(backend, x)
        taken = self._take_apart(x, backend)
        return magnitudes.number(self._beyond(taken, backend), taken, backend=backend)

    def _beyond(self, taken: Parts, backend: Backend) -> Array:
        violation: Array = self.profile.violation(taken.magnitudes, xp=backend.xp)
        return backend.xp.maximum(violation, _skew(taken))

    def _size(self, taken: Parts, backend: Backend) -> Array | float:
        """Return what a violation is relative to."""
        return backend.xp.max(backend.xp.abs(taken.magnitudes), axis=-1)

    def _inside(self, taken: Parts, slack: float, backend: Backend) -> Array:
        return self._beyond(taken, backend) <= slack * self._size(taken, backend)

    def _by_magnitudes(
        self, own: Parts, phi: Phi, preconditioner: Preconditioner, backend: Backend
    ) -> tuple[Array, Array]:
        point, status = super()._by_magnitudes(own, phi, preconditioner, backend)
        xp = backend.xp
        largest = xp.max(xp.abs(own.magnitudes), axis=-1)
        skew = _skew(own) > magnitudes.slack(own.matrix, xp=xp) * largest
        return point, xp.where(skew & (status == 0), status + 1, status)


@dataclass(frozen=True)
class PSD(_Hermitian):
    """The Hermitian positive semi-definite matrices.

    Notes
    -----
    The projection clips the eigenvalues of the Hermitian part at 0, by one `eigh`. For a Hermitian
    `y` it is nearest in every unitarily invariant geometry. For another `y` this holds for the
    Frobenius norm alone, and the spectral `anisotropic_prox` says so by status 1.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import prox
    >>> prox.PSD().prox(np.diag([3.0, -1.0]))
    array([[3., 0.],
           [0., 0.]])
    """

    @property
    def profile(self) -> Any:
        """A clip of eigenvalues."""
        return sets.Box(0.0, float("inf"))


@dataclass(frozen=True)
class Spectraplex(_Hermitian, BoundedSet):
    """The Hermitian positive semi-definite matrices of one trace: density matrices for trace 1.

    Parameters
    ----------
    total : float
        The trace, at least 0.

    Notes
    -----
    The projection takes the eigenvalues of the Hermitian part to the simplex, one shift and a clip,
    by one `eigh`; for a Hermitian `y` it is the same in every unitarily invariant geometry
    (derived). `lmo(g)` is `total` times the projector on one eigenvector of the least
    eigenvalue of the Hermitian part of g.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import prox
    >>> prox.Spectraplex(1.0).prox(np.diag([0.9, 0.3])).round(3) + 0.0
    array([[0.8, 0. ],
           [0. , 0.2]])
    >>> prox.Spectraplex(1.0).lmo(np.diag([0.9, 0.3])) + 0.0
    array([[0., 0.],
           [0., 1.]])
    """

    total: float = 1.0

    def __post_init__(self) -> None:
        check_non_negative(self.total, "total")

    @property
    def profile(self) -> Any:
        """The simplex of eigenvalues."""
        return sets.ProbabilitySimplex(self.total)

    def _size(self, taken: Parts, backend: Backend) -> Array | float:
        return self.total
