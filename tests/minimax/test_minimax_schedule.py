"""The scalar planning: best polynomials, their forms, images of intervals, schedules."""

import itertools
import math
import random
import struct
import time
from fractions import Fraction

import mpmath
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from specdesc import minimax_polynomial
from specdesc.minimax import (
    PRODUCTS,
    cheapest_schedule,
    composed_image,
    evaluation_step,
    image,
    step_polynomial,
    x_side_costs,
)
from specdesc.minimax import schedule as planning
from specdesc.minimax.alternation import best_on, monomials

DEGREES = (3, 5, 7, 9, 17)
STEP_DEGREES = (3, 5, 9, 17)

degrees = st.sampled_from(DEGREES)
lowers = st.floats(-8.0, 0.0, exclude_max=True).map(lambda e: min(10.0**e, 0.999))


# ---------------------------------------------------------------------------
# The oracle: an exchange algorithm with 70 digits
# ---------------------------------------------------------------------------


def remez(lower, degree):
    """Coefficients, error and points of alternation, to about 40 digits."""
    with mpmath.workdps(70):
        one, lower, q = mpmath.mpf(1), mpmath.mpf(lower), degree // 2
        angles = [mpmath.pi * i / (q + 1) for i in range(q + 2)]
        points = [(lower + 1) / 2 - (1 - lower) / 2 * mpmath.cos(a) for a in angles]
        for _ in range(50):
            rows = [
                [x ** (2 * j + 1) for j in range(q + 1)] + [(-1) ** i] for i, x in enumerate(points)
            ]
            *coefficients, error = mpmath.lu_solve(mpmath.matrix(rows), [one] * (q + 2))
            slopes = [(2 * j + 1) * c for j, c in enumerate(coefficients)]
            squares = mpmath.polyroots(slopes[::-1], maxsteps=200, extraprec=400)
            inner = sorted(mpmath.sqrt(mpmath.re(z)) for z in squares)
            moved = max(abs(a - b) for a, b in zip(points[1:-1], inner, strict=True))
            points = [lower, *inner, one]
            if moved < mpmath.mpf(10) ** -35 * (1 - lower):
                break
        return coefficients, abs(error), points


ORACLE_CASES = [
    *itertools.product(DEGREES, (1e-8, 1e-3, 0.3, 0.9, 0.999)),
    (17, 0.03),
    (9, 0.97),
]


@pytest.mark.parametrize(("degree", "lower"), ORACLE_CASES)
def test_polynomial_agrees_with_the_oracle(degree, lower):
    expected, error, _ = remez(lower, degree)
    coefficients, found, deficit = minimax_polynomial(lower, degree)
    assert abs(found / error - 1) < 5e-15
    assert max(abs(c / e - 1) for c, e in zip(coefficients, expected, strict=True)) < 5e-15
    assert abs(deficit / (1 - error) - 1) < 5e-15


@pytest.mark.parametrize("degree", DEGREES)
@pytest.mark.parametrize("lower", [1e-4, 0.1, 0.5, 0.9])
def test_polynomial_equioscillates(degree, lower):
    coefficients, error, _ = minimax_polynomial(lower, degree)
    inner = best_on(degree // 2, lower, float(1 - Fraction(lower))).extrema
    scale = 2.0**-52 * sum(abs(c) for c in coefficients)
    for i, x in enumerate([lower, *inner, 1.0]):
        value = sum(Fraction(c) * Fraction(x) ** (2 * j + 1) for j, c in enumerate(coefficients))
        assert abs(float(1 - value) - (-1) ** i * error) < scale


REFERENCE = [
    (3, 1e-8, 9.9999994803847736e-1, (5.196152261725876, -5.196152209764352)),
    (3, 0.1, 6.0723012727148407e-1, (3.963405079351386, -3.5706352066228697)),
    (3, 0.999, 1.8768765376571714e-7, (1.500750594266059, -0.5007507819537128)),
    (5, 1e-3, 9.9152969630420795e-1, (8.470328803848078, -25.108074706661878, 18.629275599118007)),
    (5, 0.5, 2.4046637126156432e-2, (2.6708353888008127, -3.2853566190584504, 1.6385678673837945)),
    (
        5,
        0.999,
        7.8242311209967768e-11,
        (1.8759382330523238, -1.2518771702659721, 0.37593893729189043),
    ),
    (
        9,
        1e-2,
        8.6103233288829906e-1,
        (
            13.910040144252502,
            -132.77817719849403,
            438.5199021360545,
            -561.6087616895327,
            243.818028940608,
        ),
    ),
    (
        9,
        0.999,
        1.5419370742828054e-17,
        (
            2.4621689180445436,
            -3.28617782893784,
            2.960519980087842,
            -1.4111821455407243,
            0.27467107634617,
        ),
    ),
]


@pytest.mark.parametrize(("degree", "lower", "error", "coefficients"), REFERENCE)
def test_reference_values(degree, lower, error, coefficients):
    found = minimax_polynomial(lower, degree)
    assert found.error == pytest.approx(error, rel=2e-14)
    assert found.coefficients == pytest.approx(coefficients, rel=2e-14)


def test_cubic_closed_form():
    for lower in (1e-6, 0.01, 0.4):
        a = math.sqrt(3.0 / (1.0 + lower + lower * lower))
        b = 4.0 / (2.0 + lower * (1.0 + lower) * a**3)
        found = minimax_polynomial(lower, 3).coefficients
        assert found == pytest.approx((1.5 * a * b, -0.5 * a**3 * b), rel=1e-14)


@settings(deadline=None)
@given(lowers, lowers, degrees)
def test_error_decreases_with_the_lower_end(first, second, degree):
    low, high = sorted((first, second))
    if high - low > 1e-9 * high:
        assert minimax_polynomial(low, degree).error > minimax_polynomial(high, degree).error


@settings(deadline=None)
@given(lowers)
def test_error_decreases_with_the_degree(lower):
    errors = [minimax_polynomial(lower, degree).error for degree in DEGREES]
    assert all(a > b for a, b in itertools.pairwise(errors))


@settings(deadline=None)
@given(lowers, degrees, st.integers(-40, 40))
def test_scale_by_a_power_of_two_is_exact(lower, degree, exponent):
    plain = minimax_polynomial(lower, degree)
    scaled = minimax_polynomial(
        math.ldexp(lower, exponent), degree, upper=math.ldexp(1.0, exponent)
    )
    assert scaled.error == plain.error
    for j, (c, s) in enumerate(zip(plain.coefficients, scaled.coefficients, strict=True)):
        assert s == math.ldexp(c, -exponent * (2 * j + 1))


@settings(deadline=None)
@given(lowers, degrees, st.floats(1e-3, 1e3))
def test_scale_by_any_number(lower, degree, upper):
    lower = min(lower, 0.99)
    plain = minimax_polynomial(lower, degree)
    scaled = minimax_polynomial(lower * upper, degree, upper=upper)
    assert scaled.error == pytest.approx(plain.error, rel=1e-12)
    for j, (c, s) in enumerate(zip(plain.coefficients, scaled.coefficients, strict=True)):
        assert s * upper ** (2 * j + 1) == pytest.approx(c, rel=1e-12)


@pytest.mark.parametrize(
    ("lower", "degree", "upper", "words"),
    [
        (0.0, 3, 1.0, "lower"),
        (-0.1, 3, 1.0, "-0.1"),
        (1.0, 3, 1.0, "lower"),
        (math.nan, 3, 1.0, "nan"),
        (0.1, 4, 1.0, "degree.*4"),
        (0.1, 11, 1.0, "degree.*11"),
        (0.1, 3, math.inf, "upper.*inf"),
        (0.1, 3, -1.0, "upper.*-1"),
        (1e-300, 3, 1.0, "1e-300"),
        (1e-31, 17, 1e-30, "upper=1e-30"),
        (1e29, 17, 1e30, "upper=1e\\+30"),
    ],
)
def test_polynomial_refuses(lower, degree, upper, words):
    with pytest.raises(ValueError, match=words):
        minimax_polynomial(lower, degree, upper=upper)


def test_degree_is_an_integer():
    with pytest.raises(TypeError):
        minimax_polynomial(0.1, 3.0)


# ---------------------------------------------------------------------------
# Evaluation forms
# ---------------------------------------------------------------------------


def best_factor(lower, degree):
    best = best_on(degree // 2, lower, float(1 - Fraction(lower)))
    return monomials(best, 1.0)


@pytest.mark.parametrize("degree", STEP_DEGREES)
@pytest.mark.parametrize("lower", [1e-8, 1e-3, 0.05, 0.5, 0.99])
def test_forms_keep_the_polynomial(lower, degree):
    factor = best_factor(lower, degree)
    step = evaluation_step(factor)
    assert step.degree == degree
    expanded = step_polynomial(step)
    for k in range(101):
        x = Fraction(k, 100)
        error = sum(
            (a - b) * x ** (2 * j + 1)
            for j, (a, b) in enumerate(zip(expanded, factor, strict=True))
        )
        assert abs(error) < 1e-13


@pytest.mark.parametrize(
    ("lower", "series"),
    [
        (1e-3, (3.2644, -3.9765, 3.1099, -2.569, 2.1562)),
        (1e-2, (3.1322, -3.7129, 2.8485, -2.3116, 1.9048)),
        (0.1, (2.4373, -2.3321, 1.4951, -1.0047, 0.6653)),
    ],
)
def test_chebyshev_reference(lower, series):
    c, first, second, third, fourth = series
    folded = (c - fourth, first - third, second, 2 * third, 2 * fourth)
    assert evaluation_step(best_factor(lower, 9)).constants == pytest.approx(folded, abs=2e-4)


def kernel(step, gram):
    """Evaluate r on scalars as the documentation of `Step` says."""
    a0, *c = step.constants
    if step.degree == 17:
        s = 2 * gram - 2 * c[0]
        a = s * s
        v = a * (c[1] * a + c[2] * s)
        rest = c[6] * v + c[7] * a + c[8] * s + a0
        return (v + c[3] * a + c[4] * s) * (v + c[5] * a) + rest
    if step.degree < 9:
        return sum(x * p for x, p in zip(c, (gram, gram * gram), strict=False)) + a0
    s = 2 * gram - 1
    t = 8 * (gram * gram - gram) + 1
    return a0 + c[0] * s + c[1] * t + (c[2] * s + c[3] * t) * t


def horner(step, gram):
    """Evaluate r by the monomials instead."""
    total = 0.0
    for c in reversed(step.coefficients):
        total = gram * total + c
    return total


@pytest.mark.parametrize("degree", STEP_DEGREES)
def test_documented_recipe(degree):
    step = evaluation_step(best_factor(0.2, degree))
    for k in range(51):
        y = k / 50
        exact = sum(c * Fraction(y) ** j for j, c in enumerate(step_polynomial(step)))
        assert kernel(step, y) == pytest.approx(float(exact), abs=1e-11)


def single(x):
    return struct.unpack("f", struct.pack("f", x))[0]


class Single:
    """A float that is rounded to single precision after every operation."""

    def __init__(self, value):
        self.value = single(getattr(value, "value", value))

    def __add__(self, other):
        return Single(self.value + Single(other).value)

    def __sub__(self, other):
        return Single(self.value - Single(other).value)

    def __mul__(self, other):
        return Single(self.value * Single(other).value)

    __radd__, __rmul__ = __add__, __mul__


def single_error(step, evaluate, count=200):
    """Largest error of p in the form, in unit roundoffs of single precision."""
    worst = 0.0
    for k in range(1, count + 1):
        y = single((k / count) ** 2)
        exact = sum(c * Fraction(y) ** j for j, c in enumerate(step_polynomial(step)))
        found = evaluate(step, Single(y)).value
        worst = max(worst, math.sqrt(y) * abs(float(exact) - found) * 2.0**24)
    return worst


@pytest.mark.parametrize("lower", [1e-3, 0.1])
def test_chebyshev_beats_monomial(lower):
    step = evaluation_step(best_factor(lower, 9))
    assert single_error(step, kernel) < 0.2 * single_error(step, horner)


@pytest.mark.parametrize("count", [1, 4, 6, 8])
def test_step_refuses_other_degrees(count):
    with pytest.raises(ValueError, match=f"got {count}"):
        evaluation_step((1.0,) * count)


# ---------------------------------------------------------------------------
# Images
# ---------------------------------------------------------------------------


def value(coefficients, x):
    return sum(Fraction(c) * Fraction(x) ** (2 * j + 1) for j, c in enumerate(coefficients))


@settings(deadline=None)
@given(
    st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=9),
    st.floats(-2.0, 2.0),
    st.floats(-2.0, 2.0),
)
def test_image_contains_sampled_values(coefficients, first, second):
    lower, upper = sorted((first, second))
    low, high = image(coefficients, lower, upper)
    for k in range(33):
        x = min(max(lower + (upper - lower) * k / 32, lower), upper)
        assert low <= value(coefficients, x) <= high


@settings(deadline=None)
@example(0.00025153872068722365, 3)
@given(lowers, degrees)
def test_image_of_the_interval_shows_the_error(lower, degree):
    coefficients, error, _ = minimax_polynomial(lower, degree)
    low, high = image(coefficients, lower, 1.0)
    # A few units in the last place of each coefficient, as promised; at 1 they nearly cancel.
    rounding = 2.0**-50 * sum(abs(c) for c in coefficients)
    assert low == pytest.approx(1.0 - error, abs=rounding)
    assert high == pytest.approx(1.0 + error, abs=rounding)


def test_image_is_attained():
    random.seed(1)
    for _ in range(20):
        coefficients = [random.gauss(0, 1) for _ in range(9)]
        low, high = image(coefficients, 0.0, 1.0)
        dense = [float(value(coefficients, k / 500)) for k in range(501)]
        spread = max(dense) - min(dense)
        assert 0.0 <= min(dense) - low < 1e-3 * spread
        assert 0.0 <= high - max(dense) < 1e-3 * spread


def test_image_special_cases():
    assert image((1.5, -0.5), -1.5, 0.25) == (-1.0, 0.3671875)
    assert image((0.0, 0.0), 0.0, 1.0) == (0.0, 0.0)
    assert image((2.0,), -1.0, 3.0) == (-2.0, 6.0)
    assert image((1.0, 1.0), 0.0, 0.0) == (0.0, 0.0)
    assert image((1.0, 0.0, 1.0), 1e200, 1e201)[1] == math.inf
    for interval in ((1.0, 0.0), (0.0, math.inf), (math.nan, 1.0)):
        with pytest.raises(ValueError, match="lower and upper"):
            image((1.0,), *interval)


# ---------------------------------------------------------------------------
# Schedules
# ---------------------------------------------------------------------------

# Tolerance, floor, degrees, margin, schedule, E, costs.
SCHEDULES = [
    (0.3, 1e-2, (5,), 0.0, (5, 5, 5), 0.27, 12, 18),
    (0.3, 1e-2, (3, 5, 9), 0.0, (3, 5, 9), 0.24, 12, 18),
    (0.12, 1e-3, (5,), 0.0, (5,) * 5, 0.11, 20, 30),
    (0.12, 1e-3, (3, 5, 9), 0.0, (5, 9, 9, 9), 0.058, 19, 30),
    (0.12, 1e-3, (5,), 0.01, (5,) * 6, 1.8e-3, 24, 36),
    (0.12, 1e-3, (3, 5), 0.01, (3, 3, 5, 5, 5, 5), 0.054, 22, 32),
    (1e-2, 1e-3, (5,), 0.0, (5,) * 6, 9.2e-4, 24, 36),
    (1e-2, 1e-3, (3, 5), 0.0, (3, 5, 5, 5, 5, 5), 8.8e-3, 23, 34),
    (1e-2, 1e-3, (3, 5, 9), 0.0, (9,) * 4, 9.8e-3, 20, 32),
    (1e-2, 1e-3, (3, 5, 9), 0.01, (3, 5, 9, 9, 9), 2.9e-3, 22, 34),
    (1e-3, 1e-3, (3, 5, 9), 0.0, (3, 9, 9, 9, 9), 4.3e-5, 23, 36),
    (1e-6, 1e-4, (5,), 0.0, (5,) * 9, 2.1e-15, 36, 54),
    (1e-6, 1e-4, (3, 5), 0.0, (3, 3, *(5,) * 7), 1.3e-7, 34, 50),
    (1e-6, 1e-4, (3, 5, 9), 0.0, (9,) * 6, 4.9e-9, 30, 48),
    (1e-12, 1e-6, (5,), 0.0, (5,) * 12, 9.1e-13, 48, 72),
    (1e-12, 1e-6, (3, 5, 9), 0.0, (5, *(9,) * 8), 8.4e-18, 44, 70),
]


@pytest.mark.parametrize(
    ("tolerance", "floor", "allowed", "margin", "expected", "error", "cost", "dense"), SCHEDULES
)
def test_reference_schedules(tolerance, floor, allowed, margin, expected, error, cost, dense):
    costs = {d: 3.0 + PRODUCTS[d] for d in allowed}  # symmetric products at half the flops
    schedule = cheapest_schedule(floor, tolerance, costs, margin=margin)
    assert schedule.degrees == expected
    assert schedule.cost == cost
    assert schedule.error == pytest.approx(error, rel=0.05)
    assert schedule.bound <= schedule.error * (1.0 + 1e-9) + 4e-15
    prices = x_side_costs(1.0)
    assert sum(prices[d] for d in schedule.degrees) == dense


# Degree, floor, steps, error.
@pytest.mark.parametrize(
    ("degree", "floor", "count", "error"),
    [
        (3, 1e-1, 4, 3.9e-3),
        (3, 1e-3, 10, 3.5e-6),
        (5, 1e-2, 4, 1.3e-2),
        (5, 1e-3, 5, 0.11),
        (5, 1e-6, 11, 1.1e-4),
        (9, 1e-3, 5, 5e-11),
        (9, 1e-4, 6, 5e-9),
    ],
)
def test_reference_errors(degree, floor, count, error):
    _, bests = planning._plan(floor, (degree,) * count, 0.0)
    assert bests[-1].error == pytest.approx(error, rel=0.1)


def brute_force(floor, tolerance, costs, limit, margin):
    """Smallest cost over all sequences below a limit."""
    cheapest = limit
    stack = [((floor, 1.0 - floor), 0.0)]
    while stack:
        interval, spent = stack.pop()
        for degree, cost in costs.items():
            best = best_on(degree // 2, *interval)
            if spent + cost >= cheapest:
                continue
            if best.error <= tolerance:
                cheapest = spent + cost
            else:
                stack.append((planning._after(best.error, best.rest, margin), spent + cost))
    return cheapest


@pytest.mark.parametrize(
    ("floor", "tolerance", "alpha", "margin"),
    [(0.1, 1e-2, 1.0, 0.0), (0.02, 0.05, 2.3, 4e-3), (0.3, 1e-9, 1.0, 2.0**-41)],
)
def test_search_is_exhaustive(floor, tolerance, alpha, margin):
    costs = x_side_costs(alpha)
    schedule = cheapest_schedule(floor, tolerance, costs, margin=margin)
    margin = max(margin, 2.0**-41)
    assert schedule.cost == pytest.approx(
        brute_force(floor, tolerance, costs, schedule.cost + 0.5, margin)
    )


@settings(max_examples=40, deadline=None)
@given(
    st.floats(-6.0, -0.01).map(lambda e: 10.0**e),
    st.floats(-12.0, -0.5).map(lambda e: 10.0**e),
    st.sampled_from([(5,), (3, 5), (3, 5, 9)]),
    st.sampled_from([0.0, 1e-12, 1e-5, 4e-3, 2e-2]),
    st.floats(1.0, 8.0),
)
def test_schedule_laws(floor, tolerance, allowed, margin, alpha):
    costs = x_side_costs(alpha, degrees=allowed)
    schedule = cheapest_schedule(floor, tolerance, costs, margin=margin)
    limit = planning._attainable(max(allowed), max(margin, 2.0**-41))
    assert schedule.error <= max(tolerance, 1.02 * limit)
    assert schedule.bound <= schedule.error * (1.0 + 1e-9) + 4e-15
    assert schedule.cost == pytest.approx(sum(costs[d] for d in schedule.degrees))
    assert schedule.low == 0.0
    assert 1.0 - schedule.bound <= schedule.high <= 1.0 + schedule.error + 4e-15
    assert schedule.floors[0] == floor
    assert all(a < b for a, b in itertools.pairwise(schedule.floors))


@pytest.mark.parametrize("margin", [0.0, 4e-3])
@pytest.mark.parametrize(("tolerance", "floor"), [(0.12, 1e-3), (1e-6, 1e-4)])
def test_bound_holds_on_a_dense_grid(tolerance, floor, margin):
    schedule = cheapest_schedule(floor, tolerance, x_side_costs(1.0), margin=margin)
    worst = 0.0
    for k in range(2001):
        x = floor ** (1.0 - k / 2000)
        for step in schedule.steps:
            x *= kernel(step, x * x)
        worst = max(worst, abs(1.0 - x))
    # Evaluation in float64 rounds, too.
    assert worst <= schedule.bound + 1e-9 * schedule.bound + 1e-13
    assert worst >= 0.99 * schedule.bound - 1e-13
    for k in range(201):
        x = floor * k / 200
        for step in schedule.steps:
            x *= kernel(step, x * x)
        assert schedule.low - 1e-13 <= x <= schedule.high + 1e-13


def test_every_step_stays_within_one():
    schedule = cheapest_schedule(1e-3, 1e-3, x_side_costs(1.0), margin=4e-3)
    polynomials = [step_polynomial(step) for step in schedule.steps]
    for count in range(1, len(polynomials)):
        low, high = composed_image(polynomials[:count], 1e-3, 1.0)
        assert high <= 1.0 / 1.0039
        assert low >= schedule.floors[count]


def test_margin_absorbs_an_over_range():
    plain = cheapest_schedule(1e-3, 0.12, x_side_costs(1.0, degrees=(5, 9)))
    safe = cheapest_schedule(1e-3, 0.12, x_side_costs(1.0, degrees=(5, 9)), margin=2e-2)
    polynomials = [[step_polynomial(step) for step in s.steps] for s in (plain, safe)]
    tops = [image(p[0], 1e-3, 1.0)[1] for p in polynomials]
    outside = [
        composed_image(p[1:], 0.01, 1.01 * top)[1] for p, top in zip(polynomials, tops, strict=True)
    ]
    assert outside[0] > 1e3
    assert outside[1] < 1.2


def test_fit_of_the_error():
    for degree in STEP_DEGREES:
        for k in range(-40, 41):
            lower = 1.0 / (1.0 + 10.0 ** (k / 5))
            gap = 1.0 / (1.0 + 10.0 ** (-k / 5))
            best = best_on(degree // 2, lower, gap)
            error, rest = planning._fitted_error(degree, planning._Interval(lower, gap))
            assert error == pytest.approx(best.error, rel=2e-6)
            assert rest == pytest.approx(best.rest, rel=2e-6)


@pytest.mark.parametrize("floor", [1.1e-12, 0.5, 1.0 - 1e-9, math.nextafter(1.0, 0.0)])
@pytest.mark.parametrize("tolerance", [1e-300, 1e-12, 1.0 - 1e-9])
@pytest.mark.parametrize("allowed", [(3,), (3, 5, 9)])
def test_extreme_plans(floor, tolerance, allowed):
    schedule = cheapest_schedule(floor, tolerance, x_side_costs(1.0, degrees=allowed))
    assert schedule.bound <= max(tolerance, 1e-14)
    assert schedule.error <= max(tolerance, 1e-20)


def test_the_first_step_may_have_a_least_degree():
    costs = {3: 3.0, 5: 4.0, 9: 5.0}
    free = cheapest_schedule(1e-3, 1e-3, costs)
    held = cheapest_schedule(1e-3, 1e-3, costs, first=5)
    assert free.degrees[0] == 3
    assert held.degrees[0] >= 5
    assert free.cost <= held.cost <= free.cost + 1.0
    assert held.bound <= 1e-3


def test_unattainable_tolerance_gives_the_best():
    schedule = cheapest_schedule(1e-2, 1e-12, {5: 4.0}, margin=2e-2)
    assert 1e-12 < schedule.bound < 1e-4
    assert len(schedule.steps) < 10


def test_plans_are_fast():
    costs = x_side_costs(1.0)
    for cached in (best_on, planning._schedule):
        cached.cache_clear()
    spent = time.process_time()
    cheapest_schedule(1e-6, 1e-12, costs)
    assert time.process_time() - spent < 0.25  # 0.02 on the machine of the author
    spent = time.process_time()
    cheapest_schedule(1e-6, 1e-12, costs)
    assert time.process_time() - spent < 0.005


@pytest.mark.parametrize(
    ("floor", "tolerance", "costs", "margin", "words"),
    [
        (0.0, 0.1, {5: 4.0}, 0.0, "floor"),
        (1.0, 0.1, {5: 4.0}, 0.0, "floor=1.0"),
        (0.1, 0.0, {5: 4.0}, 0.0, "tolerance=0.0"),
        (0.1, math.nan, {5: 4.0}, 0.0, "tolerance=nan"),
        (0.1, 0.1, {}, 0.0, "costs"),
        (0.1, 0.1, {7: 5.0}, 0.0, "7"),
        (0.1, 0.1, {5: 0.0}, 0.0, r"costs\[5\]"),
        (0.1, 0.1, {5: 4.0}, 0.1, "margin=0.1"),
        (0.1, 0.1, {5: 4.0}, -0.1, "margin=-0.1"),
    ],
)
def test_schedule_refuses(floor, tolerance, costs, margin, words):
    with pytest.raises(ValueError, match=words):
        cheapest_schedule(floor, tolerance, costs, margin=margin)
