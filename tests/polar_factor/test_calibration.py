"""Which method `orthogonalize` takes by itself: the table, its look-up, and how it is made."""

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from specdesc import orthogonalize
from specdesc._polar_factor import method as table
from specdesc._polar_factor.method import Method, fastest_method

ROOT = Path(__file__).parents[2]
TABLE = tomllib.loads(
    (ROOT / "specdesc" / "_polar_factor" / "calibration.toml").read_text(encoding="utf-8")
)
WORKING = {"real32": 16 * 2.0**-23, "real64": 16 * 2.0**-52, "half": 4 * 2.0**-7}
METHODS = get_args(Method)


def chosen(measured, shape, *, precision="real32", tol=0.1, floor=1e-3, allowed=METHODS):
    return fastest_method(measured, shape, precision, tol, WORKING[precision], floor, allowed)


def decisions():
    for backend, precisions in TABLE["methods"].items():
        for precision, kinds in precisions.items():
            for kind, row in kinds.items():
                for tol, decision in row.items():
                    yield backend, precision, kind, tol, decision


def test_every_decision_is_methods_with_rising_limits_between():
    found = list(decisions())
    assert {backend for backend, *_ in found} == {"numpy", "torch"}
    for *_, tol, decision in found:
        assert tol in {*TABLE["tolerances"], "working"}
        assert len(decision) % 2 == 1
        assert set(decision[::2]) <= set(METHODS) - {"auto"}
        limits = decision[1::2]
        assert limits == sorted(set(limits))
        assert all(a != b for a, b in zip(decision[::2], decision[2::2], strict=False))


def test_the_choice_is_what_the_table_says():
    """Every row, at the ends of every interval."""
    for backend, precision, kind, tol, decision in decisions():
        if precision not in WORKING:
            continue
        floor, aspect, batch = kind.split(", ")
        for i, method in enumerate(decision[::2]):
            first = decision[2 * i - 1] + 1 if i else 1
            last = decision[2 * i + 1] if 2 * i + 1 < len(decision) else 2 * first
            for side in (first, last):
                shape = (side, 4 * side if aspect == "tall" else side)
                found = chosen(
                    backend,
                    (10, 10, *shape) if batch == "stack" else shape,
                    precision=precision,
                    tol=TABLE["tolerances"].get(tol),
                    floor=1e-4 if floor == "floor" else None,
                )
                assert found == method


@pytest.mark.parametrize("measured", [None, "jax", "dask", "cupy", "array_api_strict"])
def test_without_measurements_there_is_a_documented_default(measured):
    both = ("svd", "polynomial")
    assert chosen(measured, (32, 500), allowed=both) == "svd"
    assert chosen(measured, (33, 500), allowed=both) == "polynomial"
    assert chosen(measured, (500, 500), tol=None, allowed=both) == "svd"
    assert chosen(measured, (500, 500), precision="half", tol=None, allowed=both) == "polynomial"


def test_what_a_backend_has_not_is_never_chosen():
    for backend in ("numpy", "torch", None):
        for side in (4, 40, 4000):
            for tol in (0.3, 1e-4, None):
                for allowed in (("polynomial",), ("svd", "polynomial")):
                    assert chosen(backend, (side, side), tol=tol, allowed=allowed) in allowed


def test_tolerances_are_looked_up_by_ratio():
    names = {*TABLE["tolerances"], "working"}

    def nearest(tol, among=names):
        wish = table._Case((9, 9), 1, "real64", tol, WORKING["real64"], True)
        return table._nearest(wish, among, TABLE["tolerances"])

    expected = {0.2: "0.3", 0.15: "0.1", 2e-4: "1e-3", 1e-5: "1e-6", 1e-12: "working"}
    assert {tol: nearest(tol) for tol in expected} == expected
    assert nearest(None) == "working"
    assert nearest(1e-12, {"0.3", "1e-3"}) == "1e-3"


def test_orthogonalize_runs_the_method_of_the_table():
    """Where code may look at values; the counts tell the SVD from the products."""
    rng = np.random.default_rng(0)
    for side in (8, 64, 200):
        for tol in (0.3, None):
            x = rng.standard_normal((side, 2 * side))
            method = chosen("numpy", x.shape, precision="real64", tol=tol)
            auto = orthogonalize(x, tol=tol, floor=1e-3, full_output=True)
            same = orthogonalize(x, tol=tol, floor=1e-3, method=method, full_output=True)
            if same.status == 0:
                assert int(auto.products) == int(same.products)
                np.testing.assert_array_equal(auto.factor, same.factor)


@pytest.mark.slow
def test_the_table_can_be_made_again(tmp_path):
    pytest.importorskip("torch", reason="the table has decisions for torch")
    pytest.importorskip("tqdm", reason="calibration shows its progress")
    out = tmp_path / "calibration.toml"
    command = [sys.executable, "-m", "benchmarks.calibrate", "--quick", "--rounds", "2"]
    subprocess.run([*command, "--out", str(out)], cwd=ROOT, check=True, capture_output=True)
    made = tomllib.loads(out.read_text(encoding="utf-8"))
    assert made["tolerances"] == TABLE["tolerances"]
    for backend, precisions in TABLE["methods"].items():
        assert made["methods"][backend].keys() == {"real32"}
        assert made["methods"][backend]["real32"].keys() == precisions["real32"].keys()
