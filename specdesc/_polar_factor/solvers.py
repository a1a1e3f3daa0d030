"""The ways to an orthogonal factor, and the proof that each of them has."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from specdesc._lib.arrays import adjoint, choose, per_batch
from specdesc._lib.dtypes import eps, is_half, precision, working
from specdesc._lib.typing import Array, Namespace
from specdesc._linalg import derivative
from specdesc._linalg.basic import Balanced, balance, replace_broken, restore, thin_svd
from specdesc._polar_factor import adaptive, fixed, newton_schulz, plan, warm_start
from specdesc._polar_factor.adaptive import Followed
from specdesc._polar_factor.method import SMALL, Method, Request, available, fastest_method
from specdesc._polar_factor.plan import Kind
from specdesc.backends import Backend
from specdesc.backends.creation import zeros
from specdesc.backends.entry import check_supported


class Proof(NamedTuple):
    """What is known of a factor; every array has the batch shape."""

    error: Array
    rank: Array
    products: Array


class Solution(NamedTuple):
    """A factor, and its proof for those who ask."""

    factor: Array
    #: Called with True, it may measure the factor, for the price of a product.
    proof: Callable[[bool], Proof]


def orthogonal_factor(
    x: Array,
    request: Request,
    start: Array | None = None,
    /,
    *,
    backend: Backend,
    as_it_is: bool = False,
) -> tuple[Array, ...]:
    """Return what `orthogonalize` does, of arrays that are checked: the factor first.

    Behind it, where the full output is asked for, error, rank, products and status, and the next
    start if one was given. `as_it_is` says that `x` is not to be cut into chunks.
    """
    if backend.streams and not as_it_is:
        given = () if start is None else (start,)
        kernel = partial(_of_chunks, request, x.shape)
        by_products = request.method not in ("svd", "rational") and start is None
        return tuple(backend.per_matrix(kernel, x, *given, spectral=True, by_products=by_products))
    method = _resolved(x, request, backend)
    if method != "svd" or request.method == "svd":
        return _by_method(x, request, method, start, backend)
    try:
        return _by_method(x, request, method, start, backend)
    except backend.not_converged:  # of a finite matrix, too: nobody asked for an SVD
        return _by_method(x, request, "polynomial", start, backend)


def _of_chunks(
    request: Request, shape: tuple[int, ...], backend: Backend, x: Array, start: Array | None = None
) -> tuple[Array, ...]:
    """Return the factor of matrices of a shape, from themselves or from their small factors."""
    longest, asked = max(shape[-2:]), request
    reduced = max(x.shape[-2:]) < longest and 0 not in x.shape
    if reduced and request.method in ("auto", "svd"):
        # What is rounding in the large matrix is no direction of the small one.
        least = max(request.floor or 0.0, longest * eps(backend.xp, x.dtype))
        request = request._replace(method="svd", floor=least)
    full = orthogonal_factor(x, request, start, backend=backend, as_it_is=True)
    if not asked.full_output:
        return full[:1]
    return _widened(x, full, longest, request, backend) if reduced else full


def _widened(
    x: Array, full: tuple[Array, ...], longest: int, request: Request, backend: Backend
) -> tuple[Array, ...]:
    """Add to the error what the reduction of long matrices to `x` may have done."""
    xp, (factor, error, rank, products, status, *start) = backend.xp, full
    unit = eps(xp, x.dtype)
    balanced = balance(working(xp, x), backend=backend)
    s = xp.linalg.svdvals(balanced.matrix)
    kept = s > max(request.floor or 0.0, longest * unit) * s[..., :1]
    smallest = xp.min(xp.where(kept, s, s[..., :1]), axis=-1)
    spread = s[..., 0] / xp.where(smallest > 0, smallest, xp.ones_like(smallest))
    error = error + xp.astype(4 * longest**0.5 * unit * spread, error.dtype)
    tol = float("inf") if request.tol is None else request.tol
    certified = (error <= tol) & xp.isfinite(error)
    status = xp.where((status == 0) & xp.logical_not(certified), xp.ones_like(status), status)
    return factor, error, rank, products, status, *start


def _by_method(
    x: Array, request: Request, method: Method, start: Array | None, backend: Backend
) -> tuple[Array, ...]:
    check_supported(f"orthogonalize[{method}]", backend)
    if 0 in x.shape:
        return _empty(x, backend)
    # With a floor an SVD would prove no more.
    proofless = request.method == "auto" and method != "svd" and request.floor is None
    fallback = proofless and backend.branches
    request = request._replace(method=method)
    solve = _afresh if start is None else _warm_started
    given = () if start is None else (start,)
    if not backend.differentiates:
        return solve(x, *given, request=request, fallback=fallback, backend=backend)
    rule = derivative.of_factor(_null(request, backend), backend=backend)
    solve = partial(solve, request=request, fallback=fallback, backend=backend)
    return backend.differentiable(solve, rule)(x, *given)


def _resolved(x: Array, request: Request, backend: Backend) -> Method:
    """Return the method that was the fastest where it was measured: eager, on a CPU."""
    if request.method != "auto":
        return request.method
    if on_device(x, backend) or backend.streams:
        # An SVD waits, and costs a hundred times as much; or it needs all of a matrix in one chunk.
        return "polynomial"
    xp, (_, floor) = backend.xp, request[:2]
    finest = plan.goal(None, eps(xp, x.dtype), half=is_half(xp, x.dtype))
    goal = finest if request.tol is None else request.tol
    if min(x.shape[-2:]) > SMALL and _coarse(x, goal, floor, backend):
        return "polynomial"  # nothing else multiplies in half precision
    return fastest_method(
        backend.name if backend.branches else None,
        tuple(x.shape),
        precision(xp, x.dtype),
        request.tol,
        finest,
        floor,
        available(tuple(backend.capabilities.unsupported)),
    )


def on_device(x: Array, backend: Backend, /) -> bool:
    """Say whether `x` lies where products are fast, and a look at a value is a wait."""
    return not backend.branches and backend.multiplies(x)


def _null(request: Request, backend: Backend) -> float:
    """Return what the derivative takes for zero: the floor in force."""
    if request.floor is not None:
        return request.floor
    measured = request.method in ("polynomial", "rational") and backend.branches
    return 0.0 if measured or request.method == "svd" else plan.DEFAULT_FLOOR


def _empty(x: Array, backend: Backend) -> tuple[Array, ...]:
    xp, batch = backend.xp, tuple(x.shape[:-2])
    counts = xp.zeros(batch, dtype=xp.int32, device=backend.placement)
    error = zeros(batch, working(xp, x), backend=backend, real=True)
    return zeros(x.shape, x, backend=backend), error, counts, counts, counts + 3


def _afresh(
    x: Array, /, *, request: Request, fallback: bool, backend: Backend
) -> tuple[Array, ...]:
    """Return the fields of the full output, or the factor alone."""
    xp, wide, method = backend.xp, x.shape[-2] <= x.shape[-1], request.method
    goal = plan.goal(request.tol, eps(xp, x.dtype), half=is_half(xp, x.dtype))
    if method == "polynomial":
        coarse = _coarse(x, goal, request.floor, backend)
    else:
        coarse = (
            method not in ("svd", "rational") and is_half(xp, x.dtype) and backend.multiplies(x)
        )
    if not backend.branches and method not in ("svd", "rational"):
        return _at_once(x, goal, coarse, request, backend)
    balanced = balance(x if coarse else working(xp, x), backend=backend)
    matrix = balanced.matrix if wide else adjoint(balanced.matrix, xp=xp)
    proven = request.full_output or fallback
    if method == "svd":
        solution = _by_svd(matrix, request.floor, backend)
    elif method in ("polynomial", "rational"):
        solution = _by_steps(matrix, method == "rational", goal, request.floor, backend)
    else:
        solution = _by_published(matrix, method, request.floor, proven, backend)
    factor = solution.factor if wide else adjoint(solution.factor, xp=xp)
    factor = xp.astype(factor, x.dtype, copy=False)
    factor = restore(factor, balanced.finite, backend=backend)
    if not proven:
        return (factor,)
    proof = solution.proof(request.full_output)
    if solution.factor.dtype != x.dtype:
        proof = proof._replace(error=proof.error + _cast_error(x, backend))
    full = _stated(factor, proof, balanced, request.tol, backend)
    failed = full[-1] == 1
    if not fallback or not bool(xp.any(failed)):
        return full
    exactly = request._replace(method="svd", full_output=True)
    exact = _afresh(x, request=exactly, fallback=False, backend=backend)
    return tuple(choose(failed, exact, full, xp=xp))


def _at_once(
    x: Array, goal: float, coarse: bool, request: Request, backend: Backend
) -> tuple[Array, ...]:
    """Return what `_afresh` does, by polynomials and without a look at any value."""
    xp, wide = backend.xp, x.shape[-2] <= x.shape[-1]
    matrix, finite = backend.handed_out(x if coarse else working(xp, x)), None
    if backend.warns:
        matrix, finite = replace_broken(matrix, backend=backend)
    factor, *proof = fixed.orthogonal_factor(
        matrix if wide else backend.primitives.adjoint(matrix),
        request.method,
        goal,
        request.tol,
        request.floor,
        proven=request.full_output,
        cast_error=0.0 if matrix.dtype == x.dtype else _cast_error(x, backend),
        backend=backend,
    )
    # Said of both ends: what a factor is used for would else cut it in the middle of its products.
    factor = backend.handed_out(factor)
    factor = factor if wide else backend.primitives.adjoint(factor)
    factor = xp.astype(factor, x.dtype, copy=False)
    if finite is None:
        return (factor, *proof)
    factor = restore(factor, finite, backend=backend)
    return (factor, *fixed.without_broken(proof, per_batch(finite), backend=backend))


def _coarse(x: Array, goal: float, floor: float | None, backend: Backend) -> bool:
    """Say whether products in half precision are faster and will do."""
    xp = backend.xp
    if not is_half(xp, x.dtype) or not backend.multiplies(x):
        return False
    measured = floor is None and backend.branches
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
    finite = balanced.finite[..., 0, 0]
    status = xp.where(finite, status, xp.full_like(status, 2))
    error = restore(error, finite, backend=backend)
    return factor, error, proof.rank, proof.products, status


def _cast_error(x: Array, backend: Backend) -> float:
    """Bound the error of a cast back to half precision.

    Rounding an entry of the factor moves it by eps / 2 of itself; errors that are not made to add
    up turn no direction by more than a few times that.
    """
    if not is_half(backend.xp, x.dtype):
        return 0.0
    return float(min(min(x.shape[-2:]) ** 0.5, 4.0)) * eps(backend.xp, x.dtype) / 2


# --- by the singular value decomposition ----------------------------------------------------------


def _by_svd(x: Array, floor: float | None, backend: Backend) -> Solution:
    """Return U Vᴴ without the directions at the floor or of rounding size."""
    xp = backend.xp
    u, s, vh = thin_svd(x, xp=xp)
    kept = s > max(floor or 0.0, max(x.shape[-2:]) * eps(xp, x.dtype)) * s[..., :1]
    factor = xp.matmul(u * xp.astype(kept, x.dtype)[..., None, :], vh)
    return Solution(factor, partial(_proof_of_svd, x, s, kept, backend))


def _proof_of_svd(x: Array, s: Array, kept: Array, backend: Backend, measured: bool) -> Proof:
    xp = backend.xp
    smallest = xp.min(xp.where(kept, s, s[..., :1]), axis=-1)
    ones = xp.ones_like(smallest)
    spread = xp.where(smallest > 0, s[..., 0] / xp.where(smallest > 0, smallest, ones), ones)
    rank = xp.sum(xp.astype(kept, xp.int32), axis=-1, dtype=xp.int32)
    error = 4 * max(x.shape[-2:]) ** 0.5 * eps(xp, x.dtype) * spread
    return Proof(error, rank, xp.zeros_like(rank))


# --- by polynomials, and Halley steps before them -------------------------------------------------


def _by_steps(
    x: Array, rational: bool, goal: float, floor: float | None, backend: Backend
) -> Solution:
    xp = backend.xp
    shape, unit = (x.shape[-2], x.shape[-1]), eps(xp, x.dtype)
    scaled = newton_schulz.scale_by_schatten(
        newton_schulz.within_range(x, backend=backend), backend=backend
    )
    if not backend.branches:
        lowest = plan.coarse_floor(unit, goal, floor) if is_half(xp, x.dtype) else floor
        run = plan.fixed(shape, unit, rational, goal, lowest)
        followed = adaptive.fixed(scaled, run, floor, backend=backend)
    elif floor is None:
        followed = adaptive.follow(scaled, Kind(shape, unit, rational), goal, backend=backend)
    else:
        kind = Kind(shape, unit, rational)
        followed = adaptive.above(scaled, kind, goal, floor, backend=backend)
    return Solution(followed.matrix, partial(_proof_of_steps, followed, backend))


def _by_published(
    x: Array, method: str, floor: float | None, proven: bool, backend: Backend
) -> Solution:
    """Return what a published iteration makes of a matrix."""
    # Dividing by the Frobenius norm takes s_1 to at least 1 / sqrt(m) and so the floor with it.
    run = plan.published(method, (floor or plan.DEFAULT_FLOOR) / x.shape[-2] ** 0.5)
    scaled = newton_schulz.scale_by_frobenius(x, backend=backend)
    if not proven:
        return Solution(newton_schulz.run(scaled, run.segments, backend=backend), _unproven)
    followed = adaptive.fixed(scaled, run, floor, backend=backend)
    return Solution(followed.matrix, partial(_proof_of_steps, followed, backend))


def _unproven(measured: bool) -> Proof:
    msg = "nobody asked for the proof of this factor when it was made"
    raise AssertionError(msg)


def _proof_of_steps(followed: Followed, backend: Backend, measured: bool) -> Proof:
    """Return what the run promises, or what the residual says where that is less.

    A residual below 1 says that every singular value of the factor lies near 1, so that nothing
    was lost below the floor.
    """
    xp = backend.xp
    shape = tuple(followed.matrix.shape[-2:])
    base, per_gain = plan.rounding(shape, eps(xp, followed.matrix.dtype))
    rounding = followed.turn + base
    error = followed.bound + rounding + per_gain * _times(followed.mean, followed.gain, xp)
    if not measured:
        return Proof(error, xp.full_like(followed.products, min(shape)), followed.products)
    iterate = newton_schulz.measure(working(xp, followed.matrix), backend=backend)
    residual = iterate.residual[..., 0, 0]
    gain = adaptive.gain(residual, followed.slope, followed.lifted, xp=xp)
    gain = xp.minimum(gain, followed.gain)
    measured_error = adaptive.distance(residual, xp=xp) + rounding
    measured_error = measured_error + per_gain * _times(followed.mean, gain, xp)
    infinite = xp.full_like(residual, float("inf"))
    error = xp.minimum(error, xp.where(residual < 1, measured_error, infinite))
    # Each direction that the factor lacks adds 1 to the square of the residual.
    kept = xp.maximum(min(shape) - residual**2, xp.zeros_like(residual))
    return Proof(error, xp.astype(xp.round(kept), xp.int32), followed.products)


def _times(mean: Array, gain: Array, xp: Namespace) -> Array:
    """Return the product, with 0 inf = 0: a zero matrix has no error."""
    return mean * xp.where(mean > 0, gain, xp.zeros_like(mean))


# --- from the inverse root of an earlier call -----------------------------------------------------


def _warm_started(
    x: Array, start: Array, /, *, request: Request, fallback: bool, backend: Backend
) -> tuple[Array, ...]:
    """Return what `_afresh` does and, in the full output, the next start."""
    full, accepted = _continued(x, start, request, backend)
    if not backend.branches or not bool(backend.xp.all(accepted)):
        whole = _afresh(
            x, request=request._replace(full_output=True), fallback=fallback, backend=backend
        )
        full = (*choose(accepted, full, whole, xp=backend.xp),)
    if not request.full_output:
        return full[:1]
    return (*full, _next_start(x, full[0], backend))


def _continued(
    x: Array, start: Array, request: Request, backend: Backend
) -> tuple[tuple[Array, ...], Array]:
    """Return what a start leads to, and for which matrices that is proven to be enough."""
    xp = backend.xp
    wide, balanced = _wide(x, backend)
    batch = tuple(x.shape[:-2])
    nothing = xp.zeros(batch, dtype=xp.int32, device=backend.placement)
    if not backend.branches:
        error = zeros(batch, wide, backend=backend, real=True)
        return (x, error, nothing, nothing, nothing), nothing > 0
    goal = plan.goal(request.tol, eps(xp, x.dtype), half=is_half(xp, x.dtype))
    kind = Kind((wide.shape[-2], wide.shape[-1]), eps(xp, wide.dtype))
    root = start * xp.astype(balanced.scale, start.dtype)
    warm = warm_start.attempt(wide, root, kind, goal, backend=backend)
    factor = warm.factor if x.shape[-2] <= x.shape[-1] else adjoint(warm.factor, xp=xp)
    error = warm.error + _cast_error(x, backend)
    accepted = (error <= goal) & balanced.finite[..., 0, 0]
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
