"""The claims: the fast ones as they stand, the others slow; the mathematics that they rest on."""

import json

import numpy as np
import pytest

from specdesc import backends, minimize, norms, problems, rules, schedules
from specdesc.preconditioners import Sqrt
from specdesc.prox import SpectralBall
from specdesc.verify import (
    CLAIMS,
    Trial,
    effect_of_k,
    heavy_tailed_rate,
    linear_convergence,
    phase_diagram,
    polar_express_kappa,
    races,
    rates,
    storm_rate,
    weight_decay_rates,
)
from tests import support

pytest.importorskip("matplotlib", reason="figures need the extra demo")

#: What is known to fail is written here, so that nothing fails unseen.
EXPECTED = dict.fromkeys(CLAIMS, "holds") | {
    "counterexample": "fails",
    "effect-of-k": "fails",
    "heavy-tailed-rate": "fails",
    "ill-conditioned": "undecided",
}


def _trial(folder, *, quick=True):
    return Trial(quick, backends.load("numpy"), folder, lambda _: None)


def _found(name, folder, *, quick=True):
    from matplotlib.figure import Figure

    finding = CLAIMS[name].run(_trial(folder, quick=quick))
    assert finding.sentence.endswith(".")
    json.dumps(finding.numbers, allow_nan=False)
    figure = Figure(figsize=(8, 4), layout="constrained")
    finding.draw(figure)
    assert figure.axes
    again = CLAIMS[name].run(_trial(folder, quick=quick))  # all of it from disk
    assert json.dumps(again.numbers) == json.dumps(finding.numbers)
    return finding


@pytest.mark.parametrize("name", ["linear-convergence", "polar-express-kappa"])
def test_quick_claims(name, tmp_path):
    assert _found(name, tmp_path).verdict == EXPECTED[name]


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", [name for name in CLAIMS if name != "constrained-training"])
def test_all_claims(name, tmp_path):
    assert _found(name, tmp_path).verdict == EXPECTED[name]


# --- recovery -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("share", "name", "setting", "steps"),
    [
        (0.1, "TSD k=5", races.Geometric(0.9, 0.3), 150),
        (0.1, "SD", races.Geometric(0.9, 0.6), 150),
        (0.3, "TSD k=5", races.Geometric(0.95, 0.3), 300),
    ],
)
def test_recovery_in_the_settings_of_the_theory(tmp_path, share, name, setting, steps):
    problem = problems.random_recovery(20, 2, measurements=2000, outliers=share, seed=1)
    curve = races.errors(_trial(tmp_path), problem, name, setting, steps)
    assert curve[-1] < (1e-7 if share == 0.1 else 4e-7)
    assert races.first_below(curve) <= (127 if share == 0.1 else 279)


# --- steps that know the error ----------------------------------------------------------------


@pytest.mark.parametrize("a", [0.0, 0.5, 0.9])
def test_steps_in_proportion_to_the_error_keep_their_bound(rng, a):
    n, rho = 10, 2 / (1 + a) - 1
    problem = problems.NuclearDistance(rng.standard_normal((n, n)), a)
    x = problem.start()
    for t in range(300):
        bound = (1 - rho**2 / n) ** (t / 2)
        assert problem.error(x) <= bound * (1 + 1e-12)
        step = rho / n * np.linalg.norm(x - problem.truth)
        rule = rules.SpectralDescent(step)
        x, _ = rule.update(x, problem.value_and_grad(x)[1], rule.init(x))
    assert problem.error(x) < (1e-6 if a == 0 else 0.9)


# --- alignment --------------------------------------------------------------------------------


def test_alignment_bounds_hold_and_are_not_vacuous():
    slack = effect_of_k._bounds(200)
    assert all(0.0 <= each < 0.5 for each in slack.values())


def test_the_nuclear_pair_is_attained():
    """<U V', D> = (2 mu / L - 1) ||D||_* for a diagonal pair: the bound 6.2 cannot be improved."""
    grad, d = np.diag([2.0, 1e-13]), np.diag([0.75, -0.25])
    mu = np.sum(grad * d) / np.linalg.norm(d, "nuc")
    gained = np.sum(support.polar_factor(grad) * d)
    assert gained == pytest.approx((2 * mu / 2.0 - 1) * np.linalg.norm(d, "nuc"), abs=1e-12)


def test_the_statistical_form(rng):
    """||G - c D/||D||_F||_2 <= eps implies <P_k, D> >= (Ky Fan(D / ||D||) - 2 k eps / c) ||D||."""
    for _ in range(50):
        d = rng.standard_normal((6, 5))
        unit = d / np.linalg.norm(d)
        noise = 0.05 * rng.standard_normal((6, 5))
        grad = 0.8 * unit + noise
        for k in range(1, 6):
            gained = np.sum(norms.KyFanDual(k).direction(grad) * d)
            bound = support.ky_fan(unit, k) - 2 * k * support.spectral_norm(noise) / 0.8
            assert gained >= bound * np.linalg.norm(d) - 1e-12


# --- how far fixed ratios of steps reach ----------------------------------------------------------


def test_steps_that_do_not_add_up_do_not_arrive(rng):
    problem = problems.NuclearDistance(rng.standard_normal((6, 6)))
    rule = rules.TruncatedSpectralDescent(2, schedules.geometric(0.1, 0.8), tol=None)
    found = minimize(problem.value_and_grad, problem.start(), rule, steps=200)
    norm = norms.KyFanDual(2)
    left = norm.value(found.x - problem.truth)
    assert left >= norm.value(problem.truth) - 0.1 / 0.2 - 1e-12
    assert left > 0.5


def test_sharpness_under_both_noises(rng):
    """f(X) - f(X*) >= mu ||D||_F - (2/m) ||w||_1, with the constants measured on the data."""
    share, noise, m = 0.1, 0.01, 4000
    problem = problems.random_recovery(6, 2, measurements=m, outliers=share, noise=noise, seed=3)
    matrices = problem.observation.matrices
    exact = np.tensordot(matrices, problem.truth, 2)
    order = np.argsort(-np.abs(problem.observed - exact))
    outside = order[round(share * m) :]  # at least as good a support as the true one
    dense = np.abs(problem.observed - exact)[outside]
    best = problem.value_and_grad(problem.truth)[0]
    for scale in (1e-3, 1e-1, 10.0):
        for _ in range(5):
            d = scale * rng.standard_normal((6, 6))
            a = np.abs(np.tensordot(matrices, d, 2))
            bound = (2 * a[outside].sum() - a.sum() - 2 * dense.sum()) / m
            assert problem.value_and_grad(problem.truth + d)[0] - best >= bound - 1e-12


# --- the pieces of the claims ---------------------------------------------------------------------


def test_the_measure_of_a_run_is_that_of_the_last_half_of_its_steps():
    problem = problems.random_quadratic(8, 6, seeds=(1, 2), relative=0.3)
    step, beta = schedules.storm(40)
    rule = rules.ProximalStorm(step, beta=beta, preconditioner=Sqrt(eps=0.1), g=SpectralBall(1.0))
    found = rates.mean_stationarity(problem, rule, 40)
    x = before = problem.start()
    d, total = None, np.zeros(2)
    for t in range(40):
        sample = problem.sample(t)
        new, old = (problem.value_and_grad(z, sample)[1] for z in (x, before))
        d = new if t == 0 else new + beta(t) * (d - old)
        y = x - step(t) * Sqrt(eps=0.1)(d)
        u, s, vh = np.linalg.svd(y, full_matrices=False)
        after = (u * np.minimum(s, 1.0)[..., None, :]) @ vh
        exact = problem.value_and_grad(after)[1]
        kernel, w = Sqrt(eps=0.1), (after - y) / step(t) * (1 - 1e-12)
        inner = np.sum(w * exact, axis=(-2, -1))
        if t >= 20:
            total += kernel.conjugate(exact) + kernel.reference(w) - inner
        before, x = x, after
    np.testing.assert_allclose(found, total / 20, rtol=1e-6)


def test_lanes_are_runs_of_their_own(tmp_path):
    """Side by side as one by one, and a lane without noise has none."""
    lanes = [rates.Lane(0.3, 0.0, 0.05, 0.9), rates.Lane(0.0, 0.0, 0.1, 0.5)]
    together = rates.measured(_trial(tmp_path), lanes, 30, (1, 2), 2.5)
    for lane, row in zip(lanes, together, strict=True):
        given = problems.random_quadratic(8, 6, seeds=(1, 2), tail=2.5, noise=lane.noise)
        rule = rules.ProximalSpectral(
            lane.step, beta=lane.beta, preconditioner=rates.PRECONDITIONER, g=rates.ball()
        )
        np.testing.assert_allclose(row, rates.mean_stationarity(given, rule, 30), rtol=1e-9)


@pytest.mark.parametrize("noise", [0.3, 3.0])
def test_a_run_without_noise_is_no_measure_of_noise(noise):
    """What a rate claims about noise must be gone without it: the control of the claims."""
    step, beta = schedules.heavy_tailed(500)

    def mean(level):
        given = problems.random_quadratic(8, 6, seeds=(1, 2, 3), noise=level)
        rule = rules.ProximalSpectral(
            step, beta=beta, preconditioner=rates.PRECONDITIONER, g=rates.ball()
        )
        return np.mean(rates.mean_stationarity(given, rule, 500))

    assert mean(0.0) < mean(noise) / rates.DOMINATES


def test_noise_that_does_not_dominate_decides_nothing():
    measured = {"means": [1.0, 0.5], "control": [0.9, 0.4], "interval": [-0.9, -0.8]}
    assert not rates.dominated(measured)
    assert storm_rate._verdict(measured, [0.5, 0.4, 0.6]) == "undecided"
    heard = measured | {"control": [0.1, 0.01]}
    assert storm_rate._verdict(heard, [0.5, 0.4, 0.6]) == "holds"
    assert storm_rate._verdict(heard, [1.5, 1.4, 1.6]) == "fails"
    kind = heavy_tailed_rate.Kind(50.0, 2.0, 1.0)
    assert heavy_tailed_rate._verdict(heard, [1.2, 1.1, 1.3], kind) == "holds"
    assert heavy_tailed_rate._verdict(heard, [1.0, 0.9, 1.1], kind) == "undecided"
    assert heavy_tailed_rate._verdict(heard, [0.8, 0.7, 0.9], kind) == "fails"


def test_the_quotient_is_that_of_pairs(rng):
    rows = rng.exponential(size=20)
    middle, low, high = rates.quotient(2.0 * rows, rows)
    np.testing.assert_allclose([middle, low, high], 2.0)  # one seed is as good as another
    middle, low, high = rates.quotient(rng.exponential(size=20), rows)
    assert low < middle < high


def test_slopes_find_the_power_and_its_spread(rng):
    lengths = (100, 1000, 10000)
    exact = rates.slopes(lengths, [[3.0 * k**-0.4] * 10 for k in lengths])
    assert exact["slope"] == pytest.approx(-0.4)
    np.testing.assert_allclose(exact["interval"], -0.4)
    noisy = [3.0 * k**-0.25 * np.exp(0.3 * rng.standard_normal(12)) for k in lengths]
    found = rates.slopes(lengths, [row.tolist() for row in noisy])
    low, high = found["interval"]
    assert low < found["slope"] < high
    assert 0.02 < high - low < 0.3


@pytest.mark.parametrize(
    ("interval", "verdict"),
    [((-0.3, -0.26), "holds"), ((-0.22, -0.1), "undecided"), ((-0.19, -0.1), "fails")],
)
def test_the_verdict_on_a_slope(interval, verdict):
    assert rates.verdict({"interval": interval}, -0.25) == verdict


def test_the_worst_verdict_counts():
    assert rates.worst(["holds", "undecided", "holds"]) == "undecided"
    assert rates.worst(["undecided", "fails"]) == "fails"
    assert rates.worst(["holds"]) == "holds"


def test_arrivals_and_their_score():
    assert races.first_below([1.0, 1e-7, 1.0]) == 1
    assert races.first_below([1.0, 1e-5]) is None
    late, early = [1.0] * 9 + [1e-7], [1.0, 1e-7] + [1.0] * 8
    missed, lost = [1.0] * 9 + [1e-5], [1.0] * 9 + [50.0]
    scores = [races.score(each) for each in (early, late, missed, lost)]
    assert scores == sorted(scores)
    assert races.summary({"a": [3, None, 7], "b": [5, 4]}) == {"a": [3, None], "b": [4, 5]}


def test_joined_recoveries_are_the_single_ones(tmp_path):
    each = [
        problems.random_recovery(5, 1, measurements=30, outliers=p, noise=0.1, seed=4)
        for p in (0.0, 0.2)
    ]
    stack = races.joined(_trial(tmp_path), each)
    x = support.gaussian(2, 5, 5)
    for i in (0, 1):
        for ours, single in zip(stack.value_and_grad(x), each[i].value_and_grad(x[i]), strict=True):
            np.testing.assert_allclose(ours[i], single, rtol=1e-12, atol=1e-14)


def test_published_iterations_have_the_slopes_of_the_table():
    slopes = {"Polar Express, 5 steps": 966.6, "Polar Express, 6 steps": 1810.0}
    slopes |= {"cubic Newton-Schulz, 10 steps": 57.7, "Newton-Schulz of Muon, 5 steps": 484.9}
    for name, slope in slopes.items():
        assert polar_express_kappa.iteration(name).slope == pytest.approx(slope, abs=0.06)


def test_the_planes_ask_where_the_claim_speaks():
    for plane in (phase_diagram.GAUSSIAN, phase_diagram.QUICK[0]):
        assert phase_diagram.FEW in plane.counts
        assert phase_diagram.MILD in plane.shares


def test_weight_decay_bounds_hold_and_would_notice(tmp_path, monkeypatch):
    trial = _trial(tmp_path)
    for kind in ("sublinear", "linear"):
        assert 0.01 < weight_decay_rates._bounded(trial, kind, 0.5) <= 1.0 + 1e-9
    monkeypatch.setattr(weight_decay_rates, "_power", lambda first, q, t: first * (0.9 * q) ** t)
    assert weight_decay_rates._bounded(trial, "linear", 0.5) > 1.0


def test_a_bound_that_is_too_good_would_fail(tmp_path):
    trial = _trial(tmp_path)
    problem = problems.NuclearDistance(linear_convergence._truths(trial))

    def rule(steps):
        return rules.TruncatedSpectralDescent(1, steps, tol=None)

    # One pair of a Gaussian matrix is aligned with it by about 0.6, not by 0.99.
    found = linear_convergence._held(trial, problem.value_and_grad, problem.truth, rule, 1, 0.99)
    assert found["worst"] > 1.0
