"""The orthogonal factor of a matrix: its polar factor, with a proof."""

from typing import Literal, NamedTuple, cast, get_args, overload

from specdesc._lib.arrays import adjoint, choose, per_batch
from specdesc._lib.checks import check_fraction
from specdesc._lib.dtypes import eps, is_half, precision, working
from specdesc._lib.tracing import opaque
from specdesc._lib.typing import Array
from specdesc._linalg import derivative
from specdesc._linalg.basic import Balanced, balance, restore
from specdesc._polar_factor import plan, solvers, warm_start
from specdesc._polar_factor.method import SMALL, fastest_method
from specdesc._polar_factor.solvers import Found, Proof
from specdesc.backends import Backend
from specdesc.backends.creation import zeros
from specdesc.backends.entry import check_supported, enter

Method = Literal["auto", "polynomial", "rational", "svd", "newton-schulz", "polar-express"]
METHODS: tuple[Method, ...] = get_args(Method)


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
        Matrix products that were spent; 0 for the SVD.
    status : array of int32
        0: certified, `error` is at most `tol`. 1: not certified. 2: the input has a NaN or an
        inf. 3: zero matrix.
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
    """Return U Vᴴ of the thin singular value decomposition x = U S Vᴴ.

    With t_i = Re(u_iᴴ Q v_i) of the result Q: |1 - t_i| <= `tol` for every s_i >= `floor` s_1, and
    -c eps <= t_i <= 1 + `tol` below, where c is the rounding term of the notes. A zero matrix gives
    zero.

    Parameters
    ----------
    x : array, shape (..., m, n)
        Real or complex; half precision as in the notes.
    tol : float, optional
        Accuracy in (0, 1). None is the working accuracy of the dtype.
    floor : float, optional
        The smallest relative singular value that counts, in (0, 1). None measures it where code
        may look at values, and is 1e-3 elsewhere (JAX, dask, GPUs, traced arrays).
    method : str
        ``"svd"`` is exact and drops s_i <= max(`floor`, max(m, n) eps) s_1. ``"polynomial"`` runs
        the cheapest polynomials that `tol` and `floor` need, see `plan_orthogonalization`.
        ``"rational"`` lifts the small singular values by Halley steps, each a factorization of a
        Gram matrix, and leaves the last digits to polynomials.
        ``"newton-schulz"`` and ``"polar-express"`` are the published iterations of 5 and 7 steps
        as they are. ``"auto"`` takes the one that was the fastest for such a matrix where it was
        measured (eager, on a CPU), elsewhere the SVD for small matrices and for the working
        accuracy and polynomials otherwise; and the SVD again where values may be looked at and
        show a matrix without a certificate.
    start : array, optional
        The ``start`` of the full output for a matrix of this shape that has moved little since, or
        `initial_start`. It is used where code may look at values and only where it proves itself;
        the result is certified as any other.
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

    Notes
    -----
    `error` bounds |1 - t_i| and the spectral distance of Q to the true factor on the kept
    directions. Polynomials and Halley steps: the exact image of the interval that starts at l, or
    r / (1 + sqrt(1 - r)) with r the measured Frobenius norm of I - Q Qᴴ, plus a rounding term of
    16 eps + (2 + sqrt(max(m, n)) / 8) eps mean / l. Here l is what the floor proves, or a Cholesky
    factorization of R - l² I where code may look at values, or the residual; mean is the root mean
    square of the singular values, all relative to the norm. That is the Schatten norm of order 8,
    at most m^(1/8) s_1. Segments on the Gram matrix, degree 17 and Halley steps of weight c add
    what `plan_orthogonalization` counts. SVD: 4 sqrt(max(m, n)) eps s_1/s_r with s_r the last one
    kept. The rounding terms are first order in eps, for errors that add like a random walk: the
    one of the SVD is derived, the others are measured, with a factor of 2 to 3 to spare, and the
    tests try them on thousands of matrices.

    Half precision is multiplied in half precision where that is faster, `tol` is at least 32 eps
    and the floor at least eps / (4 `tol`), and in float32 otherwise. There the rounding term is
    6 eps + 0.4 eps mean / l, which for a floor near that limit exceeds a `tol` that is kept all the
    same (status 1): a cast to float32 before the call buys the proof. Without a `floor`, where code
    may not look at values, such products are planned for max(1e-3, eps / (4 `tol`)).

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
    chosen = _resolve(method, x, tol, floor, backend)
    check_supported(f"orthogonalize[{chosen}]", backend)
    if start is not None:
        _check_start(start, x)
    with backend.guard(x):
        if 0 in x.shape:
            full = _empty(x, backend)
            return full if full_output else full.factor
        # With a floor an SVD would prove no more.
        helped = method == "auto" and chosen != "svd" and floor is None and backend.may_branch(x)
        wish = _Wish(tol, floor, chosen, helped, full_output)
        rule = derivative.of_factor(_null(x, floor, chosen, backend), backend=backend)
        given = () if start is None else (start,)
        run = backend.differentiable(lambda y, *w: _orthogonalize(y, wish, backend, *w), rule)
        found = run(x, *given)
    return Orthogonalization(*found) if full_output else found[0]


def _check_start(start: Array, x: Array) -> None:
    side = min(x.shape[-2:])
    enter("orthogonalize", working(enter("orthogonalize", x).xp, x), start, names=("x", "start"))
    expected = (*x.shape[:-2], side, side)
    if tuple(start.shape) != expected:
        msg = (
            f"start must have shape {expected} for x of shape {tuple(x.shape)}, "
            f"got {tuple(start.shape)}"
        )
        raise ValueError(msg)


class _Wish(NamedTuple):
    """What was asked for."""

    tol: float | None
    floor: float | None
    method: Method
    helped: bool  # whether an SVD takes over where there is no proof
    full_output: bool


def _null(x: Array, floor: float | None, method: Method, backend: Backend) -> float:
    """Return what the derivative takes for zero: the floor in force."""
    if floor is not None:
        return floor
    measured = method in ("polynomial", "rational") and backend.may_branch(x)
    return 0.0 if measured or method == "svd" else plan.DEFAULT_FLOOR


def _resolve(
    method: Method, x: Array, tol: float | None, floor: float | None, backend: Backend
) -> Method:
    """Return the method that was the fastest where it was measured: eager, on a CPU."""
    if method != "auto":
        return method
    xp = backend.xp
    allowed = _allowed(backend.name, tuple(backend.capabilities.unsupported))
    working = plan.goal(None, eps(xp, x.dtype), half=is_half(xp, x.dtype))
    large = min(x.shape[-2:]) > SMALL
    if large and _coarse(x, working if tol is None else tol, floor, backend):
        return "polynomial"  # nothing else multiplies in half precision
    measured = backend.name if backend.may_branch(x) else None
    kind = precision(xp, x.dtype)
    chosen = fastest_method(measured, tuple(x.shape), kind, tol, working, floor, allowed)
    return cast("Method", chosen)


@opaque
def _allowed(name: str, unsupported: tuple[str, ...], /) -> tuple[str, ...]:
    """Return the methods that a backend has."""
    return tuple(name for name in METHODS if f"orthogonalize[{name}]" not in unsupported)


def _empty(x: Array, backend: Backend) -> Orthogonalization:
    xp, batch = backend.xp, tuple(x.shape[:-2])
    counts = xp.zeros(batch, dtype=xp.int32, device=backend.device(x))
    error = zeros(batch, working(xp, x), backend=backend, real=True)
    return Orthogonalization(zeros(x.shape, x, backend=backend), error, counts, counts, counts + 3)


def _orthogonalize(
    x: Array, wish: _Wish, backend: Backend, start: Array | None = None
) -> tuple[Array, ...]:
    """Return the fields of the full output, or the factor alone."""
    if start is None:
        return _afresh(x, wish, backend)
    full, accepted = _continued(x, start, wish, backend)
    if not backend.may_branch(x) or not bool(backend.xp.all(accepted)):
        whole = _afresh(x, wish._replace(full_output=True), backend)
        full = (*choose(accepted, full, whole, xp=backend.xp),)
    if not wish.full_output:
        return full[:1]
    return (*full, _next_start(x, full[0], backend))


def _continued(
    x: Array, start: Array, wish: _Wish, backend: Backend
) -> tuple[tuple[Array, ...], Array]:
    """Return what a start leads to, and for which matrices that is proven to be enough."""
    xp = backend.xp
    wide, balanced = _wide(x, backend)
    batch = tuple(x.shape[:-2])
    nothing = xp.zeros(batch, dtype=xp.int32, device=backend.device(x))
    if not backend.may_branch(x):
        error = zeros(batch, wide, backend=backend, real=True)
        return (x, error, nothing, nothing, nothing), nothing > 0
    goal = plan.goal(wish.tol, eps(xp, x.dtype), half=is_half(xp, x.dtype))
    kind = plan.Kind((wide.shape[-2], wide.shape[-1]), eps(xp, wide.dtype))
    root = start * xp.astype(balanced.scale, start.dtype)
    warm = warm_start.attempt(wide, root, kind, goal, backend=backend)
    factor = warm.factor if x.shape[-2] <= x.shape[-1] else adjoint(warm.factor, xp=xp)
    error = warm.error + _cast_error(x, backend)
    accepted = (error <= goal) & per_batch(balanced.finite)
    factor = xp.astype(factor, x.dtype, copy=False)
    return (factor, error, nothing + wide.shape[-2], warm.products, nothing), accepted


def _next_start(x: Array, factor: Array, backend: Backend) -> Array:
    xp = backend.xp
    wide, balanced = _wide(x, backend)
    turned = factor if x.shape[-2] <= x.shape[-1] else adjoint(factor, xp=xp)
    # Non-finite matrices are zeros by now, and so is what they lead to.
    turned = xp.where(balanced.finite, turned, xp.zeros_like(turned))
    root = warm_start.inverse_root(wide, turned, backend=backend)
    return root / xp.astype(balanced.scale, root.dtype)


def _wide(x: Array, backend: Backend) -> tuple[Array, Balanced]:
    xp = backend.xp
    balanced = balance(working(xp, x), backend=backend)
    wide = x.shape[-2] <= x.shape[-1]
    return balanced.matrix if wide else adjoint(balanced.matrix, xp=xp), balanced


def _cast_error(x: Array, backend: Backend) -> float:
    """Bound the error of a cast back to half precision.

    Rounding an entry of the factor moves it by eps / 2 of itself; errors that are not made to add
    up turn no direction by more than a few times that.
    """
    if not is_half(backend.xp, x.dtype):
        return 0.0
    return float(min(min(x.shape[-2:]) ** 0.5, 4.0)) * eps(backend.xp, x.dtype) / 2


def _afresh(x: Array, wish: _Wish, backend: Backend) -> tuple[Array, ...]:
    xp = backend.xp
    goal = plan.goal(wish.tol, eps(xp, x.dtype), half=is_half(xp, x.dtype))
    coarse = wish.method == "polynomial" and _coarse(x, goal, wish.floor, backend)
    balanced = balance(x if coarse else working(xp, x), backend=backend)
    wide = x.shape[-2] <= x.shape[-1]
    matrix = balanced.matrix if wide else adjoint(balanced.matrix, xp=xp)
    found = _found(matrix, goal, wish, backend)
    factor = found.factor if wide else adjoint(found.factor, xp=xp)
    factor = xp.astype(factor, x.dtype, copy=False)
    factor = restore(factor, balanced.finite, backend=backend)
    if not wish.full_output and not wish.helped:
        return (factor,)
    proof = found.proof(wish.full_output)
    if found.factor.dtype != x.dtype:
        proof = proof._replace(error=proof.error + _cast_error(x, backend))
    full = _stated(factor, proof, balanced, wish.tol, backend)
    failed = full[-1] == 1
    if not wish.helped or not bool(xp.any(failed)):
        return full
    exact = _afresh(x, wish._replace(method="svd", helped=False, full_output=True), backend)
    return tuple(choose(failed, exact, full, xp=xp))


def _found(x: Array, goal: float, wish: _Wish, backend: Backend) -> Found:
    if wish.method == "svd":
        return solvers.by_svd(x, wish.floor, backend)
    if wish.method in ("polynomial", "rational"):
        return solvers.by_steps(x, wish.method == "rational", goal, wish.floor, backend)
    return solvers.by_published(x, wish.method, wish.floor, backend)


def _coarse(x: Array, goal: float, floor: float | None, backend: Backend) -> bool:
    """Say whether products in half precision are faster and will do."""
    xp = backend.xp
    if not is_half(xp, x.dtype) or not backend.multiplies(x):
        return False
    measured = floor is None and backend.may_branch(x)
    return not measured and plan.coarse_floor(eps(xp, x.dtype), goal, floor) is not None


def _stated(
    factor: Array, proof: Proof, balanced: Balanced, tol: float | None, backend: Backend
) -> tuple[Array, ...]:
    """Return the full output with its status, and NaN where it belongs."""
    xp = backend.xp
    zero = xp.all(xp.all(balanced.matrix == 0, axis=-1), axis=-1)
    error = xp.where(zero, xp.zeros_like(proof.error), proof.error)
    certified = error <= tol if tol is not None else xp.isfinite(error)
    status = xp.astype(xp.logical_not(certified), xp.int32)
    status = xp.where(zero, xp.full_like(status, 3), status)
    finite = per_batch(balanced.finite)
    status = xp.where(finite, status, xp.full_like(status, 2))
    error = restore(error, finite, backend=backend)
    return factor, error, proof.rank, proof.products, status
