"""The Triton kernels of torch, by Triton's interpreter: no device, and products that are slow.

Its products in bfloat16 are wrong, so that float16 and float32 are tried. Outside of the default
suite: ``pytest -m kernels`` where triton is installed, with ``TRITON_INTERPRET=1``.
"""

import os
from importlib import import_module
from typing import Any

import pytest

pytestmark = pytest.mark.kernels


@pytest.fixture
def torch() -> Any:
    pytest.importorskip("triton", reason="triton is not installed")
    if os.environ.get("TRITON_INTERPRET") != "1":
        pytest.skip("set TRITON_INTERPRET=1")
    return pytest.importorskip("torch")


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("tall", [False, True])
@pytest.mark.parametrize("shape", [(5, 7), (64, 32), (70, 130), (2, 33, 20)])
def test_a_symmetric_product(torch: Any, shape: tuple[int, ...], tall: bool, dtype: str) -> None:
    symmetric = import_module("specdesc.backends.torch.symmetric")
    generator = torch.Generator().manual_seed(0)
    x = (torch.randn(*shape, generator=generator) / 4).to(getattr(torch, dtype))
    x = x.mT if tall else x
    rows = x.shape[-2]
    c = torch.randn(*x.shape[:-2], rows, rows, generator=generator).to(x.dtype)
    c = c + c.mT
    tiles = symmetric.Tiles(32, 16, 4, 2)
    exact = x.float() @ x.float().mT
    limit = 4 * torch.finfo(x.dtype).eps * float(exact.abs().max() + c.abs().max())
    for y, expected in (
        (symmetric.product(x, tiles=tiles), exact),
        (symmetric.product(x, alpha=0.5, beta=-2.0, c=c, tiles=tiles), exact / 2 - 2 * c.float()),
    ):
        assert torch.equal(y, y.mT)
        assert float((y.float() - expected).abs().max()) <= limit


def test_a_division(torch: Any) -> None:
    scaling = import_module("specdesc.backends.torch.scaling")
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 50, 70, generator=generator).half()
    scale = torch.rand(3, 1, 1, generator=generator) + 0.5
    y = scaling.divided(x, scale, torch.empty_like(x))
    assert torch.equal(y, (x.float() / scale).half())
