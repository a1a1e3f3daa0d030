"""dask: what works stays lazy, what does not says why."""

from typing import Any

import numpy as np
import pytest

from specdesc import minimize, orthogonalize, prox, rules
from tests import support
from tests.support import OPERATIONS, Operation, leaves

pytestmark = pytest.mark.essential

da = pytest.importorskip("dask.array", reason="dask is not installed")

DASK = next(way for way in support.LIBRARIES if way.name == "dask")
SHAPE = (48, 44)


@pytest.fixture(autouse=True)
def _nothing_is_computed() -> Any:
    with DASK.context():
        yield


def test_the_guard_catches_a_hidden_computation() -> None:
    with pytest.raises(AssertionError, match="a lazy array was computed"):
        bool(da.ones(3).sum() > 0)


@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
def test_every_function_is_lazy_or_says_why_it_is_not_there(operation: Operation) -> None:
    x = DASK.array(support.easy(2, shape=SHAPE), "float32")
    reason = operation.unsupported(DASK)
    if reason is None:
        assert all(isinstance(y, da.Array) for y in leaves(operation.call(x)))
    else:
        with pytest.raises(NotImplementedError, match="is not available on dask: ") as caught:
            operation.call(x)
        assert str(caught.value).endswith(tuple(DASK.leaf.capabilities.unsupported.values()))


def test_minimize_says_why() -> None:
    x = DASK.array(np.ones((3, 2)))
    with pytest.raises(NotImplementedError, match="looks at a value every step"):
        minimize(lambda x: (x.sum(), x), x, rules.NormalizedGradient(0.1), steps=1)


@pytest.mark.slow
@pytest.mark.parametrize("chunks", [(2, 48, 44), (1, 48, 44), (1, 24, 11), (2, 7, 44)], ids=str)
@pytest.mark.parametrize("method", ["polynomial", "newton-schulz", "polar-express", "auto"])
def test_chunks_do_not_matter(chunks: tuple[int, ...], method: str) -> None:
    """Also where one matrix is spread over many chunks: products and sums are all that it takes."""
    host = support.easy(2, shape=SHAPE)
    x = da.from_array(host, chunks=chunks)
    found = orthogonalize(x, method=method, full_output=True)
    y, error = (DASK.numpy(part) for part in (found.factor, found.error))
    if method == "newton-schulz":
        np.testing.assert_allclose(y, orthogonalize(host, method=method), atol=1e-10)
    else:
        distance = support.spectral_norm(y - support.polar_factor(host))
        assert (distance <= error).all()
        assert (distance <= 0.01).all()


def test_a_rule_takes_many_lazy_steps() -> None:
    target = DASK.array(support.gaussian(6, 4))
    rule = rules.NormalizedGradient(0.5, g=prox.Zero())
    x = DASK.array(np.zeros((6, 4)))
    state = rule.init(x)
    for _ in range(5):
        x, state = rule.update(x, x - target, state)
    assert int(DASK.numpy(state["t"])) == 5
    size = np.linalg.norm(support.gaussian(6, 4))
    assert np.linalg.norm(DASK.numpy(x)) == pytest.approx(min(2.5, size), abs=0.5)
