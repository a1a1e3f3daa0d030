"""Array in, same array out: type, dtype, shape and device, for every public function."""

from typing import Any

import numpy as np
import pytest

from tests import support
from tests.support import OPERATIONS, Library, Operation, assert_array, kind_of, leaves

SHAPE = (48, 44)


def supported(operation: Operation, library: Library) -> Operation:
    reason = operation.unsupported(library)
    if reason:
        pytest.skip(f"{operation} on {library.name}: {reason}")
    return operation


@pytest.mark.essential
@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
def test_type_dtype_shape_and_device_are_kept_and_the_input_untouched(
    operation: Operation, library: Library
) -> None:
    call = supported(operation, library).call
    promised = operation.outputs((2,), *SHAPE)
    for dtype in library.dtypes:
        x = library.array(support.easy(2, shape=SHAPE, dtype=dtype), dtype)
        if library.compiles and dtype not in library.tried:
            check_without_numbers(call, x, [(s, kind_of(k, dtype)) for s, k in promised])
            continue
        before = library.numpy(x).tobytes()
        found = leaves(call(x))
        assert library.numpy(x).tobytes() == before
        assert len(found) == len(promised)
        for y, (shape, kind) in zip(found, promised, strict=True):
            assert_array(library, y, x, shape, kind_of(kind, dtype))


def check_without_numbers(call: Any, x: Any, promised: list[tuple[tuple[int, ...], str]]) -> None:
    """Let JAX tell shapes and dtypes without compiling anything."""
    from jax import eval_shape

    found = [(tuple(y.shape), y.dtype.name) for y in leaves(eval_shape(call, x))]
    assert found == promised


@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
@pytest.mark.parametrize(
    "shape", [(0, 5), (5, 0), (0, 0), (0, 6, 4), (3, 0, 5), (2, 5, 0)], ids=str
)
def test_empty_arrays_give_empty_arrays(
    operation: Operation, shape: tuple[int, ...], library: Library
) -> None:
    call = supported(operation, library).call
    if library.compiles and len(shape) == 3 and shape[0]:
        pytest.skip("each shape is a compilation; the others of this list have the same paths")
    for dtype in [name for name in ("float32", "float16") if name in library.dtypes]:
        x = library.array(np.zeros(shape), dtype)
        found = leaves(call(x))
        promised = operation.outputs(shape[:-2], *shape[-2:])
        assert len(found) == len(promised)
        for y, (expected, kind) in zip(found, promised, strict=True):
            assert_array(library, y, x, expected, kind_of(kind, dtype))
            assert not np.isnan(library.numpy(y)).any()


@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
@pytest.mark.parametrize("shape", [(1, 7), (7, 1), (1, 1), (2, 3, 1, 4)], ids=str)
def test_vectors_and_deep_stacks(
    operation: Operation, shape: tuple[int, ...], library: Library
) -> None:
    call = supported(operation, library).call
    x = library.array(support.gaussian(*shape), "float32")
    if library.compiles and shape in ((7, 1), (1, 1)):
        pytest.skip("each shape is a compilation; the others of this list have the same paths")
    promised = operation.outputs(shape[:-2], *shape[-2:])
    for y, (expected, kind) in zip(leaves(call(x)), promised, strict=True):
        assert_array(library, y, x, expected, kind_of(kind, "float32"))
        assert np.isfinite(library.numpy(y)).all() or operation.name.endswith("value")


@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
@pytest.mark.parametrize("values", ["easy", "feasible", "zero", "empty"])
def test_output_shares_no_memory_with_the_input(
    operation: Operation, values: str, library: Library
) -> None:
    """Writing over the input afterwards leaves the output as it was."""
    if not library.writes:
        pytest.skip(f"arrays of {library.name} cannot be written to")
    call = supported(operation, library).call
    host = {
        "easy": support.easy(2, shape=SHAPE),
        "feasible": np.stack([support.with_spectrum([0.5], SHAPE)] * 2),
        "zero": np.zeros((2, *SHAPE)),
        "empty": np.zeros((2, 0, 3)),
    }[values]
    x = library.array(host, "float64")
    found = leaves(call(x))
    before = [library.numpy(y).tobytes() for y in found]
    x[...] = 7.0
    assert [library.numpy(y).tobytes() for y in found] == before


@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
def test_non_contiguous_input(operation: Operation, library: Library) -> None:
    """A transposed view and a strided one give what a copy of them gives."""
    if not library.writes:
        pytest.skip(f"{library.name} has no strides to choose")
    call = supported(operation, library).call
    host = support.easy(2, shape=SHAPE)
    swapped = library.array(np.ascontiguousarray(np.swapaxes(host, -1, -2)), "float64")
    view = library.xp.matrix_transpose(swapped)
    strided = library.array(np.repeat(host, 2, axis=-1), "float64")[..., ::2]
    expected = [library.numpy(y) for y in leaves(call(library.array(host, "float64")))]
    for other in (view, strided):
        found = [library.numpy(y) for y in leaves(call(other))]
        for y, z in zip(operation.canonical(found), operation.canonical(expected), strict=True):
            np.testing.assert_allclose(y, z, rtol=1e-9, atol=1e-9)


@pytest.mark.essential
@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
def test_a_stack_is_a_loop(operation: Operation, library: Library, dtype: str) -> None:
    call = supported(operation, library).call
    if library.compiles and dtype != "float32":
        pytest.skip("each dtype is a compilation, and the paths are the same")
    tolerance = operation.tolerance or 0.0
    host = support.easy(2, shape=SHAPE, dtype=dtype) * np.asarray([1.0, 2.5])[:, None, None]
    x = library.array(host, dtype)
    whole = [library.numpy(y) for y in leaves(call(x))]
    for i in range(host.shape[0]):
        single = [library.numpy(y) for y in leaves(call(library.array(host[i], dtype)))]
        mine = [y[i] if y.ndim > z.ndim else y for y, z in zip(whole, single, strict=True)]
        for y, z in zip(operation.canonical(mine), operation.canonical(single), strict=True):
            limit = tolerance + 200 * support.EPS[dtype]
            np.testing.assert_allclose(y, z, rtol=limit, atol=limit * np.abs(z).max(initial=1.0))


@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
def test_same_input_same_bytes(operation: Operation, library: Library) -> None:
    call = supported(operation, library).call
    x = library.array(support.easy(2, shape=SHAPE), "float32")
    first, second = ([library.numpy(y).tobytes() for y in leaves(call(x))] for _ in range(2))
    assert first == second


@pytest.mark.parametrize("operation", [each for each in OPERATIONS if not each.linalg], ids=str)
def test_no_extension_where_none_is_needed(operation: Operation) -> None:
    """What takes no factorization runs where the namespace has no linalg."""
    strict = pytest.importorskip("array_api_strict", reason="array-api-strict is not installed")
    with strict.ArrayAPIStrictFlags(**support.NO_EXTENSIONS):
        operation.call(strict.asarray(support.easy(2, shape=SHAPE)))
