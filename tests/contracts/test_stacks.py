"""Matrices of a stack never touch one another, and every matrix is served at any scale."""

from typing import Any

import numpy as np
import pytest

from tests import support
from tests.support import OPERATIONS, Library, Operation, leaves

SHAPE = (48, 44)

#: What no polynomial of fixed degree can do: these are tried on well conditioned matrices only.
TABLE = pytest.mark.parametrize("operation", OPERATIONS, ids=str)


def mixed(dtype: str) -> tuple[Any, Any]:
    """Return a stack of every kind of matrix, and which of them are not finite."""
    easy = support.easy(shape=SHAPE, dtype=dtype)
    broken = {name: easy.copy() for name in ("nan", "inf", "-inf", "nan imag")}
    broken["nan"][3, 5] = np.nan
    broken["inf"][0, 0] = np.inf
    broken["-inf"][-1, -1] = -np.inf
    if dtype in support.COMPLEX:
        broken["nan imag"][7, 7] = complex(1.0, np.nan)
    else:
        broken["nan imag"][...] = np.nan
    rank_one = support.with_spectrum([2.0], SHAPE, dtype=dtype)
    kinds = [easy, np.zeros(SHAPE), *broken.values(), rank_one, easy * 1e-30, easy * 1e30]
    return np.stack(kinds), np.asarray([False] * 2 + [True] * 4 + [False] * 3)


def check_mixed(operation: Operation, outputs: list[Any], bad: Any) -> None:
    promised = operation.outputs((bad.size,), *SHAPE)
    for y, (shape, kind) in zip(outputs, promised, strict=True):
        if kind == "int32":
            continue
        if shape[0] != bad.size:
            assert np.isfinite(y).all()
        elif kind == "working" and len(shape) == 3 and shape[-2] == SHAPE[1]:
            assert np.isfinite(y).all(), "a start carries no NaN into the next call"
        else:
            flat = y.reshape(bad.size, -1)
            assert np.isnan(flat[bad]).all()
            assert not np.isnan(flat[~bad]).any()


#: Operations whose every number depends on one entry.
OF_ENTRIES = ("prox.Zero.prox", "prox.Huber.anisotropic_prox")


@TABLE
def test_a_nan_stays_in_its_own_matrix(operation: Operation, library: Library) -> None:
    reason = operation.unsupported(library)
    if reason:
        pytest.skip(f"{operation} on {library.name}: {reason}")
    if library.backend == "dask" and str(operation) in OF_ENTRIES:
        pytest.skip("a function of entries: there a NaN stays in its entry")
    for name in ("float32", "complex64"):
        host, bad = mixed(name)
        x = library.array(host, name)
        outputs = [library.numpy(y) for y in leaves(operation.call(x))]
        check_mixed(operation, outputs, bad)
        # The others are what they are beside good neighbours: as many, since a device has other
        # kernels for other stacks.
        good = host.copy()
        good[bad] = host[~bad][0]
        alone = operation.call(library.array(good, name))
        for y, z in zip(outputs, map(library.numpy, leaves(alone)), strict=True):
            if y.shape[:1] == bad.shape and operation.tolerance is None:
                z = z[~bad]  # noqa: PLW2901
                limit = 1e-5 * np.abs(z[np.isfinite(z)]).max(initial=1e-30)
                np.testing.assert_allclose(y[~bad], z, rtol=1e-4, atol=limit)
        if library.compiles:
            break


SCALE_FREE = [
    each
    for each in OPERATIONS
    if each.name.startswith(("orthogonalize", "truncated_spectral_step"))
]


@pytest.mark.parametrize("operation", SCALE_FREE, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64"])
def test_factors_do_not_depend_on_the_scale(
    operation: Operation, dtype: str, library: Library
) -> None:
    """A power of two changes no bit; other scales change roundings only."""
    if dtype not in library.dtypes or operation.unsupported(library):
        pytest.skip(f"{operation} with {dtype} is not there on {library.name}")
    if library.compiles and dtype == "complex64":
        pytest.skip("each dtype is a compilation, and the paths are the same")
    x = support.easy(shape=SHAPE, dtype=dtype)
    wide = dtype == "float64"
    exponents = (-996, 996) if wide else (-100, 100)
    call = operation.call
    first = leaves(call(library.array(x, dtype)))[0]
    for exponent in exponents:
        y = leaves(call(library.array(x * 2.0**exponent, dtype)))[0]
        assert library.numpy(y).tobytes() == library.numpy(first).tobytes()
    for scale in (1e-300, 1e300) if wide else (1e-30, 1e30):
        y = leaves(call(library.array(x * scale, dtype)))[0]
        limit = 2000 * support.EPS[dtype] + (operation.tolerance or 0.0)
        np.testing.assert_allclose(library.numpy(y), library.numpy(first), atol=limit, rtol=0)


def test_subnormal_matrices_have_a_direction_where_the_library_keeps_them(
    library: Library,
) -> None:
    """Below the normal numbers digits are lost, not the matrix; a library may flush it to zero."""
    x = np.diag([3.0, 2.0, 1.0, 1.0]) * 2.0**-140
    operation = support.specdesc.orthogonalize
    y = library.numpy(operation(library.array(x, "float32")))
    expected = np.zeros((4, 4)) if library.flushes else np.eye(4)
    np.testing.assert_allclose(y, expected, atol=1e-5)


@pytest.mark.thorough
@pytest.mark.parametrize("shape", [(6, 4), (4, 6)], ids=["tall", "wide"])
def test_no_operation_breaks_on_the_corpus(
    shape: tuple[int, int], library: Library, dtype: str
) -> None:
    """Finite in, finite out, whatever the matrix; only the value of a set may be inf."""
    lazy = library.compiles or library.backend == "dask"
    if lazy and (dtype != "float32" or shape == (4, 6)):
        pytest.skip("each dtype and shape is a compilation or a graph, and the paths are the same")
    if ":" in library.name and shape == (4, 6):
        pytest.skip("the stricter variants meet the same code")
    matrices = support.corpus(shape, dtype)
    if dtype in support.HALF:
        matrices = {k: v / np.abs(v).max(initial=1e-300) for k, v in matrices.items()}
    stacks = {name: values[None] for name, values in matrices.items()}
    if lazy:
        stacks = {"all of them": np.concatenate(list(stacks.values()))}
    for name, stack in stacks.items():
        x = library.array(stack, dtype)
        for operation in support.operations(library):
            if not operation.name.endswith(".value"):
                for output in leaves(operation.call(x)):
                    for y in np.atleast_1d(library.numpy(output)):
                        assert np.isfinite(y).all() or (np.isinf(y) & (y > 0)).all(), (
                            operation.name,
                            name,
                        )
