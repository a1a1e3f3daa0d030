"""Every public function on a library with the manners of CuPy."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import specdesc
from specdesc import preconditioners, prox, rules
from specdesc.problems import RobustRecovery
from tests import hostile, support
from tests.support import EPS, OPERATIONS, Operation, leaves

SHAPE = (48, 44)


@pytest.fixture(autouse=True)
def leaf() -> Iterator[Any]:
    with hostile.registered() as backend:
        yield backend


def given(values: Any, dtype: str, leaf: Any) -> Any:
    """Return an array on the device that is not current."""
    return leaf.from_host(values, dtype=dtype, device="hostile:1")


def on_host(result: Any) -> list[Any]:
    return [each.values for each in leaves(result)]


@pytest.mark.parametrize("dtype", ["float16", "float32", "complex128"])
@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
def test_a_function_stays_on_its_device_and_agrees_with_numpy(
    operation: Operation, dtype: str, leaf: Any
) -> None:
    host = support.easy(2, shape=SHAPE, dtype=dtype).astype(dtype)
    result = operation.call(given(host, dtype, leaf))
    for each in leaves(result):
        assert isinstance(each, hostile.HostileArray), type(each)
        assert each.device == hostile.DEVICES[1]
    wide = "complex128" if dtype == "complex128" else "float64"
    expected = operation.canonical(
        [np.asarray(y) for y in leaves(operation.call(host.astype(wide)))]
    )
    actual = operation.canonical(
        [y.astype("float32") if y.dtype == "float16" else y for y in on_host(result)]
    )
    # Where a plan is fixed it need not meet what an adaptive one does.
    close = 1000 * max(SHAPE) * EPS[dtype] if operation.tolerance is None else 1.0
    limit = max(close, operation.tolerance or 0.0, 5e-3)
    for y, z in zip(actual[:1], expected[:1], strict=True):
        finite = np.isfinite(z)  # the value of a set is inf outside
        np.testing.assert_array_equal(np.isfinite(y), finite)
        scale = float(np.abs(z[finite]).max(initial=1.0))
        assert np.abs(y.astype(wide)[finite] - z[finite]).max(initial=0.0) <= limit * scale


@pytest.mark.parametrize(
    "rule",
    [
        rules.Muon(0.1),
        rules.Scion(0.1),
        rules.AdamW(0.1),
        rules.SignDescent(0.1),
        rules.SpectralDescent(0.1),
        rules.TruncatedSpectralDescent(3, 0.1),
        rules.NormalizedGradient(0.1),
        rules.ProximalSpectral(
            0.1, preconditioner=preconditioners.Kappa(3, eps=0.5), g=prox.SpectralBall(1.0)
        ),
    ],
    ids=lambda rule: type(rule).__name__,
)
def test_a_step_copies_nothing_to_the_device(rule: Any, leaf: Any) -> None:
    x, g = (given(support.gaussian(40, 30, seed=i), "float32", leaf) for i in range(2))
    state = rule.init(x)
    x, state = rule.update(x, g, state)
    hostile.Transfers.count = 0
    for _ in range(3):
        x, state = rule.update(x, g, state)
    assert hostile.Transfers.count == 0
    assert x.device == hostile.DEVICES[1]


def test_recovery_stays_on_its_device(leaf: Any) -> None:
    truth = support.with_spectrum([3.0, 2.0], (20, 16))
    data = truth.copy()
    data[3, 4], data[5, 6] = 40.0, np.nan
    problem = RobustRecovery.from_entries(
        given(data, "float32", leaf), truth=given(truth, "float32", leaf)
    )
    rule = rules.TruncatedSpectralDescent(2, problem.geometric_steps(2, 60), g=prox.Rank(2))
    x = problem.start()
    state = rule.init(x)
    for _ in range(60):
        value, grad = problem.value_and_grad(x)
        x, state = rule.update(x, grad, state, value=value)
    assert x.device == hostile.DEVICES[1]
    assert float(problem.error(x).values) < 0.02


def test_arrays_of_two_devices_are_refused(leaf: Any) -> None:
    x = given(support.gaussian(4, 3), "float32", leaf)
    start = leaf.from_host(np.zeros((3, 3)), dtype="float32", device="hostile:0")
    with pytest.raises(ValueError, match="must be on one device"):
        specdesc.orthogonalize(x, start=start, full_output=True)


def test_the_library_is_hostile(leaf: Any) -> None:
    x = given(np.ones((2, 2)), "float32", leaf)
    for read in (float, bool, int, complex, np.asarray, list):
        with pytest.raises(TypeError):
            read(x[0, 0])
    with pytest.raises(TypeError):
        hash(x.device)
    with pytest.raises((TypeError, ValueError)):
        _ = x + np.ones((2, 2))
