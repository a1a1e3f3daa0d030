"""The job behind ``specdesc bench``: measure the machine, then kernels, then whole steps."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy

from specdesc import backends
from specdesc._lib import host, progress
from specdesc._lib.typing import Array
from specdesc.backends import Backend
from specdesc.bench import counts, machine, models, report, rounds
from specdesc.bench.kernels import KERNELS, Kernel
from specdesc.bench.rounds import Run
from specdesc.recover.errors import UsageError

#: Of the budget, what the rates of the machine may take, and what the picture needs at the end.
RATES, LAST = 0.25, 0.05

#: Room for one result to be as accurate as another.
AS_ACCURATE = 1.1


@dataclass(frozen=True)
class Options:
    """What the command line asks for.

    Attributes
    ----------
    kernels : tuple of str
        Keys of `KERNELS`.
    shapes : tuple of tuple of int
        Of the matrices.
    backends, devices, dtypes : tuple of str
        No device is the default one of each backend.
    peers : bool
        Whether other libraries run beside.
    budget : float
        Seconds for all of it.
    compare : Path or None
        An older file.
    model : str or None
        A key of `models.MODELS`, for whole steps.
    out : Path
        A folder, made if it is not there.
    """

    kernels: tuple[str, ...] = tuple(KERNELS)
    shapes: tuple[tuple[int, ...], ...] = ((512, 512), (1024, 256))
    backends: tuple[str, ...] = ("numpy",)
    devices: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = ("float32",)
    peers: bool = True
    budget: float = 60.0
    compare: Path | None = None
    model: str | None = None
    out: Path = Path("specdesc-out")


@dataclass(frozen=True)
class Place:
    """A backend, a device of it, and a dtype."""

    backend: Backend
    device: str | None
    dtype: str

    @property
    def name(self) -> str:
        """Return what the table calls it."""
        device = self.device or "cpu" if self.backend.name == "numpy" else self.device or "default"
        return f"{self.backend.name}, {device}, {self.dtype}"

    def array(self, values: Array, /) -> Array:
        """Return host values in this place."""
        xp = self.backend.xp
        x = self.backend.from_host(values.astype("float32"), dtype="float32", device=self.device)
        return xp.astype(x, getattr(xp, self.dtype), copy=False)


def bench(options: Options, say: Callable[[str], None] = print, /) -> list[dict[str, Any]]:
    """Run the benchmark and return its rows.

    Raises
    ------
    UsageError, specdesc.backends.BackendUnavailable
        With the one line that the user should see. Nothing has been measured then.
    """
    end = time.perf_counter() + (1 - LAST) * options.budget
    old = None if options.compare is None else report.read(options.compare)
    places = list(_places(options))
    options.out.mkdir(parents=True, exist_ok=True)
    shares = len(options.shapes) * len(options.kernels) * len(options.dtypes) + bool(options.model)
    rows: list[dict[str, Any]] = []
    found: dict[str, dict[str, float]] = {}
    with progress.bar("bench", shown=progress.wanted(), unit=" cases") as advance:
        stop = time.perf_counter() + RATES * options.budget
        for place in places:
            if found and time.perf_counter() > stop:
                break
            found[place.name] = machine.rate(
                place.backend, place.device, place.dtype, _gaussian
            )._asdict()
        skipped = 0
        for name, shape, dtype in _cases(options):
            left = end - time.perf_counter()
            if left <= 0:
                skipped += 1
                continue
            chosen = [place for place in places if place.dtype == dtype]
            share = left / max(1, shares)
            rows += _measured(name, shape, chosen, found, options.peers, share)
            shares -= 1
            advance(lambda name=name: name)  # type: ignore[misc]
        if options.model is not None and end > time.perf_counter():
            rows += _steps(options, end - time.perf_counter())
    say(report.rates(found))
    say("")
    say(report.table(rows))
    if skipped:
        say(f"{skipped} cases did not fit into the budget of {options.budget:g} s")
    if old is not None:
        say("")
        say(report.comparison(old, rows))
    record = {"machine": machine.describe(), "rates": found, "rows": rows}
    for path in report.write(options.out, record):
        say(f"written: {path}")
    return rows


def _places(options: Options) -> Iterator[Place]:
    for name in options.kernels:
        if name not in KERNELS:
            msg = f"unknown kernel {name!r}; there are: {', '.join(KERNELS)}"
            raise UsageError(msg)
    if options.model is not None:
        if options.model not in models.MODELS:
            msg = f"unknown model {options.model!r}; there are: {', '.join(models.MODELS)}"
            raise UsageError(msg)
        if find_spec("torch") is None:
            msg = "--model times an optimizer of torch, which is not installed"
            raise UsageError(msg)
    for dtype in options.dtypes:
        for name in options.backends:
            leaf = backends.load(name)
            if dtype not in leaf.capabilities.dtypes:
                msg = f"{name} has no {dtype}; it has: {', '.join(leaf.capabilities.dtypes)}"
                raise UsageError(msg)
            known = leaf.devices()
            for device in options.devices or (None,):
                if device is None or device in known:
                    yield Place(leaf, device, dtype)
                elif len(options.backends) == 1:
                    msg = f"{name} has the devices {', '.join(known)}, not {device!r}"
                    raise UsageError(msg)


def _cases(options: Options) -> Iterator[tuple[str, tuple[int, ...], str]]:
    for shape in options.shapes:
        for dtype in options.dtypes:
            for name in options.kernels:
                yield name, shape, dtype


def _gaussian(shape: tuple[int, ...]) -> Array:
    return host.generator(0).standard_normal(shape)


@cache
def _matrix(shape: tuple[int, ...], dtype: str) -> tuple[Array, float]:
    """Return a Gaussian matrix that every dtype holds, and its largest singular value."""
    coarse = {"float16": "float16", "bfloat16": "float16"}.get(dtype, "float32")
    x = (_gaussian(shape) / max(shape) ** 0.5).astype(coarse).astype("float32")
    if dtype == "bfloat16":
        x = (x.view("uint32") & numpy.uint32(0xFFFF0000)).view("float32")
    return x, float(numpy.linalg.norm(x, 2))


def _measured(
    name: str,
    shape: tuple[int, ...],
    places: list[Place],
    rates: dict[str, dict[str, float]],
    peers: bool,
    budget: float,
) -> list[dict[str, Any]]:
    """Return a row for each contestant of one kernel at one shape and dtype."""
    kernel, dtype = KERNELS[name], places[0].dtype
    x, size = _matrix(shape, dtype)
    begin = time.perf_counter()
    runs: dict[str, Run] = {}
    slow: dict[str, float] = {}
    errors: dict[str, float] = {}
    facts: dict[str, dict[str, float | None]] = {}
    for place in places:
        who = place.name.rsplit(", ", 1)[0]
        y = place.array(x)
        runs[who] = _run(kernel, y, size, place.backend)
        errors[who] = kernel.error(x, _on_host(kernel.ours(y, size), place.backend))
        facts[who] = _facts(kernel, y, runs[who], place)
    for peer in kernel.peers if peers else ():
        if peer.installed:
            call, to_host = peer.prepare(x)
            run = Run(call, _nothing)
            errors[peer.name] = kernel.error(x, to_host(call()))
            facts[peer.name] = {}
            once = rounds.seconds(run, 1)
            if once * rounds.LEAST_CALLS > budget:
                slow[peer.name] = once
            else:
                runs[peer.name] = run
    taken = rounds.times(runs, budget - (time.perf_counter() - begin))
    taken |= {who: numpy.asarray([once]) for who, once in slow.items()}
    first = next(iter(runs))
    rows = []
    for who in taken:
        seconds = float(numpy.median(taken[who]))
        place = next((p for p in places if p.name.startswith(f"{who}, ")), places[0])
        rows.append(
            {
                "kernel": name,
                "shape": list(shape),
                "dtype": dtype,
                "who": who,
                "ms": 1e3 * seconds,
                **_compared(kernel, who, first, errors, taken),
                "error": errors[who],
                **_against_the_machine(
                    kernel, shape, dtype, seconds, facts[who], rates.get(place.name)
                ),
            }
        )
    return rows


def _compared(
    kernel: Kernel, who: str, first: str, errors: dict[str, float], taken: dict[str, Array]
) -> dict[str, Any]:
    """Return the ratio to the first contestant, if both are accurate enough to be compared."""
    if who == first:
        return {"ratio": None, "no ratio": "1"}
    if len(taken[who]) != len(taken[first]):
        return {"ratio": None, "no ratio": "one call alone"}
    met = max(errors[who], errors[first]) <= kernel.goal
    # What is less accurate than asked may still lose to what is more accurate and faster.
    if met or errors[first] <= errors[who] * AS_ACCURATE <= AS_ACCURATE * kernel.goal:
        return {"ratio": list(rounds.ratio(taken[who], taken[first])), "no ratio": None}
    return {"ratio": None, "no ratio": "another accuracy"}


def _facts(kernel: Kernel, y: Array, run: Run, place: Place) -> dict[str, float | None]:
    found: dict[str, float | None] = {
        "products": None if kernel.products is None else kernel.products(y)
    }
    if place.backend.name == "numpy":
        found["peak MiB"] = counts.peak_of_numpy(run.call)
    elif place.backend.name == "torch":
        found["launches"] = float(counts.launches(run.call))
        if str(place.device or "").startswith("cuda"):
            found["peak MiB"] = counts.peak_of_cuda(run.call)
    return found


def _against_the_machine(
    kernel: Kernel,
    shape: tuple[int, ...],
    dtype: str,
    seconds: float,
    facts: dict[str, float | None],
    rate: dict[str, float] | None,
) -> dict[str, float | None]:
    """Return counts, and what the machine would need at its own rates."""
    short, long = sorted(shape[-2:])
    product = 2.0 * short * short * long * math.prod(shape[:-2])
    entry = {"float64": 8, "complex128": 16, "complex64": 8, "float32": 4}.get(dtype, 2)
    products, floor, share = facts.get("products"), None, None
    if rate is not None:
        # Read once, written once; a truncated step and a clip read at least twice.
        moved = 2.0 * math.prod(shape) * entry / rate["bandwidth"]
        floor = max(kernel.least * product / rate["flops"], moved)
        if products is not None:
            share = products * product / seconds / rate["flops"]
    return {
        "products": products,
        "launches": facts.get("launches"),
        "share of the rate": share,
        "floor ms": None if floor is None else 1e3 * floor,
        "over the floor": None if floor is None else seconds / floor,
        "peak MiB": facts.get("peak MiB"),
    }


def _run(kernel: Kernel, y: Array, size: float, backend: Backend) -> Run:
    def call() -> object:
        found = kernel.ours(y, size)
        ready = getattr(found, "block_until_ready", None)
        return found if ready is None else ready()

    return Run(call, backend.synchronize)


def _on_host(y: Array, backend: Backend) -> Array:
    xp = backend.xp
    coarse = str(y.dtype).endswith("bfloat16")
    return backend.to_host(xp.astype(y, xp.float32) if coarse else y)


def _steps(options: Options, budget: float) -> list[dict[str, Any]]:
    """Return a row for the step of a whole model by each optimizer."""
    device = options.devices[0] if options.devices else None
    runs = models.runs(str(options.model), device)
    taken = rounds.times(runs, budget)
    first = next(iter(runs))
    blank = dict.fromkeys(
        ("error", "products", "share of the rate", "floor ms", "over the floor", "peak MiB")
    )
    return [
        {
            "kernel": f"step of {options.model}",
            "shape": [],
            "dtype": "float32",
            "who": who,
            "ms": 1e3 * float(numpy.median(taken[who])),
            "ratio": None if who == first else list(rounds.ratio(taken[who], taken[first])),
            "no ratio": "1" if who == first else None,
            **blank,
            "launches": float(counts.launches(runs[who].call)),
        }
        for who in runs
    ]


def _nothing() -> None:
    return
