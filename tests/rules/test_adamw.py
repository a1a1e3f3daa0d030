"""AdamW beside torch's, and its promises beyond those of every rule."""

import numpy as np
import pytest

from specdesc import rules, schedules
from tests import support
from tests.support import EPS


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "options",
    [
        {"weight_decay": 0.1},
        {"betas": (0.8, 0.95), "eps": 1e-3},
        {"betas": (0.0, 0.99)},
        {"betas": (0.9, 0.0), "eps": 0.1},
    ],
    ids=str,
)
def test_twenty_steps_are_those_of_torch(dtype: str, options: dict[str, object]) -> None:
    """Gradients of many sizes, so that the bias, eps and the averages all count."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    start = support.gaussian(5, 4).astype(dtype)
    parameter = torch.nn.Parameter(torch.asarray(start.copy()))
    theirs = torch.optim.AdamW([parameter], lr=0.03, **{"weight_decay": 0.0, **options})
    ours = rules.AdamW(0.03, **options)  # type: ignore[arg-type]
    x, state = start, ours.init(start)
    rng = np.random.default_rng(5)
    for _ in range(20):
        grad = rng.standard_normal((5, 4)) * 10.0 ** rng.integers(-3, 3)
        grad = grad.astype(dtype)
        parameter.grad = torch.asarray(grad.copy())
        theirs.step()
        x, state = ours.update(x, grad, state)
    assert x.dtype == dtype
    np.testing.assert_allclose(
        x, parameter.detach().numpy(), rtol=50 * EPS[dtype], atol=50 * EPS[dtype]
    )


def test_a_complex_entry_is_divided_by_its_absolute_value() -> None:
    """Where torch takes both parts apart; a phase of the gradient is a phase of the step."""
    x = np.zeros((5, 4), dtype="complex128")
    grad = support.gaussian(5, 4, dtype="complex128")
    rule = rules.AdamW(0.1, eps=1e-12)
    y, _ = rule.update(x, grad, rule.init(x))
    np.testing.assert_allclose(y, -0.1 * grad / np.abs(grad), atol=1e-10)
    turned, _ = rule.update(x, 1j * grad, rule.init(x))
    np.testing.assert_allclose(turned, 1j * y, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "complex64"])
def test_gradients_whose_squares_overflow_are_steps_like_others(dtype: str) -> None:
    x = np.zeros((5, 4), dtype=dtype)
    grad = support.gaussian(5, 4, dtype=dtype).astype(dtype)
    rule = rules.AdamW(0.1)
    y, state = rule.update(x, grad, rule.init(x))
    far, far_state = rule.update(x, grad * np.float32(1e30), rule.init(x))
    np.testing.assert_allclose(far, y, atol=1e-6)
    for _ in range(3):
        y, state = rule.update(y, grad, state)
        far, far_state = rule.update(far, grad * np.float32(1e30), far_state)
    np.testing.assert_allclose(far, y, atol=1e-6)


def test_a_schedule_is_followed() -> None:
    x, grad = support.gaussian(2, 5, 4)
    rule = rules.AdamW(schedules.geometric(0.1, 0.5), eps=1e-12)
    state = rule.init(x)
    for t in range(4):
        y, state = rule.update(x, grad, state)
        np.testing.assert_allclose(np.abs(y - x), 0.1 * 0.5**t, rtol=1e-6)
        x = y


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"betas": (0.9, 1.0)}, r"betas must be two numbers in \[0, 1\), got \(0.9, 1.0\)"),
        ({"betas": (0.9,)}, "betas must be two numbers"),
        ({"eps": 0.0}, "eps must be a finite number above 0, got 0.0"),
        ({"weight_decay": -1.0}, "weight_decay must be"),
    ],
)
def test_what_it_cannot_be_is_a_value_error(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rules.AdamW(0.1, **options)  # type: ignore[arg-type]
