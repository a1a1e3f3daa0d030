"""What must not grow: ``python -m benchmarks.gate``, part of ``.ci/run``.

First counts, which no other work on the machine can change: matrix products, launches and ATen
calls of each kernel on torch, products and the peak of the memory on NumPy, against the file
``counts.json``. Any other number fails, a smaller one too, so that the file says what holds;
``--write`` writes it anew.
Then one ratio, to a bare loop of the same products in the same process: see `ratio`.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.targets import peers, products
from specdesc import backends, orthogonalize, plan_orthogonalization
from specdesc.bench import counts, models, rounds
from specdesc.bench.kernels import KERNELS
from specdesc.bench.rounds import Run

FILE = Path(__file__).parent / "counts.json"

#: Tall, wide, and a stack of small squares; all float32.
SHAPES = ((256, 128), (96, 192), (6, 32, 32))

#: A peak may differ by this share: the interpreter has small objects of its own beside the arrays.
PEAK = 0.05

#: The ratio. It was 0.85 on two cores, and 1.7 with a kernel made twice as slow.
BAR, SIDE, SECONDS = 1.3, 512, 4.0

Counts = dict[str, dict[str, float]]


def counted() -> Counts:
    """Return the counts of every case."""
    found: Counts = {}
    for shape in SHAPES:
        x = np.random.default_rng(0).standard_normal(shape).astype("float32")
        size = float(np.linalg.norm(x, 2, axis=(-2, -1)).max())
        for name, kernel in KERNELS.items():
            for library, count in (("numpy", _on_numpy), ("torch", _on_torch)):
                y = backends.load(library).from_host(x, dtype="float32")
                call = partial(kernel.ours, y, size)
                call()  # plans and caches
                sizes = "x".join(map(str, shape))
                found[f"{name}, {sizes}, {library}"] = count(call, x.nbytes)
    step = models.runs("tiny", None)["specdesc"].call
    step()
    found["step of tiny, torch"] = _on_torch(step, 0)
    return found


def _on_numpy(call: Callable[[], object], size: int) -> dict[str, float]:
    peak = counts.peak_of_numpy(call) * 2**20 / size
    return {"products": len(products.record(call, "numpy")), "peak over x": round(peak, 2)}


def _on_torch(call: Callable[[], object], _: int) -> dict[str, float]:
    return {
        "products": len(products.record(call, "torch")),
        "launches": counts.launches(call),
        "ATen calls": counts.aten_calls(call),
    }


def differences(found: Counts, known: Counts) -> Iterator[str]:
    """Yield a line for each count that is not the one of the file."""
    for case in sorted(found.keys() | known.keys()):
        now, before = found.get(case, {}), known.get(case, {})
        for what in sorted(now.keys() | before.keys()):
            a, b = before.get(what), now.get(what)
            room = PEAK if what == "peak over x" else 0.0
            if a is None or b is None or abs(b - a) > room * a:
                yield f"{case}: {what} {a} in the file, {b} now"


def runs(run: Callable[..., Any] = orthogonalize) -> Mapping[str, Run]:
    """Return a planned factor and a bare loop of its polynomials on the same matrix."""
    goal = {"tol": 1e-3, "floor": 1e-3}
    x = np.random.default_rng(0).standard_normal((SIDE, SIDE)).astype("float32")
    plan = plan_orthogonalization(x.shape, "float32", **goal)
    coefficients = [tuple(map(float, step)) for step in plan.coefficients]
    return {
        "kernel": Run(partial(run, x, method="polynomial", **goal), _nothing),
        "bare": Run(partial(peers.bare_loop(coefficients), x), _nothing),
    }


def ratio(pair: Mapping[str, Run], seconds: float = SECONDS) -> rounds.Ratio:
    """Return the time of the kernel over that of the bare loop, round by round."""
    taken = rounds.times(pair, seconds)
    return rounds.ratio(taken["kernel"], taken["bare"])


def main(arguments: list[str] | None = None) -> int:
    """Return 1 where a count or the ratio is not what it must be."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gate")
    parser.add_argument("--write", action="store_true", help="write the counts of today")
    options = parser.parse_args(arguments)
    found = counted()
    if options.write:
        FILE.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    different = list(differences(found, json.loads(FILE.read_text(encoding="utf-8"))))
    for line in different:
        print(line)
    if different:
        print(f"{len(different)} counts differ; if that is meant, run this again with --write")
        return 1
    taken = ratio(runs())
    print(
        f"{len(found)} cases count as before; {taken.median:.2f} ({taken.low:.2f} to "
        f"{taken.high:.2f}) of the time of a bare loop, at most {BAR}"
    )
    return int(taken.median > BAR)


def _nothing() -> None:
    return


if __name__ == "__main__":
    sys.exit(main())
