"""A run that goes on from its file: bit for bit, and not from the file of another run."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from specdesc import minimize, norms, preconditioners, prox, rules, schedules
from specdesc._driver import fingerprint
from specdesc._driver.packing import pack, unpack
from specdesc._lib import host
from tests import support
from tests.driver import killed_run
from tests.support import Library

NUMPY = support.LIBRARIES[0]


def leaf(library: Library) -> Any:
    """Return the backend of a library, also of one that has no leaf."""
    if library.backend == "array_api_strict":
        from specdesc.backends.generic import agnostic

        return agnostic(library.xp)
    return library.leaf


def bits(library: Library, x: Any) -> bytes:
    return bytes(library.numpy(x).tobytes())


# --- arrays --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("way", "dtype"),
    [
        pytest.param(way, dtype, id=f"{way.name}-{dtype}")
        for way in support.LIBRARIES
        if way.backend != "dask" and way.missing() is None
        for dtype in (("bfloat16", "complex64") if way.compiles else (*way.dtypes, "int32"))
    ],
)
def test_an_array_comes_back(way: Library, dtype: str) -> None:
    """All dtypes, bits, shapes and devices, and the order of the axes in memory."""
    with way.context():
        check_that_arrays_come_back(way, dtype)


def check_that_arrays_come_back(library: Library, dtype: str) -> None:
    backend = leaf(library)
    xp = backend.xp
    shapes = ((2, 3, 4), (3,), (), (0, 3), (1, 1, 4))
    for shape in ((2, 3), ()) if library.compiles else shapes:
        host = 100.0 * support.gaussian(*shape, dtype="complex64" if "complex" in dtype else dtype)
        host = np.asarray(host)
        if dtype != "int32" and host.size > 2:
            host = host.copy()
            host.flat[:3] = np.nan, -0.0, np.inf
        x = library.array(np.asarray(host.real if "int" in dtype else host), dtype)
        axes = tuple(range(x.ndim))
        for order in (axes, axes[::-1], (*axes[:-2], *axes[-2:][::-1])):
            y = xp.permute_dims(x, order) if x.ndim else x
            again = unpack(pack(y, backend=backend), x, backend=backend)
            support.assert_array(library, again, y, y.shape, dtype)
            assert bits(library, again) == bits(library, y)
            if library.backend == "torch":
                assert again.stride() == y.stride() or 1 in y.shape or 0 in y.shape
            if library.backend == "numpy" and y.ndim:
                assert again.strides == y.strides or 1 in y.shape or 0 in y.shape


def test_a_file_is_replaced_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    host.write_npz(path, {"x": np.ones(3)})
    (tmp_path / ".file.part").write_bytes(b"what a killed writer left")
    host.write_npz(path, {"x": np.zeros(3)})
    assert (host.read_npz(path)["x"] == 0).all()
    assert os.listdir(tmp_path) == ["file"]

    def full(*_: Any, **__: Any) -> None:
        msg = "no space left on device"
        raise OSError(msg)

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="no space"):
        host.write_npz(path, {"x": np.ones(3)})
    assert (host.read_npz(path)["x"] == 0).all()
    assert os.listdir(tmp_path) == ["file"]


# --- runs ----------------------------------------------------------------------------------------


def noisy(library: Library, dtype: str) -> tuple[Any, Any]:
    """Return a stochastic objective and a start."""
    target = library.array(support.gaussian(2, 6, 4), dtype)
    xp = leaf(library).xp

    def value_and_grad(x: Any, sample: float) -> Any:
        apart = x - sample * target
        return xp.sum(xp.sum(xp.abs(apart) ** 2, axis=-1), axis=-1), apart

    return value_and_grad, 0 * target


def shrinking(t: int) -> float:
    return 1.0 + 0.5 / (1.0 + t)


@pytest.mark.parametrize("dtype", ["float32", "complex64", "bfloat16"])
def test_a_resumed_run_is_the_same(library: Library, dtype: str, tmp_path: Path) -> None:
    if library.backend == "dask" or dtype not in library.dtypes:
        pytest.skip("there is no such run")
    if library.name not in ("numpy", "torch") and dtype != "float32":
        pytest.skip("tried on the libraries themselves")
    value_and_grad, x0 = noisy(library, dtype)
    rule = rules.NormalizedGradient(schedules.geometric(0.5, 0.8))

    def certificate(x: Any, value: Any, grad: Any, state: Any) -> Any:
        return 2.0 * value

    def run(steps: int, **options: Any) -> Any:
        return minimize(
            value_and_grad,
            x0,
            rule,
            steps=steps,
            samples=shrinking,
            stop=certificate,
            tol=0.0,
            **options,
        )

    whole = run(6)
    path = tmp_path / "run"
    for steps in (3, 4, 6, 6):
        found = run(steps, checkpoint=path, checkpoint_every=2)
        for mine, theirs in (
            zip(support.leaves(found), support.leaves(whole), strict=True) if steps == 6 else ()
        ):
            if not isinstance(mine, str):
                like = x0 if "float" in library.dtype(mine) else mine
                support.assert_array(library, mine, like, theirs.shape, library.dtype(theirs))
                assert bits(library, mine) == bits(library, theirs)
    assert json.loads(str(np.load(path)["note"]))["status"] == "steps"


RULES = {
    "spectral": rules.SpectralDescent(0.1, weight_decay=0.1),
    "truncated": rules.TruncatedSpectralDescent(2, schedules.geometric(0.5, 0.95), g=prox.Rank(2)),
    "muon": rules.Muon(0.02),
    "scion": rules.Scion(0.1, norm=norms.Nuclear(), radius=3.0),
    "momentum": rules.ProximalSpectral(
        0.1, preconditioner=preconditioners.Tanh(eps=0.1), g=prox.Nuclear(0.1)
    ),
    "storm": rules.ProximalStorm(
        0.1, preconditioner=preconditioners.SoftSign(eps=0.1), g=prox.FrobeniusBall(2.0)
    ),
    "one gradient": rules.ProximalStorm(
        0.1, preconditioner=preconditioners.Sign(), g=prox.SpectralBall(1.0), approximate=True
    ),
}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
@pytest.mark.parametrize("layout", ["C", "F"])
def test_every_rule_goes_on(rule: Any, layout: Any, tmp_path: Path) -> None:
    """At every step there is, from points whose rows or whose columns are contiguous."""
    target = support.gaussian(9, 7)
    mix = support.gaussian(9, 9)

    def value_and_grad(x: Any, sample: int) -> Any:
        apart = mix @ (x - target) + 0.1 * support.gaussian(9, 7, seed=sample)
        return (apart**2).sum() / 18.0, mix.T @ apart / 9.0

    def run(steps: int, **options: Any) -> Any:
        x0 = np.asarray(np.zeros_like(target), order=layout)
        return minimize(
            value_and_grad,
            x0,
            rule,
            steps=steps,
            samples=lambda t: t,
            history_budget=7,
            **options,
        )

    whole = run(23)
    for steps in range(24):
        found = run(steps, checkpoint=tmp_path / "run", checkpoint_every=5)
    for mine, theirs in zip(support.leaves(found), support.leaves(whole), strict=True):
        assert np.array_equal(mine, theirs)
    assert found.history.step.tolist() == [0, 4, 8, 12, 16, 20, 23]


def test_the_history_is_a_function_of_the_last_step_and_the_budget() -> None:
    def value_and_grad(x: Any) -> Any:
        return np.asarray(float(x[0, 0])), np.ones_like(x)

    rule = rules.NormalizedGradient(1.0)
    for budget in (2, 3, 5, 8):
        for steps in range(40):
            found = minimize(
                value_and_grad, np.zeros((1, 1)), rule, steps=steps, history_budget=budget
            )
            kept = found.history.step.tolist()
            assert found.history.value.tolist() == [-float(step) for step in kept]
            assert kept[0] == 0
            assert kept[-1] == steps
            assert len(kept) <= budget
            stride = kept[1] - kept[0] if len(kept) > 2 else steps
            assert kept[:-1] == [step for step in range(steps) if stride and step % stride == 0]
            if len(kept) > 2:
                assert stride & (stride - 1) == 0
                # Half the stride would not fit.
                assert stride == 1 or steps // (stride // 2) + 2 > budget


def test_a_rule_gets_the_gradient_of_the_sample_at_the_point_before() -> None:
    seen = []

    class Watching(rules.NormalizedGradient):
        needs_previous_grad = True  # type: ignore[misc]

        def update(self, x: Any, grad: Any, state: Any, /, **options: Any) -> Any:
            seen.append((x, grad, options["previous_grad"]))
            return super().update(x, grad, state, **options)

    def value_and_grad(x: Any, sample: int) -> Any:
        return np.asarray(1.0), x + 10.0 * sample + 1.0

    minimize(value_and_grad, np.zeros((2, 2)), Watching(0.1), steps=4, samples=lambda t: t)
    assert (seen[0][2] == seen[0][1]).all()
    for t in range(1, 4):
        assert (seen[t][2] == seen[t - 1][0] + 10.0 * t + 1.0).all()


def test_a_run_that_ended_ends_again(tmp_path: Path) -> None:
    """With its status; a new tolerance, or a callback that says no more, lets it go on."""
    target = support.gaussian(6, 4)

    def value_and_grad(x: Any) -> Any:
        norm = np.linalg.norm(x - target)
        return norm, (x - target) / norm

    def run(name: str, **options: Any) -> Any:
        rule = rules.NormalizedGradient(0.1)
        path = tmp_path / name
        return minimize(
            options.pop("objective", value_and_grad),
            0 * target,
            rule,
            steps=30,
            checkpoint=path,
            **options,
        )

    def value(x: Any, value: Any, grad: Any, state: Any) -> Any:
        return value

    first = run("tol", stop=value, tol=3.0)
    again = run("tol", stop=value, tol=3.0)
    assert first.status == again.status == "tol"
    assert (first.x == again.x).all()
    assert run("tol", stop=value, tol=2.0).value < 2.0 < first.value
    asked = run("callback", callback=lambda t, x, value: t == 7)
    assert asked.status == "callback"
    assert run("callback").history.step.tolist() == list(range(31))

    def broken(x: Any) -> Any:
        norm, grad = value_and_grad(x)
        return (norm if norm > 3.0 else np.nan * norm), grad

    ended = [run("nonfinite", objective=broken) for _ in range(2)]
    assert ended[0].status == ended[1].status == "nonfinite"
    assert (ended[0].x == ended[1].x).all()
    assert ended[0].value == ended[1].value > 3.0
    np.testing.assert_array_equal(ended[0].history.value, ended[1].history.value)


def test_the_file_of_another_run_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run"
    target = support.gaussian(6, 4)

    def objective(scale: float) -> Any:
        def value_and_grad(x: Any, sample: Any = None) -> Any:
            return scale * ((x - target) ** 2).sum(), scale * (x - target)

        return value_and_grad

    def run(scale: float = 1.0, dtype: str = "float64", **options: Any) -> Any:
        rule = options.pop("rule", rules.SpectralDescent(schedules.geometric(1.0, 0.9)))
        x0 = options.pop("x0", np.zeros_like(target))
        steps = options.pop("steps", 5)
        return minimize(
            objective(scale), x0.astype(dtype), rule, steps=steps, checkpoint=path, **options
        )

    run()
    run()
    for options, message in (
        ({"rule": rules.SignDescent(0.1)}, "its rule is SpectralDescent.*of this call is SignDesc"),
        (
            {"rule": rules.SpectralDescent(schedules.geometric(1.0, 0.8))},
            "its rule is .*ratio=0.9.* and that of this call is .*ratio=0.8",
        ),
        ({"dtype": "float32"}, "its state|its x0 is array .* float64 .* is array .* float32"),
        ({"x0": np.zeros((7, 4))}, r"its x0 is array \(6, 4\) .* is array \(7, 4\)"),
        ({"x0": np.ones((6, 4))}, "its x0 is array"),
        ({"samples": lambda t: t}, "its samples is None, and that of this call is given"),
        ({"stop": lambda *_: np.asarray(1.0), "tol": 0.1}, "its stop is None"),
        ({"history_budget": 9}, "its history_budget is 4096, and that of this call is 9"),
        ({"scale": 2.0}, "of another objective, or value_and_grad is no pure function"),
        ({"steps": 3}, "of step 5, beyond steps=3"),
    ):
        with pytest.raises(ValueError, match=message):
            run(**options)
    torch = pytest.importorskip("torch", reason="torch is not installed")
    with pytest.raises(ValueError, match="its backend is numpy, and that of this call is torch"):
        minimize(
            objective(1.0), torch.zeros(6, 4), rules.SignDescent(0.1), steps=5, checkpoint=path
        )


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    x0 = np.ones((3, 2))

    def run(path: Any) -> Any:
        return minimize(
            lambda x: (x.sum(), x), x0, rules.SignDescent(0.1), steps=4, checkpoint=path
        )

    path = tmp_path / "run"
    run(path)
    whole = path.read_bytes()
    middle = len(whole) // 2
    for content in (b"", b"PK", whole[:middle], b"text", whole[: middle - 9] + whole[middle:]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"run cannot be read as an archive of arrays"):
            run(path)
    with path.open("wb") as file:
        np.save(file, x0)
    with pytest.raises(ValueError, match="one array alone"):
        run(path)
    with path.open("wb") as file:
        np.savez(file, x=np.asarray([object()]))
    with pytest.raises(ValueError, match="allow_pickle"):
        run(path)
    with path.open("wb") as file:
        np.savez(file, x=x0)
    with pytest.raises(ValueError, match="not a checkpoint of minimize"):
        run(path)
    with path.open("wb") as file:
        np.savez(file, note=np.asarray(json.dumps({"format": 99})))
    with pytest.raises(ValueError, match="a checkpoint of format 99, this version reads 1"):
        run(path)
    for place in (tmp_path, tmp_path / "nowhere" / "run"):
        with pytest.raises(ValueError, match="a file in a folder that exists"):
            run(place)


def test_a_rule_is_described_by_all_of_its_numbers() -> None:
    def words(rule: Any) -> str:
        backend = NUMPY.leaf
        return fingerprint.of_object(rule, np.ones(1), backend=backend)

    def rate(t: float, start: float = 2.0, **_: Any) -> float:
        return start / (t + 3.0)

    def recursive(t: int, **_: Any) -> float:
        return 1.0 if t == 0 else 0.5 * recursive(t - 1)

    assert words(rules.SpectralDescent(rate)) == words(rules.SpectralDescent(rate))
    assert "2.0" in words(rules.SpectralDescent(rate))
    assert "3.0" in words(rules.SpectralDescent(rate))
    assert "0.5" in words(recursive)
    assert "0x" not in words(rules.SpectralDescent(recursive))
    shifts = [prox.Translated(prox.Rank(1), number * np.ones((2, 2))) for number in (1.0, 2.0)]
    assert words(shifts[0]) != words(shifts[1])
    assert words({"a": [1, (2.0, None)]}) == "{a=[1, [2.0, None]]}"
    assert words(np.random.default_rng(0)) == "numpy.random._generator.Generator"
    assert words(norms.KyFan(2).value) == "KyFan(k=2).value"


# --- killed runs ---------------------------------------------------------------------------------


def kill_and_resume(library: str, kills: int, steps: int, seed: int, folder: Path) -> None:
    """Kill a run again and again at random moments, and compare it with one that lived."""
    rng = np.random.default_rng(seed)
    path, result = folder / "run", folder / "result.npz"
    place = str(Path(__file__).parents[2])
    command = [sys.executable, killed_run.__file__, library, str(path), str(steps), str(result)]
    said = 0
    for count in range(kills + 1):
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": place}
        ) as process:
            assert process.stdout is not None
            said = int(process.stdout.readline())
            if count < kills:
                time.sleep(rng.uniform(0.0, 0.05))
                process.send_signal(signal.SIGKILL)
            lines = process.stdout.read().split()
        assert process.returncode == (-signal.SIGKILL if count < kills else 0)
        last = int(lines[-1]) if lines else said
        assert last == steps or count < kills, "all steps were made before the last kill"
        if path.exists():
            # Whatever the moment was, the file is whole and at most one interval behind.
            reached = json.loads(str(host.read_npz(path)["note"]))["step"]
            assert reached > last - 1 - killed_run.EVERY
    expected = killed_run.as_arrays(library, killed_run.run(library, steps))
    with np.load(result) as found:
        assert set(found) == set(expected)
        for name in found:
            assert found[name].tobytes() == expected[name].tobytes(), name


def test_a_run_that_is_killed_twice(tmp_path: Path) -> None:
    kill_and_resume("numpy", 2, 120, 0, tmp_path)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", ["numpy", "torch"])
def test_a_run_that_is_killed_fifty_times(name: str, tmp_path: Path) -> None:
    pytest.importorskip(name, reason=f"{name} is not installed")
    kill_and_resume(name, 50, 2500, 1, tmp_path)
