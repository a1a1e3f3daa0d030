"""The orthogonal factor of a matrix: its polar factor, with a proof."""

from enum import IntEnum
from typing import Literal, NamedTuple, overload

from specdesc._lib.checks import check_fraction
from specdesc._lib.dtypes import working
from specdesc._lib.typing import Array
from specdesc._polar_factor import solvers
from specdesc._polar_factor.method import METHODS, Method, Request
from specdesc.backends import Backend
from specdesc.backends.entry import enter


class Status(IntEnum):
    """What the ``status`` of a full output says of one matrix, in words.

    ``CERTIFIED``: the error bound is at most `tol`. ``NOT_CERTIFIED``: the result is the best that
    the method gives, and the bound exceeds `tol` or is inf. ``NONFINITE``: the matrix has a NaN or
    an inf, and so the result is NaN. ``ZERO``: a zero matrix, whose factor is zero.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import Status, orthogonalize
    >>> Status(int(orthogonalize(np.zeros((2, 2)), full_output=True).status)).name
    'ZERO'
    """

    CERTIFIED = 0
    NOT_CERTIFIED = 1
    NONFINITE = 2
    ZERO = 3


class Orthogonalization(NamedTuple):
    """The full output of `orthogonalize`; all but the factor have the batch shape.

    Attributes
    ----------
    factor : array
        The polar factor, shape (..., m, n).
    error : array
        Upper bound on the error that `orthogonalize` documents, in the real dtype; ``inf`` where
        nothing is certified.
    rank : array of int32
        The number of singular directions in the factor: counted by the SVD; otherwise m less the
        square of the residual, rounded, which a loose `tol` makes an estimate.
    products : array of int32
        Number of matrix products; 0 for the SVD.
    status : array of int32
        A `Status` for each matrix. 0: certified, `error` is at most `tol`. 1: not certified. 2:
        the input has a NaN or an inf. 3: zero matrix.
    start : array or None
        What the next call may start from, shape (..., k, k) with k = min(m, n): the inverse root
        (x xᴴ)^(-1/2), or (xᴴ x)^(-1/2) of a tall matrix, zero where the factor has not full rank.
        None unless a start was given.
    """

    factor: Array
    error: Array
    rank: Array
    products: Array
    status: Array
    start: Array | None = None


@overload
def orthogonalize(
    x: Array,
    /,
    *,
    tol: float | None = ...,
    floor: float | None = ...,
    method: Method = ...,
    start: Array | None = ...,
    full_output: Literal[False] = ...,
) -> Array: ...
@overload
def orthogonalize(
    x: Array,
    /,
    *,
    tol: float | None = ...,
    floor: float | None = ...,
    method: Method = ...,
    start: Array | None = ...,
    full_output: Literal[True],
) -> Orthogonalization: ...
def orthogonalize(
    x: Array,
    /,
    *,
    tol: float | None = None,
    floor: float | None = None,
    method: Method = "auto",
    start: Array | None = None,
    full_output: bool = False,
) -> Array | Orthogonalization:
    r"""Return U Vᴴ of the thin singular value decomposition x = U S Vᴴ.

    The result Q is approximate where a polynomial or a rational method makes it. What it promises
    is stated for the singular triplets (u_i, s_i, v_i) of x and the error bound c eps of rounding
    that the notes give:

    .. math::

        t_i = \operatorname{Re}(u_i^H Q v_i), \qquad
        |1 - t_i| \le \text{tol} \ \text{ for } s_i \ge \text{floor} \cdot s_1, \qquad
        -c\, \epsilon \le t_i \le 1 + \text{tol} \ \text{ below}

    A zero matrix gives zero.

    Parameters
    ----------
    x : array, shape (..., m, n)
        Real or complex; half precision as in the notes.
    tol : float, optional
        Accuracy of the singular values of the result, in (0, 1), without a unit. None, the default,
        is the working accuracy of the dtype.
    floor : float, optional
        The smallest singular value that must reach `tol`, relative to the largest, in (0, 1). None,
        the default, measures it where values can be read without waiting (NumPy, and torch on a
        CPU outside of compilation), and is 1e-3 elsewhere (JAX, GPUs, traced arrays, and
        square matrices in many chunks of dask).
    method : str
        How the factor is computed:

        - ``"svd"``: exact; drops s_i <= max(`floor`, max(m, n) eps) s_1.
        - ``"polynomial"``: the cheapest polynomials that reach `tol` above `floor`, see
          `plan_orthogonalization`.
        - ``"rational"``: Halley steps for the small singular values, each a factorization of a
          Gram matrix, then polynomials.
        - ``"newton-schulz"``, ``"polar-express"``: the published iterations of 5 and 7 steps.
        - ``"auto"``, the default: NumPy and torch on a CPU take the method that was the fastest for
          such a matrix where it was measured, and the SVD for a matrix without a certificate.
          Elsewhere the SVD up to 32 rows or columns and for working accuracy, polynomials
          otherwise, and polynomials alone on a device.
    start : array, optional
        The ``start`` of the full output for a similar matrix of this shape, or `initial_start`. It
        is used where values can be read without waiting, and only if it is accurate enough; the
        result is certified as any other.
    full_output : bool
        Return an `Orthogonalization` instead of the factor alone.

    Returns
    -------
    array or Orthogonalization
        New arrays of the library, dtype and device of `x`.

    Raises
    ------
    TypeError, ValueError, NotImplementedError
        As in the table of bad input: not a floating array, fewer than two axes, `tol` or `floor`
        outside (0, 1), an unknown `method`, or a method that the backend does not have.

    See Also
    --------
    polar : Both factors.
    plan_orthogonalization : The schedule of ``method="polynomial"``.
    truncated_spectral_step : The same of the leading singular pairs alone.
    specdesc.norms.Spectral : The norm whose oracle this is.

    Notes
    -----
    `error` bounds |1 - t_i| and the spectral distance of Q to the true factor on the kept
    directions. Polynomials and Halley steps: the exact image of the interval that starts at l, or
    r / (1 + sqrt(1 - r)) with r the measured Frobenius norm of I - Q Qᴴ, plus a rounding term of
    16 eps + (2 + sqrt(max(m, n)) / 8) eps mean / l. Here l is what the floor proves, or a Cholesky
    factorization of Q Qᴴ - l² I where values can be read, or the residual; mean is the root mean
    square of the singular values, all relative to the norm. That is the Schatten norm of order 8,
    at most m^(1/8) s_1. Segments on the Gram matrix, degree 17 and Halley steps of weight c add
    what `plan_orthogonalization` counts. SVD: 4 sqrt(max(m, n)) eps s_1/s_r with s_r the last one
    kept. The rounding terms are first order in eps, for errors that add like a random walk: the
    one of the SVD is derived, the others are measured, with a factor of 2 to 3 to spare, and the
    tests try them on thousands of matrices.

    Half precision is multiplied in half precision where that is faster, `tol` is at least 32 eps
    and the floor at least eps / (4 `tol`), and in float32 otherwise. There the rounding term is
    6 eps + 0.4 eps mean / l, which for a floor near that limit exceeds a `tol` that is kept all the
    same (status 1): cast to float32 before the call for a certificate. Without a `floor`, where
    values cannot be read, such products are planned for max(1e-3, eps / (4 `tol`)).

    Cost for m <= n: one SVD, or 4 m² n flops a step and 2 m³ for each product of squares in
    it; where n > 1.5 m, several steps on the Gram matrix may share the 4 m² n. A Halley step costs
    about as much as two cubics. A proof by Cholesky is m³ / 3. A `start` costs four products
    before it saves any. A NaN or an inf gives NaN in that matrix alone.

    On torch and JAX the factor is differentiable, by the derivative of the polar factor whatever
    the method; it needs 1 / (s_i + s_j) and 1 / s_i alone, so equal singular values do no harm.
    Directions at or below the floor, and those of rounding size, count as zero: through them
    nothing flows. A gradient costs one SVD. The other outputs have no derivative. Second
    derivatives need singular values that differ.

    References
    ----------
    Best odd polynomials in sequence: arXiv:2505.16932 (Polar Express). Quintic
    Newton-Schulz: Keller Jordan's Muon. Weights of Halley steps: Nakatsukasa, Bai and Gygi (2010).
    Error bounds: derived.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import orthogonalize
    >>> orthogonalize(np.asarray([[0.0, -2.0], [5.0, 0.0]])) + 0.0
    array([[ 0., -1.],
           [ 1.,  0.]])
    """
    check_fraction(tol, "tol")
    check_fraction(floor, "floor")
    if method not in METHODS:
        msg = f"method must be one of {', '.join(METHODS)}, got {method!r}"
        raise ValueError(msg)
    backend = enter("orthogonalize", x)
    if start is not None:
        _check_start(start, x, backend)
    with backend.guard(x):
        request = Request(tol, floor, method, full_output)
        full = solvers.orthogonal_factor(x, request, start, backend=backend)
    return Orthogonalization(*full) if full_output else full[0]


def _check_start(start: Array, x: Array, backend: Backend) -> None:
    enter("orthogonalize", working(backend.xp, x), start, names=("x", "start"))
    side = min(x.shape[-2:])
    expected = (*x.shape[:-2], side, side)
    if tuple(start.shape) != expected:
        msg = (
            f"start must have shape {expected} for x of shape {tuple(x.shape)}, "
            f"got {tuple(start.shape)}"
        )
        raise ValueError(msg)
