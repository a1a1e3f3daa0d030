"""The job behind ``specdesc verify``: run claims, print verdicts, write figures and numbers."""

import hashlib
import inspect
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy

from specdesc import backends
from specdesc._lib import extras, host, progress
from specdesc.backends import Backend
from specdesc.recover.errors import UsageError
from specdesc.verify.claim import Claim, Finding
from specdesc.verify.trial import Trial

#: Inches and dots of a figure: well below 100 kB.
SIZE, DOTS = (8.0, 4.0), 90


@dataclass(frozen=True)
class Options:
    """What the command line asks for.

    Attributes
    ----------
    claims : tuple of Claim
        In the order in which they are run.
    quick : bool
        A minute for all of them instead of most of an hour.
    out : Path
        A folder, made if it is not there. Finished cells lie in its folder ``cells``.
    backend : str
        Where to compute.
    fresh : bool
        Compute again what an earlier run has finished.
    """

    claims: tuple[Claim, ...]
    quick: bool = False
    out: Path = Path("specdesc-out")
    backend: str = "numpy"
    fresh: bool = False


def choose(names: Sequence[str], known: Mapping[str, Claim], /) -> tuple[Claim, ...]:
    """Return the claims of these names, each once.

    Raises
    ------
    UsageError
        For an unknown name.
    """
    for name in names:
        if name not in known:
            msg = f"unknown claim {name!r}; there are: {', '.join(known)}"
            raise UsageError(msg)
    return tuple(known[name] for name in dict.fromkeys(names))


def listing(known: Mapping[str, Claim], /) -> str:
    """Return one paragraph a claim: name, statement, source."""
    return "\n".join(
        f"{claim.name}\n  {claim.statement}\n  source: {claim.source}" for claim in known.values()
    )


def verify(options: Options, say: Callable[[str], None] = print, /) -> dict[str, Finding]:
    """Run the claims and return what was found, by name.

    Each claim writes ``NAME.json``, and ``NAME.png`` where matplotlib is installed, as soon as it
    is done.

    Raises
    ------
    specdesc.backends.BackendUnavailable, UsageError
        There is no such backend, or it makes no float64. Nothing has been written then.
    """
    leaf = backends.load(options.backend)
    _check_precision(leaf)
    options.out.mkdir(parents=True, exist_ok=True)
    found: dict[str, Finding] = {}
    for claim in options.claims:
        say(f"{claim.name}: {claim.statement}\n  source: {claim.source}")
        finding, seconds = _run(claim, leaf, options)
        record = {
            "claim": claim.name,
            "statement": claim.statement,
            "source": claim.source,
            "verdict": finding.verdict,
            "sentence": finding.sentence,
            "numbers": finding.numbers,
            "quick": options.quick,
            "backend": leaf.name,
            "version": version("specdesc"),
            "seconds": round(seconds, 1),
        }
        _write(claim, finding, record, options.out)
        say(_report(finding, seconds))
        found[claim.name] = finding
    if not extras.installed("matplotlib"):
        say("no figures: they need matplotlib: pip install 'specdesc[demo]'")
    return found


def _check_precision(leaf: Backend) -> None:
    try:
        leaf.from_host(numpy.asarray([0.0]), dtype="float64")
    except ValueError as error:
        msg = f"{leaf.name}: {error}; claims need double precision"
        raise UsageError(msg) from error


def _run(claim: Claim, leaf: Backend, options: Options) -> tuple[Finding, float]:
    """Return what was found and how long its cells took, in this run and in earlier ones."""
    keys: set[str] = set()
    # How many cells there will be only the claim knows.
    with progress.bar(claim.name, shown=progress.wanted(), unit=" cells") as advance:

        def note(key: str) -> None:
            keys.add(key)
            advance(lambda: key)

        trial = Trial(options.quick, leaf, _cells(claim, options), note)
        finding = claim.run(trial)
    return finding, sum(map(trial.seconds, keys))


def _cells(claim: Claim, options: Options) -> Path:
    """Return the folder of finished cells: another one whenever the code of the claim changes."""
    modules = _modules(claim.run.__module__, {})
    digest = hashlib.sha256("".join(modules[name] for name in sorted(modules)).encode())
    length = "quick" if options.quick else "full"
    folder = (
        options.out / "cells" / f"{claim.name}-{length}-{options.backend}-{digest.hexdigest()[:12]}"
    )
    if options.fresh and folder.is_dir():
        for finished in folder.glob("*.json"):
            finished.unlink()
    return folder


def _modules(name: str, known: dict[str, str]) -> dict[str, str]:
    """Return the source of a module and of what it uses of this package, by name.

    A change of the mathematics below is not seen: for that there is ``--fresh``.
    """
    module = sys.modules[name]
    known[name] = inspect.getsource(module)
    for value in list(vars(module).values()):
        used = value.__name__ if inspect.ismodule(value) else getattr(value, "__module__", None)
        if isinstance(used, str) and used.startswith(f"{__package__}.") and used not in known:
            _modules(used, known)
    return known


def _write(claim: Claim, finding: Finding, record: Mapping[str, Any], out: Path) -> None:
    # Not a number is no JSON: a claim says None where it has none.
    text = json.dumps(record, indent=1, allow_nan=False) + "\n"
    host.write_atomically(
        out / f"{claim.name}.json", lambda file: file.write_text(text, encoding="utf-8")
    )
    if extras.installed("matplotlib"):
        matplotlib = extras.require("matplotlib.figure", "demo")
        figure = matplotlib.Figure(figsize=SIZE, layout="constrained")
        finding.draw(figure)
        host.write_atomically(
            out / f"{claim.name}.png", lambda file: figure.savefig(file, format="png", dpi=DOTS)
        )


def _report(finding: Finding, seconds: float) -> str:
    lines = [f"  verdict: {finding.verdict} ({seconds:.1f} s). {finding.sentence}"]
    lines += [f"    {name}: {_short(value)}" for name, value in finding.numbers.items()]
    return "\n".join(lines)


def _short(value: Any) -> str:
    """Return a number with four digits, and structures of them."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_short(each)}" for key, each in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(map(_short, value)) + "]"
    return str(value)
