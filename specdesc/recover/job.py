"""The whole job: read, destroy if asked to, recover, report, write."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from specdesc import backends
from specdesc._lib import extras
from specdesc.backends import Backend
from specdesc.problems import RobustRecovery, corrupt, estimate_rank
from specdesc.recover import data, methods, report
from specdesc.recover.data import Data
from specdesc.recover.errors import UsageError
from specdesc.recover.methods import Outcome


@dataclass(frozen=True)
class Options:
    """What the command line asks for.

    Attributes
    ----------
    path : Path
        A picture, ``.npy`` or ``.csv``.
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
        Of the descents; of what is destroyed.
    out : Path
        A folder, made if it is not there.
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


def recover(options: Options, say: Callable[[str], None] = print, /) -> list[Outcome]:
    """Run the job and return what each method made of the data, ours last of its backend.

    Raises
    ------
    UsageError, specdesc.MissingExtra, specdesc.backends.BackendUnavailable
        With the one line that the user should see. Nothing has been written then.
    """
    leaves = _load(options)
    given = data.read(options.path)
    _check_rank(options.rank, given)
    destroyed, clean = _destroy(given, options)
    outcomes: list[Outcome] = []
    for leaf in leaves:
        problem = _problem(leaf, destroyed, clean, options)
        outcomes += _run(problem, options, with_baselines=not outcomes, say=say)
    say(report.table(outcomes, destroyed, clean))
    _write(options, outcomes, destroyed, clean, say)
    return outcomes


def _load(options: Options) -> list[Backend]:
    if options.backends != ("all",):
        return [backends.load(name) for name in options.backends]
    leaves = [backends.load(name) for name in backends.available()]
    able = [leaf for leaf in leaves if "truncated_svd" not in leaf.capabilities.unsupported]
    # NumPy leads, since the first backend also runs the baselines.
    return sorted(able, key=lambda leaf: (leaf.name != "numpy", leaf.name))


def _check_rank(rank: int | None, given: Data) -> None:
    most = min(given.values.shape[-2:])
    if rank is not None and not 1 <= rank <= most:
        msg = f"--rank must be from 1 to {most} for this input, got {rank}"
        raise UsageError(msg)


def _destroy(given: Data, options: Options) -> tuple[Data, Data | None]:
    """Return what the methods see, and the truth if it is known."""
    if options.share == 0 and options.noise == 0:
        return given, None
    if given.values.dtype.kind == "c":
        msg = "--corrupt and --noise are for real data; complex data are recovered as they are"
        raise UsageError(msg)
    values = corrupt(
        given.values,
        share=options.share,
        noise=options.noise,
        seed=options.seed,
        limits=given.limits if given.is_picture else None,
    )
    return given.like(values), given


def _run(
    problem: RobustRecovery,
    options: Options,
    *,
    with_baselines: bool,
    say: Callable[[str], None],
) -> list[Outcome]:
    rank = options.rank
    if rank is None:
        rank = estimate_rank(problem)
        say(f"{problem.backend.name}: rank {rank} estimated from the data")
    outcomes = []
    if with_baselines:
        outcomes += [methods.truncated_svd(problem, rank), methods.pursuit(problem)]
        if options.method != "subgradient":
            outcomes.append(methods.descend("subgradient", problem, rank, options.steps))
    outcomes.append(methods.descend(options.method, problem, rank, options.steps))
    for outcome in outcomes:
        if not math.isfinite(float(abs(outcome.values).sum())):
            msg = f"{outcome.method} on {outcome.backend} left the range of {options.dtype}"
            raise UsageError(msg)
    return outcomes


def _problem(
    leaf: Backend, destroyed: Data, clean: Data | None, options: Options
) -> RobustRecovery:
    name = options.dtype or ("float32" if destroyed.is_picture else str(destroyed.values.dtype))
    if destroyed.values.dtype.kind == "c":
        name = {"float32": "complex64", "float64": "complex128"}.get(name, name)
    try:
        entries = leaf.from_host(destroyed.values, dtype=name, device=options.device)
        truth = None
        if clean is not None and (clean.values == clean.values).all():
            truth = leaf.from_host(clean.values, dtype=name, device=options.device)
    except (ValueError, RuntimeError) as error:
        msg = f"{leaf.name} cannot hold the data: {str(error).splitlines()[0]}"
        raise UsageError(msg) from error
    return RobustRecovery.from_entries(entries, truth=truth)


def _write(
    options: Options,
    outcomes: list[Outcome],
    destroyed: Data,
    clean: Data | None,
    say: Callable[[str], None],
) -> None:
    options.out.mkdir(parents=True, exist_ok=True)
    suffix = ".png" if destroyed.is_picture else destroyed.suffix
    recovered = options.out / f"{options.path.stem}-recovered{suffix}"
    data.write(recovered, destroyed.like(outcomes[-1].values))
    say(f"recovered: {recovered}")
    if extras.installed("matplotlib"):
        sheet = options.out / f"{options.path.stem}-report.png"
        report.figure(sheet, outcomes, destroyed, clean)
        say(f"figure: {sheet}")
    else:
        say("no figure: that needs matplotlib: pip install 'specdesc[demo]'")
