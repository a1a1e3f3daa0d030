"""How many kernels a call launches on a device, counted on a CPU: ATen calls that are no views.

Counts are exact. `may_branch` is off, as on a device; a call of ``_foreach_`` counts as its list
divided by 16. Decompositions of the library that look at their result would be waits there.
"""

import collections
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import pytest

import specdesc
from specdesc import norms, prox, rules
from specdesc.bench.counts import VIEWS

torch = pytest.importorskip("torch", reason="torch is not installed")
entry = import_module("specdesc.backends.entry")
leaf = import_module("specdesc.backends.torch")
muon = import_module("torch.optim._muon")
dispatch = import_module("torch.utils._python_dispatch")

#: What looks at its own result, and so waits for a device.
WAITS = frozenset(
    (
        "_linalg_eigh",
        "_linalg_svd",
        "linalg_eigh",
        "linalg_cholesky",
        "linalg_inv",
        "linalg_solve",
        "_linalg_solve_ex",
        "linalg_svd",
        "item",
        "_local_scalar_dense",
        "nonzero",
    )
)


class Launches(dispatch.TorchDispatchMode):  # type: ignore[misc]
    """Counts the calls that would be kernels."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: collections.Counter[str] = collections.Counter()

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        name = function._schema.name.split("::")[1]
        if name.startswith("_foreach_"):
            self.calls[name] += -(-len(args[0]) // 16)
        elif name not in VIEWS:
            self.calls[name] += 1
        return function(*args, **(kwargs or {}))


def launches(call: Callable[[], Any]) -> collections.Counter[str]:
    """Count the second call: plans and look-ups are there by then."""
    call()
    with Launches() as mode:
        call()
    return mode.calls


@pytest.fixture(autouse=True)
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let a CPU be treated as a device."""
    monkeypatch.setattr(leaf.TorchBackend, "may_branch", lambda self, x: False)
    monkeypatch.setattr(leaf.TorchBackend, "multiplies", lambda self, x: True)
    entry._BOUND.clear()
    yield
    entry._BOUND.clear()


def matrices() -> tuple[Any, Any]:
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(256, 128, generator=generator) for _ in range(2))


X, G = matrices()
HALF = X.bfloat16()
STACK = torch.randn(12, 96, 64, generator=torch.Generator().manual_seed(1)).bfloat16()
WARM = specdesc.initial_start(X, 8)
CHEAP: dict[str, Any] = {"tol": 0.3, "floor": 0.01}


def step(rule: Any) -> Callable[[], Any]:
    state = rule.init(X)
    return lambda: rule.update(X, G, state)


BUDGETS: dict[str, tuple[Callable[[], Any], int]] = {
    "bfloat16": (lambda: specdesc.orthogonalize(HALF, **CHEAP), 28),
    "bfloat16, stack": (lambda: specdesc.orthogonalize(STACK, **CHEAP), 28),
    "float32": (lambda: specdesc.orthogonalize(X, tol=1e-3, floor=1e-3), 36),
    "float32, full": (
        lambda: specdesc.orthogonalize(X, tol=1e-3, floor=1e-3, full_output=True),
        70,
    ),
    "newton-schulz": (lambda: specdesc.orthogonalize(HALF, method="newton-schulz"), 22),
    "polar": (lambda: specdesc.polar(X), 90),
    "SpectralBall": (lambda: prox.SpectralBall(1.0).prox(X), 150),
    "truncated step": (lambda: specdesc.truncated_spectral_step(X, 8, tol=0.1), 80),
    "truncated step, warm": (
        lambda: specdesc.truncated_spectral_step(X, 8, tol=0.1, start=WARM),
        80,
    ),
    "Muon": (step(rules.Muon(0.02, dtype="bfloat16", weight_decay=0.1, **CHEAP)), 40),
    "Scion": (step(rules.Scion(0.1)), 40),
    "SpectralDescent": (step(rules.SpectralDescent(0.1)), 40),
    "AdamW": (step(rules.AdamW(1e-3)), 22),
}


@pytest.mark.parametrize("name", BUDGETS)
def test_a_call_launches_no_more_than_its_budget(name: str) -> None:
    call, most = BUDGETS[name]
    counted = launches(call)
    assert sum(counted.values()) <= most, counted
    # A truncated step waits for the eigenvalues of a matrix of k + 10 rows.
    allowed = {"_linalg_eigh"} if "truncated" in name else set()
    assert not WAITS & set(counted) - allowed, counted


def test_the_count_is_that_of_the_kernel_of_torch() -> None:
    """A cast, the norm and what divides by it, and five quintics of three products."""
    counted = launches(lambda: muon._zeropower_via_newtonschulz(X, (3.4, -4.8, 2.0), 5, 1e-7))
    assert sum(counted.values()) == 19


SILENT: dict[str, Callable[[], Any]] = {
    "orthogonalize": lambda: specdesc.orthogonalize(X),
    "full output": lambda: specdesc.orthogonalize(X, tol=1e-2, full_output=True),
    "rational": lambda: specdesc.orthogonalize(X, method="rational", full_output=True),
    "spectral_clip": lambda: specdesc.spectral_clip(X, 1.0),
    "lmo": lambda: norms.Spectral().lmo(X),
    "sharp": lambda: norms.Spectral().sharp(X),
    "Stiefel": lambda: prox.Stiefel().prox(X),
    "SpectralInterval": lambda: prox.SpectralInterval(0.5, 1.0).prox(X),
    "Box": lambda: prox.Box(-1.0, 1.0).prox(X),
    "L1": lambda: prox.L1(0.1).prox(X),
    "SignDescent": step(rules.SignDescent(0.1)),
    "NormalizedGradient": step(rules.NormalizedGradient(0.1)),
    "Muon": step(rules.Muon(0.02)),
}


@pytest.mark.parametrize("name", SILENT)
def test_what_products_can_do_does_not_wait(name: str) -> None:
    assert not WAITS & set(launches(SILENT[name]))


# --- what a device promises, tried without one ----------------------------------------------------


@pytest.mark.parametrize("kind", ["full", "zero", "rank one", "shift", "condition", "zero rows"])
@pytest.mark.parametrize("shape", [(16, 16), (64, 40), (40, 64), (100, 100)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_polar_factor_by_products_is_an_isometry_at_every_rank(
    dtype: str, shape: tuple[int, int], kind: str
) -> None:
    m, n = shape
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(m, n, generator=generator, dtype=torch.float64)
    u, s, vh = torch.linalg.svd(x, full_matrices=False)
    x = {
        "full": x,
        "zero": 0 * x,
        "rank one": torch.outer(x[:, 0], x[0]),
        "shift": torch.diag(torch.ones(max(m, n) - 1), 1).double()[:m, :n],
        "condition": (u * torch.logspace(0, -12, len(s), dtype=torch.float64)) @ vh,
        "zero rows": torch.cat([x[: m // 2], 0 * x[m // 2 :]]),
    }[kind].to(getattr(torch, dtype))
    unit = max(m, n) * torch.finfo(x.dtype).eps
    for side in ("right", "left"):
        factor, hermitian = specdesc.polar(x, side=side)
        small = factor @ factor.mT if m <= n else factor.mT @ factor
        assert (small - torch.eye(min(m, n), dtype=x.dtype)).abs().max() <= 2 * unit
        back = factor @ hermitian if side == "right" else hermitian @ factor
        size = float(torch.linalg.norm(x, 2))
        assert float(torch.linalg.norm(back - x, 2)) <= 2 * unit * size
        assert torch.equal(hermitian, hermitian.mT)
        assert float(torch.linalg.eigvalsh(hermitian.double())[0]) >= -2 * unit * size


@pytest.mark.parametrize("top", [0.5, 1.0, 1.001, 3.0, 1e3])
@pytest.mark.parametrize("shape", [(16, 16), (64, 40), (128, 200)])
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_a_clip_by_products_is_the_projection(
    dtype: str, shape: tuple[int, int], top: float
) -> None:
    generator = torch.Generator().manual_seed(3)
    u, s, vh = torch.linalg.svd(
        torch.randn(*shape, generator=generator, dtype=torch.float64), full_matrices=False
    )
    s = torch.linspace(min(top, 1.5), 0.0, len(s), dtype=torch.float64)
    s[0] = top
    x = ((u * s) @ vh).to(getattr(torch, dtype))
    ball = prox.SpectralBall(1.0)
    y = ball.prox(x)
    assert float(ball.value(y)) == 0.0, "outside of the set"
    if top <= 1.0:
        assert torch.equal(x, y), "a feasible point comes back bit for bit"
    u, s, vh = torch.linalg.svd(x.double(), full_matrices=False)
    wide = torch.float32 if dtype == "bfloat16" else x.dtype
    storage = torch.finfo(x.dtype).eps if dtype == "bfloat16" else 0.0
    limit = 40 * max(shape) * torch.finfo(wide).eps * max(top, 1.0) + storage
    off = torch.linalg.norm(y.double() - (u * s.clamp(max=1.0)) @ vh, 2)
    assert float(off) <= limit


def test_a_nan_takes_its_own_matrix_and_zero_stays_zero() -> None:
    x = torch.stack([X, 0 * X, X, X, X])
    x[2, 3, 4], x[3, 5, 6] = float("nan"), float("-inf")
    same = torch.stack([X, X, X, X, X])
    for options in ({}, CHEAP, {"method": "newton-schulz"}, {"method": "polar-express"}):
        for dtype in (torch.float32, torch.bfloat16):
            y = specdesc.orthogonalize(x.to(dtype), **options)
            clean = specdesc.orthogonalize(same.to(dtype), **options)
            assert torch.equal(y[0], clean[0])
            assert torch.equal(y[4], clean[4])
            assert not y[1].any()
            assert y[2].isnan().all()
            assert y[3].isnan().all()
    full = specdesc.orthogonalize(x, tol=1e-2, full_output=True)
    assert full.status.tolist() == [0, 3, 2, 2, 0]
    assert full.rank.tolist()[1:4] == [0, 0, 0]
    for y in (specdesc.polar(x).unitary, prox.SpectralBall(1.0).prox(x)):
        assert y[2].isnan().all()
        assert y[3].isnan().all()
        assert y[[0, 1, 4]].isfinite().all()


@pytest.mark.parametrize("exponent", [-100, -60, 60, 99])
def test_powers_of_two_change_no_bit(exponent: int) -> None:
    for x, options in ((X, {"tol": 1e-3}), (HALF, CHEAP), (HALF, {"method": "newton-schulz"})):
        y = specdesc.orthogonalize(x * 2.0**exponent, **options)
        assert torch.equal(y, specdesc.orthogonalize(x, **options))


@pytest.mark.parametrize("rule", [rules.Muon(0.1), rules.Scion(0.1), rules.AdamW(0.1)], ids=repr)
def test_a_step_of_a_broken_gradient_is_nan_all_over(rule: Any) -> None:
    x, g = torch.stack([X, X]), torch.stack([G, G])
    g[1, 0, 0] = float("nan")
    y, _ = rule.update(x, g, rule.init(x))
    assert y[0].isfinite().all()
    assert y[1].isnan().all()
    x[0, 3, 3] = float("inf")
    y, _ = rule.update(x, torch.stack([G, G]), rule.init(x))
    assert y[0].isnan().all()
    assert y[1].isfinite().all()


def spectra(n: int) -> dict[str, Any]:
    i = torch.arange(n, dtype=torch.float64)
    return {
        "power law": 1 / (1 + i),
        "exponential": 0.7**i,
        "gap": torch.where(i < 8, 2.0, 0.1).double(),
        "flat": torch.ones_like(i),
        "rank 3": torch.where(i < 3, 3 - i, 0.0),
        "zero": 0 * i,
    }


@pytest.mark.parametrize("name", spectra(1))
@pytest.mark.parametrize("shape", [(96, 80), (300, 64), (64, 300)])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "complex64", "float64"])
def test_a_truncated_step_by_products_is_a_leading_partial_isometry(
    dtype: str, shape: tuple[int, int], name: str
) -> None:
    wide = torch.complex128 if dtype == "complex64" else torch.float64
    generator = torch.Generator().manual_seed(5)
    u, _, vh = torch.linalg.svd(
        torch.randn(*shape, generator=generator, dtype=wide), full_matrices=False
    )
    s = spectra(min(shape))[name]
    x = ((u * s) @ vh).to(getattr(torch, dtype))
    start = specdesc.initial_start(x, 8)
    for options in ({}, {"start": start}):
        y = specdesc.truncated_spectral_step(x, 8, tol=0.01, **options).to(wide)
        sizes = torch.linalg.svdvals(y)
        assert (sizes - sizes.round()).abs().max() <= (6e-3 if dtype == "bfloat16" else 2e-5)
        assert int(sizes.round().sum()) <= 8
        value = float((y.conj() * x.to(wide)).sum().real)
        assert value >= 0.98 * float(s[:8].sum()) - 1e-12


def test_truncated_steps_of_a_stack_are_those_of_its_matrices() -> None:
    x = torch.stack([X, G, 0 * X, X])
    x[3, 5, 6] = float("nan")
    y = specdesc.truncated_spectral_step(x, 8, tol=0.1)
    for i in range(2):
        alone = specdesc.truncated_spectral_step(x[i], 8, tol=0.1)
        assert (y[i] - alone).abs().max() <= 1e-4
    assert not y[2].any()
    assert y[3].isnan().all()
    rule = rules.TruncatedSpectralDescent(8, 0.1)
    point, state = rule.update(0 * x, x, rule.init(x))
    assert point[3].isnan().all()
    # The next gradient is a good one: the block that a NaN has reached is drawn anew.
    good = torch.stack([X, G, 0 * X, X])
    following, _ = rule.update(0 * good, good, state)
    assert following.isfinite().all()


@pytest.mark.parametrize("exponent", [-100, -60, 60, 99])
def test_powers_of_two_change_no_bit_of_a_truncated_step(exponent: int) -> None:
    y = specdesc.truncated_spectral_step(X, 8, tol=0.1)
    assert torch.equal(y, specdesc.truncated_spectral_step(X * 2.0**exponent, 8, tol=0.1))
