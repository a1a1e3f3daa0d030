"""Defects that users of other orthogonalizations have reported: here each is a test that passes.

Elsewhere in the suite, and not repeated here: the sign of a rank-one matrix just above and below a
norm of 1 and spurious eigenvalues below the floor (`test_orthogonalize`); scales of 1e-30 and
1e30, powers of two bit for bit, NaN in a stack (`test_stacks`); inputs left alone on every backend
(`test_arrays`); wrong published coefficients (`test_orthogonalize`); compiled equals eager
(`test_traced`).
"""

from typing import Any

import numpy as np
import pytest

from specdesc import orthogonalize, polar, spectral_clip
from tests import support
from tests.support import EPS, Library

METHODS = ("auto", "svd", "polynomial", "newton-schulz", "polar-express")

EVERY = pytest.mark.parametrize("method", METHODS)

#: How far from 1 the published iterations leave a singular value, by design.
LOOSE = {"newton-schulz": (0.6, 1.3), "polar-express": (0.98, 1.02)}


def interval(method: str, dtype: str) -> tuple[float, float]:
    width = max(1e-4, 4 * EPS[dtype])
    return LOOSE.get(method, (1 - width, 1 + width))


def half_of_torch(values: Any, dtype: str) -> Any:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    return torch.tensor(values, dtype=torch.float32).to(getattr(torch, dtype))


# --- signs and over-range ------------------------------------------------------------------------


@EVERY
@pytest.mark.parametrize("noise", [0.0, 1e-6, 1e-3, 0.1])
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64"])
def test_a_gradient_of_nearly_rank_one_is_not_turned_into_ascent(
    method: str, noise: float, dtype: str
) -> None:
    """A set with p(1) < 0 (AOL without its scaling), or a zero near 1 (cubics), flips the sign."""
    for shape in ((24, 40), (40, 24), (32, 32)):
        top = support.with_spectrum([1.0], shape, 3, dtype)
        x = (top + noise * support.gaussian(*shape, dtype=dtype) / 10).astype(dtype)
        u, _, vh = np.linalg.svd(x, full_matrices=False)
        q = orthogonalize(x, method=method)
        low, high = interval(method, dtype)
        assert low <= np.real(np.vdot(u[:, 0], q @ vh[0].conj())) <= high


@EVERY
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_rank_one_above_one(method: str, dtype: str) -> None:
    """Within one rounding of bfloat16 above 1 lies 1.0035, where five cubics change their sign."""
    low, high = interval(method, dtype)
    for scale in (1.0, 1.0035, 1.0039, 1.0078):
        x = half_of_torch(scale * np.eye(48, 40) * (np.arange(40) == 2), dtype)
        assert low <= float(orthogonalize(x, method=method)[2, 2]) <= high
        ones = half_of_torch(np.full((48, 40), scale / (48 * 40) ** 0.5), dtype)
        assert low <= float(orthogonalize(ones, method=method).double().sum()) / (48 * 40) ** 0.5
        assert float(orthogonalize(ones, method=method).double().sum()) / (48 * 40) ** 0.5 <= high


@EVERY
def test_constant_matrices_do_not_blow_up(method: str, library: Library, dtype: str) -> None:
    """Their sums are rounded all to one side: the worst case for any bound on the norm."""
    slow = library.compiles or library.backend == "dask"
    if slow and dtype != library.tried[0]:
        pytest.skip("a compilation for the same paths")
    low, high = interval(method, dtype)
    for shape in ((40, 72),) if slow else ((40, 72), (72, 40), (67, 67)):
        for value in (1.0, 1.0 / 3.0, 0.1, 1e-3):
            q = library.numpy(
                orthogonalize(library.array(np.full(shape, value), dtype), method=method)
            )
            assert np.isfinite(q).all()
            assert low <= np.sum(q.astype("complex128")).real / np.prod(shape) ** 0.5 <= high


@EVERY
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_norms_of_large_matrices_are_not_summed_in_half_precision(method: str, dtype: str) -> None:
    """A running sum in bfloat16 stops at 256 equal terms: the norm of this one would be 16."""
    x = half_of_torch(np.ones((300, 700)), dtype)
    total = float(orthogonalize(x, method=method).double().sum()) / (300 * 700) ** 0.5
    low, high = interval(method, dtype)
    assert low <= total <= high


# --- aliasing ------------------------------------------------------------------------------------


@EVERY
def test_views_and_their_bases_stay_as_they_were(method: str, library: Library) -> None:
    """A division in place has normalized momentum buffers; a no-copy cast hides it for half."""
    if not library.writes:
        pytest.skip(f"arrays of {library.name} cannot be written to")
    base = library.array(support.easy(3, shape=(24, 20)), "float32")
    before = library.numpy(base).tobytes()
    for view in (
        base[1, ...],
        base[::2, ...],
        base[:, ::2, 1:],
        library.xp.matrix_transpose(base),
        base[..., :1],
        base[:, :1, :],
    ):
        q = orthogonalize(view, method=method)
        q += 1.0  # the result is nobody else's either
        assert library.numpy(base).tobytes() == before


@EVERY
def test_the_layout_changes_roundings_only(method: str) -> None:
    x = support.easy(shape=(40, 36))
    limit = 1e-9 if method in LOOSE else 1e-12
    base = orthogonalize(x, method=method)
    strided = np.empty((80, 108))[::2, ::3]
    strided[...] = x
    for y in (np.asfortranarray(x), strided, x[::-1][::-1]):
        np.testing.assert_allclose(orthogonalize(y, method=method), base, atol=limit)


# --- stacks --------------------------------------------------------------------------------------


@EVERY
@pytest.mark.parametrize("batch", [(3,), (2, 3), (1, 2, 2)], ids=str)
def test_stacks_of_any_depth_equal_loops(method: str, batch: tuple[int, ...]) -> None:
    """A Gram path has broken three axes; layout-dependent batches have changed training runs."""
    for shape in ((36, 40), (40, 36), (36, 36)):
        x = support.easy(*batch, shape=shape)
        whole = orthogonalize(x, method=method)
        assert whole.shape == x.shape
        for index in np.ndindex(*batch):
            one = orthogonalize(x[index], method=method)
            np.testing.assert_allclose(whole[index], one, atol=1e-9 if method in LOOSE else 1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_more_entries_than_a_32_bit_index_reaches_on_jax(method: str) -> None:
    """Evaluated abstractly: 4.6e9 numbers. Offsets here are Python's integers."""
    jax = pytest.importorskip("jax", reason="jax is not installed")
    shape = (70_000, 256, 256)
    x = jax.ShapeDtypeStruct(shape, jax.numpy.float32)
    full = jax.eval_shape(lambda y: orthogonalize(y, method=method, full_output=True), x)
    assert full.factor.shape == shape
    assert full.error.shape == shape[:1]


@EVERY
def test_more_entries_than_a_32_bit_index_reaches_on_torch(method: str) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    x = torch.empty((70_000, 256, 256), device="meta")
    full = orthogonalize(x, method=method, full_output=True)
    assert full.factor.shape == x.shape
    assert full.error.shape == x.shape[:1]
    assert spectral_clip(x, 1.0).shape == x.shape


def test_indices_of_matrices_in_a_stack_are_64_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where each matrix goes its own way, the stack is taken apart and merged by index arrays."""
    from specdesc import backends

    xp, kinds = backends.load("numpy").xp, []
    take = xp.take

    def watched(x: Any, index: Any, **options: Any) -> Any:
        kinds.append(index.dtype)
        return take(x, index, **options)

    monkeypatch.setattr(xp, "take", watched)
    hard = support.with_spectrum(np.geomspace(1, 1e-3, 36), (40, 36))
    x = np.stack([support.easy(shape=(40, 36)), hard, 0 * hard])
    orthogonalize(x, method="polynomial", tol=1e-3)
    assert kinds
    assert all(kind == np.int64 for kind in kinds)


# --- floors, zeros, NaN, complex -----------------------------------------------------------------


@EVERY
@pytest.mark.parametrize("dtype", ["float32", "complex64"])
def test_no_epsilon_turns_small_matrices_into_wrong_ones(method: str, dtype: str) -> None:
    """x / (||x|| + 1e-7) and its kin return almost nothing for a small gradient."""
    x = support.easy(shape=(40, 36), dtype=dtype).astype(dtype)
    base = orthogonalize(x, method=method)
    for exponent in (-24, -60, -100, 100):
        scaled = x * np.float32(2.0**exponent)
        assert orthogonalize(scaled, method=method).tobytes() == base.tobytes()
    for scale in (1e-30, 1e-38):
        # Digits are lost below the normal numbers, those of the matrix and no others.
        given = (x * np.float32(scale)).astype(dtype)
        q = orthogonalize(given, method=method)
        exact = orthogonalize(given.astype("complex128") / scale, method=method)
        np.testing.assert_allclose(q, exact, atol=5e-3 if method in LOOSE else 1e-4)


@EVERY
def test_a_zero_matrix_in_double_precision_is_zero_and_not_nan(
    method: str, library: Library
) -> None:
    dtype = "float64" if "float64" in library.dtypes else "float32"
    if library.compiles:
        pytest.skip("a compilation; the traced tests have a zero matrix")
    x = library.array(np.zeros((2, 40, 36)), dtype)
    assert (library.numpy(orthogonalize(x, method=method)) == 0).all()


@EVERY
@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_complex_matrices_are_conjugated_where_they_have_to_be(method: str, dtype: str) -> None:
    """A Gram matrix with a transpose for an adjoint has complex norms, and then NaN."""
    for shape in ((40, 36), (36, 40)):
        x = support.easy(shape=shape, dtype=dtype).astype(dtype)
        q = orthogonalize(x, method=method)
        low, high = interval(method, dtype)
        values = np.linalg.svd(q, compute_uv=False)
        assert low <= values.min() <= values.max() <= high
        inner = np.vdot(x, q)
        assert abs(inner.imag) <= 1e-4 * inner.real
        rotated = orthogonalize((x * np.exp(0.7j)).astype(dtype), method=method)
        np.testing.assert_allclose(
            rotated, q * np.exp(0.7j), atol=2e-3 if method in LOOSE else 1e-4
        )


def test_a_tall_matrix_needs_no_transpose_by_the_caller() -> None:
    """The long side costs nothing: no square of it is ever formed."""
    x = support.gaussian(20_000, 4)
    for method in METHODS:
        q = orthogonalize(x, method=method)
        gram = q.T @ q
        low, high = interval(method, "float64")
        assert low**2 <= np.linalg.eigvalsh(gram).min() <= np.linalg.eigvalsh(gram).max() <= high**2
    assert polar(x).hermitian.shape == (4, 4)
    assert spectral_clip(x, 1.0).shape == x.shape
