"""The driver: why it stops, what it remembers, and what it leaves alone."""

import time
from typing import Any

import numpy as np
import pytest

import specdesc as sd
from specdesc import minimize, rules, schedules
from tests import support
from tests.support import Library

RULE = rules.NormalizedGradient(0.1)


def distance(target: Any) -> Any:
    """Return ||X - target||_F² / 2 with its gradient."""

    def value_and_grad(x: Any) -> Any:
        return ((x - target) ** 2).sum((-2, -1)) / 2, x - target

    return value_and_grad


def test_steps(library: Library) -> None:
    """All steps are taken, and every point is seen, the last one included."""
    if library.backend == "dask":
        pytest.skip("a host loop would compute the graph anew at every look")
    target = library.array(support.gaussian(2, 6, 4), "float32")
    xp = library.leaf.xp if library.backend != "array_api_strict" else library.xp

    def value_and_grad(x: Any) -> Any:
        return xp.sum(xp.sum((x - target) ** 2, axis=-1), axis=-1), x - target

    x0 = library.array(np.zeros((2, 6, 4)), "float32")
    found = minimize(value_and_grad, x0, RULE, steps=5)
    assert found.status == "steps"
    assert int(library.numpy(found.state["t"])) == 5
    support.assert_array(library, found.history.value, x0, (6, 2), "float32")
    support.assert_array(library, found.x, x0, (2, 6, 4), "float32")
    support.assert_array(library, found.value, x0, (2,), "float32")
    values = library.numpy(found.history.value)
    assert (values[-1] == library.numpy(found.value)).all()
    assert (np.diff(values, axis=0) < 0).all()
    assert found.history.certificate is None
    assert (library.numpy(x0) == 0).all()


def test_zero_steps_is_one_look() -> None:
    x0 = np.ones((3, 2))
    found = minimize(distance(0 * x0), x0, RULE, steps=0)
    assert found.status == "steps"
    assert (found.x == x0).all()
    assert found.value == 3.0
    assert found.history.value.shape == (1,)


def test_tol_stops_at_the_certificate_on_all_matrices_of_a_stack() -> None:
    target = support.gaussian(2, 6, 4)
    calls = []

    def stop(x: Any, value: Any, grad: Any, state: Any) -> Any:
        calls.append(int(state["t"]))
        return np.linalg.norm(grad, axis=(-2, -1))

    found = minimize(
        distance(target),
        np.zeros_like(target),
        rules.NormalizedGradient(schedules.polyak()),
        steps=500,
        stop=stop,
        tol=1e-3,
    )
    assert found.status == "tol"
    assert (found.history.certificate[-1] <= 1e-3).all()
    assert (found.history.certificate[:-1] > 1e-3).any(-1).all()
    assert found.history.certificate.shape == found.history.value.shape
    assert calls == list(range(len(calls)))
    assert np.linalg.norm(found.x - target, axis=(-2, -1)).max() <= 1e-3


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_the_last_good_point_is_kept(bad: float) -> None:
    count = 0

    def value_and_grad(x: Any) -> Any:
        nonlocal count
        count += 1
        return (np.asarray(bad if count == 4 else 10.0 - count), np.ones_like(x))

    found = minimize(value_and_grad, np.zeros((2, 2)), RULE, steps=50)
    assert found.status == "nonfinite"
    assert found.value == 7.0
    assert count == 4
    np.testing.assert_allclose(found.x, -0.1 * np.ones((2, 2)), atol=1e-15)
    assert len(found.history.value) == 4
    assert not np.isfinite(found.history.value[-1])


def test_a_point_without_a_value_has_no_certificate() -> None:
    """A `stop` of the host is not asked about it: an SVD of NaN would raise."""
    values = iter([3.0, 2.0, np.nan])

    def stop(x: Any, value: Any, grad: Any, state: Any) -> Any:
        assert np.isfinite(value)
        return 2.0 * value

    found = minimize(
        lambda x: (np.asarray(next(values)), np.ones_like(x)),
        np.zeros((2, 2)),
        RULE,
        steps=5,
        stop=stop,
        tol=0.1,
    )
    assert found.status == "nonfinite"
    np.testing.assert_array_equal(found.history.certificate, [6.0, 4.0, np.nan])
    np.testing.assert_array_equal(found.history.step, [0, 1, 2])


def test_a_start_that_is_not_finite_is_said() -> None:
    x0 = np.full((2, 2), np.nan)
    found = minimize(distance(np.zeros((2, 2))), x0, RULE, steps=5)
    assert found.status == "nonfinite"
    assert np.isnan(found.value)
    assert len(found.history.value) == 1


def test_a_callback_sees_every_point_and_may_stop() -> None:
    seen = []

    def callback(t: int, x: Any, value: Any) -> bool:
        seen.append((t, float(value)))
        return t == 3

    target = support.gaussian(6, 4)
    found = minimize(distance(target), 0 * target, RULE, steps=50, callback=callback)
    assert found.status == "callback"
    assert [t for t, _ in seen] == [0, 1, 2, 3]
    np.testing.assert_array_equal([value for _, value in seen], found.history.value)
    assert (
        minimize(distance(target), 0 * target, RULE, steps=2, callback=lambda *_: None).status
        == "steps"
    )


def test_samples_are_a_function_of_the_step() -> None:
    seen = []

    def value_and_grad(x: Any, sample: Any) -> Any:
        seen.append(sample)
        return np.asarray(1.0), np.ones_like(x)

    minimize(value_and_grad, np.zeros((2, 2)), RULE, steps=3, samples=lambda t: t * t)
    assert seen == [0, 1, 4, 9]


def test_options_that_do_not_fit() -> None:
    x = np.ones((3, 2))
    objective = distance(x)
    with pytest.raises(ValueError, match=r"belong together, got stop=None and tol=0.1"):
        minimize(objective, x, RULE, steps=1, tol=0.1)
    with pytest.raises(ValueError, match="stop and tol belong together"):
        minimize(objective, x, RULE, steps=1, stop=lambda *_: np.asarray(0.0))
    with pytest.raises(ValueError, match="steps must be at least 0, got -1"):
        minimize(objective, x, RULE, steps=-1)
    with pytest.raises(ValueError, match="checkpoint_every must be at least 1, got 0"):
        minimize(objective, x, RULE, steps=1, checkpoint_every=0)
    with pytest.raises(ValueError, match="history_budget must be at least 2, got 1"):
        minimize(objective, x, RULE, steps=1, history_budget=1)
    with pytest.raises(TypeError, match="x0 must be real or complex floating"):
        minimize(objective, np.ones((2, 2), dtype=int), RULE, steps=1)
    with pytest.raises(ValueError, match="x0 must have at least 2 axes"):
        minimize(objective, np.ones(2), RULE, steps=1)


def test_a_missing_bar_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tqdm", None)
    x = np.ones((3, 2))
    with pytest.raises(sd.MissingExtra, match=r"tqdm: pip install 'specdesc\[demo\]'"):
        minimize(distance(x), x, RULE, steps=1, progress=True)


def test_the_bar_shows_the_value(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tqdm", reason="tqdm is not installed")
    target = support.gaussian(2, 6, 4)
    values = []

    def callback(t: int, x: Any, value: Any) -> None:
        time.sleep(0.11)  # a bar is drawn ten times a second at most
        values.append(float(value.max()))

    minimize(distance(target), 0 * target, RULE, steps=4, progress=True, callback=callback)
    shown = capsys.readouterr().err
    assert "0/5" in shown
    assert any(f"value {value:.4g}" in shown for value in values)


def test_both_questions_are_one_number_where_a_look_is_a_wait(library: Library) -> None:
    """A value that is not finite goes before a certificate that is met."""
    if library.backend == "dask":
        pytest.skip("a host loop would compute the graph anew at every look")
    x0 = library.array(np.zeros((2, 6, 4)), "float32")

    def run(values: list[float]) -> Any:
        def value_and_grad(x: Any) -> Any:
            return library.array(np.asarray(values), "float32"), x + 1.0

        return minimize(
            value_and_grad, x0, RULE, steps=2, stop=lambda x, value, *_: abs(value), tol=1.0
        )

    assert run([0.5, 2.0]).status == "steps"
    assert run([0.5, -0.5]).status == "tol"
    # A matrix that is lost stops no other.
    found = run([0.5, np.nan])
    assert found.status == "tol"
    assert library.numpy(found.finite).tolist() == [True, False]
    assert run([2.0, np.nan]).status == "steps"
    assert run([np.inf, 0.0]).status == "tol"
    found = run([np.inf, np.nan])
    assert found.status == "nonfinite"
    assert library.numpy(found.finite).tolist() == [False, False]
    assert library.numpy(found.history.step).tolist() == [0]


def test_the_others_of_a_stack_go_on_as_if_alone() -> None:
    target = support.gaussian(3, 4, 4)
    start = np.zeros((3, 4, 4))
    start[1, 2, 2] = np.nan
    found = minimize(distance(target), start, RULE, steps=20)
    assert found.status == "steps"
    assert found.finite.tolist() == [True, False, True]
    assert np.isnan(found.x[1]).all()
    for i in (0, 2):
        alone = minimize(distance(target[i]), start[i], RULE, steps=20)
        np.testing.assert_allclose(found.x[i], alone.x, atol=1e-13)
        np.testing.assert_allclose(found.value[i], alone.value, atol=1e-13)


def test_the_value_reaches_a_polyak_step() -> None:
    """One step from any point onto the solution: the step is (f - f*) / ||G|| along G."""
    target = support.gaussian(6, 4)

    def value_and_grad(x: Any) -> Any:
        d = x - target
        return np.linalg.norm(d), d / np.linalg.norm(d)

    found = minimize(
        value_and_grad,
        np.zeros_like(target),
        rules.NormalizedGradient(schedules.polyak()),
        steps=1,
    )
    np.testing.assert_allclose(found.x, target, atol=1e-12)
