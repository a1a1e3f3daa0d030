"""The whole job: read, destroy if asked to, recover, report, write."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy

from specdesc import backends
from specdesc._lib import progress
from specdesc._lib.typing import Array
from specdesc.backends import Backend
from specdesc.problems import RobustRecovery, corrupt
from specdesc.recover import (
    centring,
    held_out,
    methods,
    names,
    outputs,
    ranks,
    reading,
    report,
)
from specdesc.recover.centring import Centre
from specdesc.recover.data import Data
from specdesc.recover.errors import Interrupted, UsageError
from specdesc.recover.held_out import HeldOut
from specdesc.recover.methods import Outcome
from specdesc.recover.tables import Reading

#: Entries from which on the matrices of a stack are solved one after another: the work arrays of
#: one are then those of all.
ONE_BY_ONE = 1 << 20

#: Up to so many entries a last fit is tried from several starts.
RESTARTED = 100_000

#: Root mean squares within this factor tell no method from another.
TIE = 1.05


@dataclass(frozen=True)
class Options:
    """What the command line asks for.

    Attributes
    ----------
    path : Path
        A picture, an array or a table; with `frames` also a folder of pictures.
    share, noise : float
        What to destroy first; with both 0 the data are taken as they are and no error is known.
    rank : int or None
        None estimates it from the data.
    method : str
        A key of `methods.DESCENTS`.
    backends : tuple of str
        Names, or ``"all"``.
    device, dtype : str or None
        None is the backend's default device; float32 for pictures and the dtype of a matrix.
    steps, seed : int
        Of the descents; of what is destroyed and held out.
    out : Path
        A folder, made if it is not there.
    frames : bool
        Whether the data are frames of one scene.
    keep : str
        Whose result is written: ``"best"``, a key of `methods.NAMES`, or ``"all"``.
    only : bool
        Whether the baselines are left out.
    replace : str or None
        One of `outliers.REPLACE`; None is ``"missing"`` for tables with missing entries that were
        not destroyed on purpose, else ``"all"``.
    centre : str or None
        One of `centring.WAYS`; None is chosen by `centring.find`.
    reading : Reading
        What is known of a table.
    """

    path: Path
    share: float = 0.0
    noise: float = 0.0
    rank: int | None = None
    method: str = "truncated"
    backends: tuple[str, ...] = ("numpy",)
    device: str | None = None
    dtype: str | None = None
    steps: int = 300
    seed: int = 0
    out: Path = Path("specdesc-out")
    frames: bool = False
    keep: str = "best"
    only: bool = False
    replace: str | None = None
    centre: str | None = None
    reading: Reading = field(default_factory=Reading)


@dataclass(frozen=True)
class Task:
    """The data of the fits: what is destroyed, its centre, and what is held out of it.

    Attributes
    ----------
    destroyed, clean : Data
    centre : Centre
    centred : NumPy array
        The centred values.
    truth : NumPy array or None
        The centred truth, where it is known of every entry.
    held : HeldOut
    options : Options
    """

    destroyed: Data
    clean: Data | None
    centre: Centre
    centred: Array
    truth: Array | None
    held: HeldOut
    options: Options

    def problems(self, leaf: Backend, /, *, whole: bool = False) -> Iterator[RobustRecovery]:
        """Yield the problem on a backend, or those of the single matrices of a large stack.

        Parameters
        ----------
        leaf : Backend
        whole : bool
            Whether what is held out is seen as well.
        """
        shape = self.centred.shape
        apart = len(shape) == 3 and shape[-2] * shape[-1] > ONE_BY_ONE
        for part in range(shape[0]) if apart else [slice(None)]:
            flat = self.centred.reshape(-1)
            if not whole:
                flat[self.held.places] = float("nan")
            try:
                problem = self.problem(
                    leaf, self.centred[part], None if self.truth is None else self.truth[part]
                )
            finally:
                flat[self.held.places] = self.held.values
            yield problem

    def problem(
        self, leaf: Backend, values: Array, truth: Array | None = None, /
    ) -> RobustRecovery:
        """Return the problem of observed entries on a backend."""
        name = self.options.dtype or str(self.destroyed.values.dtype)
        name = {"float16": "float32"}.get(name, name)
        if self.destroyed.kind == "picture" or self.destroyed.form.limits is not None:
            name = self.options.dtype or "float32"
        if values.dtype.kind == "c":
            name = {"float32": "complex64", "float64": "complex128"}.get(name, name)
        try:
            entries = leaf.from_host(values, dtype=name, device=self.options.device)
            known = None
            if truth is not None:
                known = leaf.from_host(truth, dtype=name, device=self.options.device)
        except (ValueError, RuntimeError, AssertionError, NotImplementedError) as error:
            # AssertionError is what torch raises for a device that it was not built for.
            msg = f"{leaf.name} cannot hold the data: {str(error).splitlines()[0]}"
            raise UsageError(msg) from error
        return RobustRecovery.from_entries(entries, truth=known)


def recover(options: Options, say: Callable[[str], None] = print, /) -> list[Outcome]:
    """Run the job and return what each method made of the data, ours last of its backend.

    Raises
    ------
    UsageError, specdesc.MissingExtra, specdesc.backends.BackendUnavailable
        With the one line that the user should see. Nothing has been written then.
    Interrupted
        If the user stopped it. What was finished then has been written.
    """
    leaves = _load(options)
    _check(options)
    with progress.doing(f"reading {options.path}"):
        given = reading.read(
            options.path,
            as_frames=options.frames,
            reading=options.reading,
            dtype=options.dtype or "float32",
        )
    _check_rank(options.rank, given)
    place = names.prepare(options.out, options.path)
    say(_described(given))
    hint = reading.suspicion(given)
    if hint:
        say(hint)
    destroyed, clean = _destroy(given, options)
    task, rank = _ranked(destroyed, clean, options, leaves[0])
    if task.centre.way != "none":
        scaled = " and scaled" if task.centre.scale is not None else ""
        say(f"centred{scaled} by {task.centre.way}")
    outcomes: list[Outcome] = []
    stopped = False
    if options.rank is None:
        say(f"rank {rank} estimated from the data")
    try:
        for leaf in leaves:
            for key in _keys(options, given, first=leaf is leaves[0]):
                outcomes.append(_run(key, leaf, task, rank))
    except KeyboardInterrupt:
        stopped = True
    if not outcomes:
        msg = "interrupted; nothing was finished, nothing is written"
        raise Interrupted(msg)
    outcomes = _judged(outcomes, task)
    best, why = _choose(outcomes, task)
    if not stopped and not task.held.is_negligible:
        try:
            outcomes[best] = _refit(outcomes[best], outcomes, leaves, task, rank)
        except KeyboardInterrupt:
            stopped = True
    if not _is_finite(outcomes[best].values):
        msg = (
            f"{outcomes[best].method} on {outcomes[best].backend} left the range of {options.dtype}"
        )
        raise UsageError(msg)
    mark = "best" if options.keep in ("best", "all") else "written"
    say(report.table(outcomes, destroyed, clean, written=[best], mark=mark))
    say(f"{mark}: {why}")
    _say_closest(outcomes, best, clean, say)
    outputs.write(
        outputs.Results(
            options.path,
            place,
            destroyed,
            clean,
            task.centre,
            _replace(options, destroyed),
            outcomes,
            best,
            options.keep == "all",
            _facts(options, task, outcomes, best, why, rank),
        ),
        say,
    )
    if stopped:
        msg = f"interrupted; {len(outcomes)} methods had finished and the best of them is written"
        raise Interrupted(msg)
    return outcomes


def _load(options: Options) -> list[Backend]:
    if options.backends != ("all",):
        return [backends.load(name) for name in options.backends]
    leaves = [backends.load(name) for name in backends.available()]
    able = [
        leaf for leaf in leaves if "problems.estimate_rank" not in leaf.capabilities.unsupported
    ]
    # NumPy leads, since the first backend also runs the baselines.
    return sorted(able, key=lambda leaf: (leaf.name != "numpy", leaf.name))


def _check(options: Options) -> None:
    if options.seed < 0:
        msg = f"--seed must be a whole number of at least 0, got {options.seed}"
        raise UsageError(msg)
    if options.keep in ("best", "all"):
        return
    running = (options.method,) if options.only else tuple(methods.NAMES)
    others = set(methods.DESCENTS) - {options.method, "subgradient"}
    if options.keep not in running or options.keep in others:
        msg = f"--keep {options.keep}: that method does not run"
        raise UsageError(f"{msg}; --method names the descent, and --only leaves out the others")


def _check_rank(rank: int | None, given: Data) -> None:
    most = min(given.values.shape[-2:])
    if rank is not None and not 1 <= rank <= most:
        msg = f"--rank must be from 1 to {most} for this input, got {rank}"
        raise UsageError(msg)


def _described(data: Data) -> str:
    shape = data.values.shape
    what = {
        "picture": f"picture of {shape[-2]} x {shape[-1]}"
        + (f", {shape[0]} channels" if len(shape) == 3 else ""),
        "frames": f"{shape[0]} frames of {shape[-1]} numbers",
        "matrix": f"matrix of shape {shape}",
        "table": f"table of {shape[0]} rows and {shape[-1]} columns of numbers",
    }[data.kind]
    missing = int(data.missing.sum())
    notes = [*data.form.notes] + ([f"{missing} entries missing"] if missing else [])
    return "; ".join([f"read: {what}", *notes])


def _destroy(given: Data, options: Options) -> tuple[Data, Data | None]:
    """Return what the methods see, and the truth if it is known."""
    if options.share == 0 and options.noise == 0:
        return given, None
    if given.values.dtype.kind == "c":
        msg = "--corrupt and --noise are for real data; complex data are recovered as they are"
        raise UsageError(msg)
    low, high = given.limits
    if low == high:
        msg = "--corrupt and --noise need data that vary: all entries are the same"
        raise UsageError(msg)
    values = corrupt(
        given.values,
        share=options.share,
        noise=options.noise,
        seed=options.seed,
        limits=given.form.limits,
    )
    return given.like(values), given


def _task(destroyed: Data, clean: Data | None, options: Options) -> Task:
    centre = centring.find(destroyed, options.centre)
    centred = centre.apply(destroyed.values)
    if centred.dtype == "float16":
        centred = centred.astype("float32")
    # What is held out is marked in this array for the moment in which a backend copies it.
    centred = numpy.require(centred, requirements=["C", "W"])
    truth = None
    if clean is not None and not clean.missing.any():
        truth = centre.apply(clean.values)
    held = held_out.choose(centred, options.seed)
    return Task(destroyed, clean, centre, centred, truth, held, options)


def _ranked(
    destroyed: Data, clean: Data | None, options: Options, leaf: Backend
) -> tuple[Task, int]:
    """Return the task, centred in the way that leaves the lowest rank, and the rank."""
    task = _task(destroyed, clean, options)
    if options.rank is not None:
        return task, options.rank
    try:
        with progress.doing("estimating the rank"):
            rank = _rank(task, leaf)
            if (
                options.centre is None
                and task.centre.way == "none"
                and centring.has_offset(destroyed)
            ):
                other = _task(destroyed, clean, replace(options, centre="median"))
                lower = _rank(other, leaf)
                if lower < rank:
                    return other, lower
    except KeyboardInterrupt as stop:
        msg = "interrupted; nothing was finished, nothing is written"
        raise Interrupted(msg) from stop
    return task, rank


def _rank(task: Task, leaf: Backend) -> int:
    def make(values: Array) -> RobustRecovery:
        return task.problem(leaf, values)

    if task.destroyed.kind == "frames":
        return ranks.of_background(task.centred, make, task.options.seed)
    rank = ranks.estimate(task.centred, make, task.options.seed)
    if task.destroyed.kind == "picture" or task.centred.size > ranks.REFINED:
        return rank

    def errors(rank: int) -> Array:
        steps = min(task.options.steps, ranks.REFINING_STEPS)
        (problem,) = task.problems(leaf)
        return task.held.errors(methods.descend(task.options.method, problem, rank, steps).values)

    most = min(task.centred.shape[-2:])
    return ranks.refined(rank, most, errors, task.held)


def _keys(options: Options, given: Data, *, first: bool) -> list[str]:
    """Return the methods that run on a backend: baselines on the first one, the chosen one last."""
    if options.only or not first:
        return [options.method]
    keys = ["svd", "pursuit"]
    if given.kind in ("picture", "frames"):
        keys = ["median" if given.kind == "picture" else "time", *keys]
    if options.method != "subgradient":
        keys.append("subgradient")
    return [*keys, options.method]


def _run(
    key: str,
    leaf: Backend,
    task: Task,
    rank: int,
    *,
    whole: bool = False,
    start: Array | None = None,
) -> Outcome:
    """Run a method on every part of the task, and put its result on the scale of the data."""
    shows = progress.wanted()
    with progress.doing(methods.NAMES[key]) if key in methods.BASELINES else nullcontext():
        parts = [
            methods.run(key, problem, rank, task.options.steps, shows, start)
            for problem in task.problems(leaf, whole=whole)
        ]
    outcome = methods.joined(parts)
    errors = None if whole else task.held.errors(outcome.values)
    return replace(outcome, values=task.centre.undo(outcome.values), held_out_errors=errors)


def _judged(outcomes: list[Outcome], task: Task) -> list[Outcome]:
    means = task.held.means([_errors_of(outcome) for outcome in outcomes])
    return [replace(outcome, held_out=mean) for outcome, mean in zip(outcomes, means, strict=True)]


def _errors_of(outcome: Outcome) -> Array:
    if outcome.held_out_errors is None:
        msg = "the outcome was fitted to all entries"
        raise ValueError(msg)
    return outcome.held_out_errors


def _refit(
    outcome: Outcome, others: list[Outcome], leaves: list[Backend], task: Task, rank: int
) -> Outcome:
    """Fit once more, with what was held out; the error on that stays the one that was measured.

    A bound on the rank is not convex. A descent on few entries is run from the first fit as well,
    and from that of pursuit, which is convex; the lowest loss counts.
    """
    leaf = next(leaf for leaf in leaves if leaf.name == outcome.backend)
    again = _run(outcome.key, leaf, task, rank, whole=True)
    if outcome.key in methods.DESCENTS and task.centred.size <= RESTARTED and again.losses:
        for first in (outcome, *(each for each in others if each.key == "pursuit")):
            start = task.centre.apply(first.values)
            once_more = _run(outcome.key, leaf, task, rank, whole=True, start=start)
            if once_more.losses[-1] < again.losses[-1]:
                again = once_more
    return replace(again, held_out=outcome.held_out)


def _choose(outcomes: list[Outcome], task: Task) -> tuple[int, str]:
    """Return which outcome is written, and why."""
    options, last = task.options, len(outcomes) - 1
    if options.keep not in ("best", "all"):
        chosen = [i for i, outcome in enumerate(outcomes) if outcome.key == options.keep]
        if chosen:
            return chosen[0], f"{outcomes[chosen[0]].method}, as --keep says"
    if task.destroyed.kind == "frames":
        ours = [i for i, outcome in enumerate(outcomes) if outcome.key == options.method]
        best = ours[0] if ours else last
        why = (
            f"{outcomes[best].method}; an error on held-out pixels is no judge of a background, "
            "since it is small where slow things are taken for it"
        )
        return best, why
    if options.only:
        return last, f"{outcomes[last].method}, the only one that ran"
    if not len(task.held.places):
        return last, f"{outcomes[last].method}; too few entries to hold any out"
    able = [i for i, outcome in enumerate(outcomes) if _is_finite(outcome.values)] or [last]
    good = task.held.as_good([_errors_of(outcomes[i]) for i in able])
    # The one-standard-error rule: of what cannot be told apart the simplest, which has a low rank.
    equal = [i for i, is_good in zip(able, good, strict=True) if is_good]
    sizes = task.held.root_mean_squares([_errors_of(outcomes[i]) for i in equal])
    # A few large errors are no more than a tie in the mean, and the whole of a Frobenius norm.
    low = [i for i, size in zip(equal, sizes, strict=True) if size <= TIE * min(sizes)]
    simple = [i for i in low if outcomes[i].key in (*methods.DESCENTS, "svd")] or low
    best = min(simple, key=lambda i: outcomes[i].held_out)
    count = len({outcome.method for outcome in outcomes})
    why = f"{outcomes[best].method}, the lowest error on held-out entries of {count} methods"
    if outcomes[best].held_out > min(outcomes[i].held_out for i in able):
        why = f"{why}, up to its standard error, and of low rank"
    return best, why


def _is_finite(values: Array) -> bool:
    return bool(numpy.isfinite(values).all())


def _say_closest(
    outcomes: list[Outcome], best: int, clean: Data | None, say: Callable[[str], None]
) -> None:
    """Say so if the truth, which the choice does not look at, is closer to another."""
    if clean is None:
        return
    errors = [report.relative_error(outcome.values, clean) for outcome in outcomes]
    closest = min(range(len(errors)), key=errors.__getitem__)
    if errors[closest] < errors[best]:
        say(f"closest to the truth: {outcomes[closest].method}, {outcomes[closest].backend}")


def _replace(options: Options, destroyed: Data) -> str:
    if options.replace is not None:
        return options.replace
    whole = destroyed.kind != "table" or not destroyed.missing.any()
    return "all" if whole or options.share or options.noise else "missing"


def _facts(
    options: Options, task: Task, outcomes: list[Outcome], best: int, why: str, rank: int
) -> dict[str, Any]:
    """Return what the JSON report holds."""
    centre = task.centre
    rows = [
        {
            "method": outcome.method,
            "backend": outcome.backend,
            "device": outcome.device,
            "held_out_error": outcome.held_out,
            "seconds": outcome.seconds,
            **_errors(outcome, task.clean),
        }
        for outcome in outcomes
    ]
    libraries = ("specdesc", "numpy", *(outcome.backend for outcome in outcomes))
    return {
        "read": _described(task.destroyed),
        "shape": list(task.destroyed.values.shape),
        "missing": int(task.destroyed.missing.sum()),
        "rank": rank,
        "rank_estimated": options.rank is None,
        "iterations": options.steps,
        "centre": centre.way,
        "centres": None if centre.centre is None else _numbers(centre.centre),
        "scales": None if centre.scale is None else _numbers(centre.scale),
        "scale": centring.spread(task.held.values) if len(task.held.values) else None,
        "held_out": len(task.held.places),
        "written": outcomes[best].method,
        "why": why,
        "replaced": _replace(options, task.destroyed),
        "methods": rows,
        "seed": options.seed,
        "options": {key: _plain(value) for key, value in asdict(options).items()},
        "versions": {name: _version(name) for name in dict.fromkeys(libraries)},
    }


def _errors(outcome: Outcome, clean: Data | None) -> dict[str, float]:
    if clean is None:
        return {}
    return {
        "relative_error": report.relative_error(outcome.values, clean),
        "centred_error": report.relative_error(outcome.values, clean, centred=True),
        "psnr": report.psnr(outcome.values, clean),
    }


def _numbers(values: Array) -> list[Any]:
    return [
        str(each) if isinstance(each, complex) else each for each in values.reshape(-1).tolist()
    ]


def _plain(value: Any) -> Any:
    return value.as_posix() if isinstance(value, Path) else value


def _version(name: str) -> str | None:
    try:
        return version(name)
    except ModuleNotFoundError:
        return None
