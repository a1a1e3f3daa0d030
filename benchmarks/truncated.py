"""Truncated SVD beside its peers, at equal verified error, in one run: ``make bench-truncated``.

For each matrix the fastest setting of a peer that reaches the wanted Ky Fan gap is looked for
first, without a clock, then all candidates are timed in turn. Every row carries the gap that was
measured against a dense SVD, and what the products of our own run cost alone: the same numbers of
columns, multiplied with the same matrix.

Writes ``benchmarks/results/truncated.json`` and ``docs/benchmarks-truncated.md``. ``--rows`` and
``--matrices`` run a part and keep the rest as it is in the JSON file.
"""

import argparse
import contextlib
import json
import os
import platform
import time
import warnings
from pathlib import Path
from unittest import mock

os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "2")

import numpy as np
import scipy
import sklearn
import torch
from scipy.sparse.linalg import svds
from sklearn.utils.extmath import randomized_svd

import specdesc as sd
from specdesc._linalg import krylov
from specdesc._truncated_svd import leading

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "truncated.json"
PAGE = ROOT / "docs" / "benchmarks-truncated.md"

#: Gradients of the trajectory, a few hundred megabytes: kept between runs, not committed.
RECORD = ROOT / "out" / "trajectory.npz"
SAMPLES = (10, 50, 100, 200)
SPECTRA = ("power", "exponential", "gap", "flat")

PASSES = (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48)
TOLERANCES = (0.3, 1e-1, 1e-2, 1e-3, 1e-4, 1e-6)
REPEATS = 10
#: No peer gets longer than this for one decomposition.
PATIENCE = 8.0
#: What takes longer than this is run once: nothing warms up that long.
LONG = 1.5


def spectrum(name, n):
    i = np.arange(n)
    return {
        "power": 1.0 / (1 + i),
        "exponential": 0.97**i + 1e-3,
        "gap": np.where(i < 10, 1.0, 0.05) * np.exp(-i / n),
        "flat": 1 - 0.5 * i / n,
    }[name]


def matrix(name, m, n, dtype, seed=0):
    random = np.random.default_rng(seed)
    u, v = (np.linalg.qr(random.standard_normal((size, n)))[0] for size in (m, n))
    return np.ascontiguousarray(((u * spectrum(name, n)) @ v.T).astype(dtype))


def missed(x, found, truth):
    """Return the share of the Ky Fan value that <x, U Vᴴ> misses, in double precision."""
    u, vh = (np.asarray(part, dtype=np.float64) for part in (found[0], found[2]))
    inner = np.einsum("...mk,...mk->...", u, np.asarray(x, np.float64) @ np.swapaxes(vh, -1, -2))
    return float(np.max(1.0 - inner / truth))


def clock(function):
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def best_times(functions, repeats=REPEATS, known=()):
    """Time the functions in turn, twice: they share what else the machine does.

    `known` are times that were taken already, and do where they are long.

    Each one comes after a run of its own that is not timed, as the thread pools of NumPy, SciPy
    and torch keep the cores for some milliseconds after their last work.
    """
    long = {name: seconds for name, seconds in dict(known).items() if seconds > LONG}
    short = {name: function for name, function in functions.items() if name not in long}
    times = {name: [] for name in short}
    for _ in range(2):
        for name, function in short.items():
            times[name] += [clock(function)[0] for _ in range(repeats + 1)][1:]
    return {**long, **{name: min(values) for name, values in times.items()}}


def cheapest(settings, run, x, truth, gap):
    """Return the fastest setting that reaches the gap, or None; a failure is no answer."""
    reached = []
    for setting in settings:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                seconds, found = clock(lambda s=setting: run(s))
        except (np.linalg.LinAlgError, scipy.sparse.linalg.ArpackError):
            continue
        error = missed(x, found, truth)
        if error <= gap:
            reached.append((seconds, setting, error))
            if len(reached) == 2 or seconds > LONG:
                break
        if seconds > PATIENCE:
            break
    return min(reached, default=None)


def scikit(x, k):
    return lambda passes: randomized_svd(x, k, n_iter=passes, random_state=0)


def scipy_svds(x, k, solver):
    start = np.random.default_rng(0).standard_normal(min(x.shape)).astype(x.dtype)
    return lambda tol: _ordered(svds(x, k, solver=solver, tol=tol, v0=start))


def _ordered(found):
    u, s, vh = found
    order = np.argsort(-s)
    return u[:, order], s[order], vh[order]


def torch_lowrank(x, k):
    tensor = torch.from_numpy(x)

    def run(passes):
        torch.manual_seed(0)
        u, s, v = torch.svd_lowrank(tensor, q=k + 10, niter=passes)
        return u[:, :k].numpy(), s[:k].numpy(), v[:, :k].numpy().T

    return run


def own_products(x, run):
    """Return a function that repeats the products of our run and nothing else, and their number.

    None and 0 where the run ended in a dense SVD.
    """
    widths, dense = [], []
    action_of = krylov.action_of

    def noted(matrix, *, backend):
        plain = action_of(matrix, backend=backend)

        def forward(block):
            widths.append(("x", block.shape[-1]))
            return plain.forward(block)

        def backward(block):
            widths.append(("xh", block.shape[-1]))
            return plain.backward(block)

        return krylov.Action(forward, backward)

    def noted_dense(*arguments):
        dense.append(True)
        raise StopIteration

    with (
        mock.patch.object(krylov, "action_of", noted),
        mock.patch.object(leading, "_dense", noted_dense),
        contextlib.suppress(StopIteration),
    ):
        run()
    if dense:
        return None, 0
    blocks = {
        (product, width): np.ones((x.shape[1 if product == "x" else 0], width), x.dtype)
        for product, width in widths
    }

    def repeat():
        for each in widths:
            _ = x @ blocks[each] if each[0] == "x" else blocks[each].T @ x

    return repeat, len(widths)


def compare(label, x, k, gap, peers, target, start=None, repeats=REPEATS):
    """Return one row: ours and the peers on one matrix."""
    truth = np.linalg.svd(x.astype(np.float64), compute_uv=False)[:k].sum()
    run = {"specdesc": lambda: sd.truncated_svd(x, k, tol=gap, start=start)}
    seconds, found = clock(run["specdesc"])
    error, settings, known = missed(x, found, truth), {}, {"specdesc": seconds}
    for name, (make, choices) in peers.items():
        call = make(x, k)
        found = cheapest(choices, call, x, truth, gap)
        settings[name] = None if found is None else {"setting": found[1], "gap": found[2]}
        if found is not None:
            run[name] = lambda call=call, setting=found[1]: call(setting)
            known[name] = found[0]
    repeat, count = own_products(x, run["specdesc"])
    if repeat is not None:
        run["products"] = repeat
        known["products"], _ = clock(repeat)
    times = best_times(run, repeats, known)
    rivals = {name: times[name] for name in peers if name in times}
    fastest = min(rivals, key=rivals.get, default=None)
    return {
        "matrix": label,
        "gap wanted": gap,
        "gap": error,
        "ms": 1e3 * times["specdesc"],
        "products": count,
        "products ms": 1e3 * times["products"] if count else None,
        "peer": fastest,
        "peer ms": None if fastest is None else 1e3 * rivals[fastest],
        "peer setting": None if fastest is None else settings[fastest]["setting"],
        "peer gap": None if fastest is None else settings[fastest]["gap"],
        "not reached by": [name for name, found in settings.items() if found is None],
        "ratio": None if fastest is None else rivals[fastest] / times["specdesc"],
        "target": target,
    }


def wanted(label, only):
    return not only or label in only


def cold_small(only):
    """Four spectra, single precision."""
    peers = {"scikit-learn": (scikit, PASSES)}
    for name in filter(lambda label: wanted(label, only), SPECTRA):
        yield compare(name, matrix(name, 1024, 768, "float32"), 8, 1e-3, peers, 1.5)


def cold_large(only):
    """Four spectra, double precision, rank 32."""
    peers = {
        "scipy arpack": (lambda x, k: scipy_svds(x, k, "arpack"), TOLERANCES),
        "scipy propack": (lambda x, k: scipy_svds(x, k, "propack"), TOLERANCES),
        "scikit-learn": (scikit, PASSES[1:]),
    }
    for name in filter(lambda label: wanted(label, only), SPECTRA):
        x = matrix(name, 2048, 2048, "float64")
        yield compare(name, x, 32, 1e-6, peers, 1.5, repeats=1)


def record(n, rank, steps):
    """Run truncated descent on robust recovery; keep some gradients and those before them."""
    if RECORD.exists():
        return dict(np.load(RECORD))
    random = np.random.default_rng(0)
    truth = random.standard_normal((n, rank)) @ random.standard_normal((rank, n)) / rank**0.5
    data = truth + 0.01 * random.standard_normal((n, n))
    hit = random.random((n, n)) < 0.1
    data[hit] += 10 * random.standard_normal(int(hit.sum()))
    problem = sd.problems.RobustRecovery.from_entries(data)
    first = 0.1 * np.linalg.norm(truth) / rank**0.5
    rule = sd.rules.TruncatedSpectralDescent(rank, sd.schedules.geometric(first, 0.97), tol=0.02)
    x, kept = np.zeros((n, n)), {}
    state, grad = rule.init(x), None
    for t in range(1, steps + 1):
        before = grad
        value, grad = problem.value_and_grad(x)
        if t in SAMPLES:
            kept[f"before {t}"], kept[f"at {t}"] = before, grad
        x, state = rule.update(x, grad, state, value=value)
    RECORD.parent.mkdir(parents=True, exist_ok=True)
    np.savez(RECORD, **kept)
    return kept


def trajectory(only, n=2048, rank=32, gap=1e-6, steps=200):
    """Gradients of 200 steps of robust recovery, each from the block of the step before."""
    peers = {"torch svd_lowrank": (torch_lowrank, PASSES), "scikit-learn": (scikit, PASSES)}
    kept = record(n, rank, steps)
    for t in SAMPLES:
        if wanted(f"step {t}", only):
            start = sd.truncated_svd(kept[f"before {t}"], rank, tol=gap, full_output=True).start
            x = kept[f"at {t}"]
            yield compare(f"step {t}", x, rank, gap, peers, 4.0, start, repeats=1)


def stack(only):
    """256 matrices of 64 by 64 in one call."""
    random = np.random.default_rng(0)
    power = np.stack([matrix("power", 64, 64, "float32", seed) for seed in range(256)])
    for label, host in (
        ("power", power),
        ("gaussian", random.standard_normal((256, 64, 64)).astype("float32")),
    ):
        x, k, gap = torch.from_numpy(host), 4, 1e-2
        truth = np.linalg.svd(host.astype(np.float64), compute_uv=False)[:, :k].sum(-1)
        start = sd.truncated_svd(x + 1e-3 * torch.randn_like(x), k, tol=gap, full_output=True).start
        run = {
            "cold": lambda x=x, k=k, gap=gap: sd.truncated_svd(x, k, tol=gap),
            "warm": lambda x=x, k=k, gap=gap, start=start: sd.truncated_svd(
                x, k, tol=gap, start=start
            ),
            "torch.linalg.svd": lambda x=x: torch.linalg.svd(x, full_matrices=False),
        }
        times = best_times(run)
        for mode in ("cold", "warm"):
            yield (
                {
                    "matrix": f"{label}, {mode}",
                    "gap wanted": gap,
                    "gap": missed(host, [y.numpy() for y in run[mode]()], truth),
                    "ms": 1e3 * times[mode],
                    "peer": "torch.linalg.svd",
                    "peer ms": 1e3 * times["torch.linalg.svd"],
                    "peer setting": None,
                    "peer gap": 0.0,
                    "not reached by": [],
                    "ratio": times["torch.linalg.svd"] / times[mode],
                    "target": 5.0,
                }
            )


TABLES = {
    "cold, 1024 x 768, float32, k = 8": cold_small,
    "cold, 2048 x 2048, float64, k = 32": cold_large,
    "warm, 2048 x 2048, float64, k = 32, robust recovery": trajectory,
    "stack of 256, 64 x 64, float32, k = 4, torch": stack,
}

HEAD = """\
# Truncated SVD beside its peers

Written by `make bench-truncated`; do not edit. One run on {machine}, {threads} threads, NumPy
{numpy}, SciPy {scipy}, scikit-learn {sklearn}, torch {torch}.

Every method is given the cheapest of its settings that reaches the wanted relative Ky Fan gap; the
gap beside a time was measured against a dense SVD. *ratio* is the peer's time over ours. *share* is
our time over that of our own products alone, the same blocks multiplied with the same matrix; its
target is 1.4 at most, and a run that ends in a dense SVD has none. A row that misses a target says
so. With `--matrices` a part is run anew, so rows may come from several runs; the ratio in a row is
always of two times from one. What took longer than 1.5 s was run once.
"""


def page(report):
    parts = [HEAD.format(**report["environment"])]
    for title, rows in report["tables"].items():
        parts.append(f"\n## {title.capitalize()}\n")
        names = ("matrix", "ours, ms (gap)", "fastest peer, ms (gap)")
        parts.append("| " + " | ".join((*names, "ratio", "target", "share", "verdict")) + " |")
        parts.append("|---|---|---|---|---|---|---|")
        parts += [_row(row) for row in rows]
    return "\n".join(parts) + "\n"


def _row(row):
    if row["peer"] is None:
        peer, ratio = "none reaches it", "-"
    else:
        setting = "" if row["peer setting"] is None else f" [{row['peer setting']}]"
        peer = f"{row['peer']}{setting}, {row['peer ms']:.1f} ({row['peer gap']:.0e})"
        ratio = f"{row['ratio']:.1f}"
    if row["not reached by"] and row["peer"] is not None:
        peer += "; not reached by " + ", ".join(row["not reached by"])
    share = row["ms"] / row["products ms"] if row.get("products ms") else None
    verdicts = []
    if row["gap"] > row["gap wanted"]:
        verdicts.append("misses the gap")
    if row["ratio"] is not None and row["ratio"] < row["target"]:
        verdicts.append("misses the ratio")
    if share is not None and share > 1.4:
        verdicts.append("misses the share")
    cells = [
        row["matrix"],
        f"{row['ms']:.1f} ({max(row['gap'], 0.0):.0e})",
        peer,
        ratio,
        f"{row['target']:.1f}",
        "-" if share is None else f"{share:.1f}",
        ", ".join(verdicts) or "meets all",
    ]
    return "| " + " | ".join(cells) + " |"


def environment():
    return {
        "machine": f"{platform.machine()} {platform.system()}",
        "threads": int(os.environ["OMP_NUM_THREADS"]),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "sklearn": sklearn.__version__,
        "torch": torch.__version__,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="*", default=range(len(TABLES)))
    parser.add_argument("--matrices", nargs="*", default=[], help="of these tables, such as gap")
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    tables = json.loads(RESULTS.read_text())["tables"] if RESULTS.exists() else {}
    for i, (title, table) in enumerate(TABLES.items()):
        if i in options.rows:
            rows = {row["matrix"]: row for row in tables.get(title, [])}
            for row in table(options.matrices):
                rows[row["matrix"]] = row
                print(_row(row), flush=True)
            tables[title] = list(rows.values())
    ordered = {title: tables[title] for title in TABLES if title in tables}
    report = {"environment": environment(), "tables": ordered}
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(report, indent=1) + "\n")
    PAGE.write_text(page(report))


if __name__ == "__main__":
    main()
