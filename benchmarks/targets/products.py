"""The time that the matrix products of a call take by themselves."""

from contextlib import contextmanager
from typing import NamedTuple
from unittest.mock import patch

import array_api_compat.numpy as compat
import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode


class Product(NamedTuple):
    """Two operands by shape and strides, in elements."""

    shapes: tuple
    strides: tuple
    dtype: object
    gram: bool  # one array with its own transpose, which BLAS does at half the work

    @property
    def flops(self):
        """Two for each multiplication and addition, whatever BLAS makes of a Gram matrix."""
        (*batch, m, k), n = self.shapes[0], self.shapes[1][-1]
        return 2 * int(np.prod(batch, dtype=np.int64)) * m * k * n


def record(call, library):
    """Return every matrix product that the library is asked for during a call."""
    found = []
    with _numpy_spy(found) if library == "numpy" else _TorchSpy(found):
        call()
    return found


def replay(products, library):
    """Return a function that runs the products into arrays that are there already."""
    make, matmul = (_numpy_operand, np.matmul) if library == "numpy" else (_operand, torch.matmul)
    ready = {}
    for product in set(products):
        a = make(product, 0)
        b = make(product, 1) if not product.gram else a.swapaxes(-1, -2)
        ready[product] = (a, b, matmul(a, b))

    def run():
        for product in products:
            a, b, out = ready[product]
            matmul(a, b, out=out)

    return run


@contextmanager
def _numpy_spy(found):
    matmul = np.matmul

    def spy(a, b, *rest, **options):
        if min(np.ndim(a), np.ndim(b)) >= 2 and _is_large(a, b):
            shapes = (a.shape, b.shape)
            strides = tuple(tuple(s // x.itemsize for s in x.strides) for x in (a, b))
            same = a.__array_interface__["data"] == b.__array_interface__["data"]
            found.append(Product(shapes, strides, a.dtype, same and _transposed(shapes, strides)))
        return matmul(a, b, *rest, **options)

    with patch.object(np, "matmul", spy), patch.object(compat, "matmul", spy):
        yield


#: The kernels that multiply, and which of their arguments is the left operand.
_OPERANDS = {"mm": 0, "bmm": 0, "addmm": 1, "baddbmm": 1, "addmm_": 1, "baddbmm_": 1}


class _TorchSpy(TorchDispatchMode):
    """Sees the products that reach the kernels: mm, bmm, and those with an addition."""

    def __init__(self, found):
        super().__init__()
        self.found = found

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        if name in _OPERANDS:
            first = _OPERANDS[name]
            a, b = args[first : first + 2]
            if _is_large(a, b):
                shapes, strides = (tuple(a.shape), tuple(b.shape)), (a.stride(), b.stride())
                same = a.data_ptr() == b.data_ptr()
                gram = same and _transposed(shapes, strides)
                self.found.append(Product(shapes, strides, a.dtype, gram))
        return function(*args, **(kwargs or {}))


def _transposed(shapes, strides):
    """Say whether the second operand, of the same memory, is the first one transposed."""
    return all((*b[:-2], b[-1], b[-2]) == tuple(a) for a, b in (shapes, strides))


def _is_large(a, b):
    """Leave out the inner products that norms are made of."""
    return a.shape[-2] > 1 and b.shape[-1] > 1


def _numpy_operand(product, which):
    shape, strides = product.shapes[which], product.strides[which]
    size = 1 + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    values = np.random.default_rng(which).standard_normal(size).astype(product.dtype)
    steps = tuple(stride * values.itemsize for stride in strides)
    return np.lib.stride_tricks.as_strided(values, shape, steps)


def _operand(product, which):
    shape, strides = product.shapes[which], product.strides[which]
    size = 1 + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    generator = torch.Generator().manual_seed(which)
    return torch.randn(size, generator=generator).to(product.dtype).as_strided(shape, strides)
