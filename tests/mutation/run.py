"""Make each change of ``mutants.toml`` in a copy of the repository, and run the tests beside it.

``python tests/mutation/run.py`` says of each whether a test notices, and ends with an error if one
goes unnoticed or no longer fits the code. ``--only WORD`` takes those whose file or kind has the
word.
"""

import argparse
import contextlib
import importlib
import os
import shutil
import signal
import sys
import tempfile
import time
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("specdesc", "backends", "tests", "docs", "benchmarks", "pyproject.toml", "README.md")
NOT_COPIED = shutil.ignore_patterns("__pycache__", "_build", "reference", "results", "pictures")
#: Imported once, before the processes of the tests part from this one.
HEAVY = ("array_api_compat.numpy", "array_api_strict", "scipy.stats", "torch")
#: Seconds; a change that makes a loop endless is noticed, too.
PATIENCE = 600
OPTIONS = ("-x", "-q", "--library", "numpy", "-p", "no:cacheprovider", "-p", "no:xdist")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="a word of the file or the kind")
    word = parser.parse_args().only
    mutants = tomllib.loads((ROOT / "tests" / "mutation" / "mutants.toml").read_text())["mutant"]
    chosen = [each for each in mutants if word in each["file"] or word in each["kind"]]
    verdicts = judge(chosen)
    counts = {word: verdicts.count(word) for word in ("killed", "survived", "stale")}
    sys.stdout.write(", ".join(f"{count} {word}" for word, count in counts.items()) + "\n")
    return int(counts["killed"] < len(chosen) or not chosen)


def judge(mutants: list[dict]) -> list[str]:
    """Return a verdict for each mutant, after a run of all their tests without any change."""
    for library in HEAVY:
        with contextlib.suppress(ImportError):
            importlib.import_module(library)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        copy_to(copy)
        if not passes(sorted({test for each in mutants for test in each["tests"]}), copy):
            sys.exit("the tests fail without any change")
        return [verdict_of(each, copy) for each in mutants]


def copy_to(folder: Path) -> None:
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=NOT_COPIED)
        else:
            shutil.copy(source, folder / name)


def verdict_of(mutant: dict, copy: Path) -> str:
    """Return "killed", "survived", or "stale" where the code has changed, and print it."""
    path, began = copy / mutant["file"], time.monotonic()
    original = path.read_text(encoding="utf-8")
    if original.count(mutant["before"]) != 1:
        verdict = "stale"
    else:
        path.write_text(original.replace(mutant["before"], mutant["after"]), encoding="utf-8")
        verdict = "survived" if passes(mutant["tests"], copy) else "killed"
        path.write_text(original, encoding="utf-8")
    first = mutant["before"].splitlines()[0].strip()
    seconds = f"{time.monotonic() - began:.0f} s"
    place = f"{mutant['file']}: {mutant['kind']}: {first}"
    sys.stdout.write(f"{verdict:9}{seconds:>6}  {place}\n")
    sys.stdout.flush()
    return verdict


def passes(tests: list[str], copy: Path) -> bool:
    """Say whether the tests pass in a process of their own; that none ran is no verdict."""
    child = os.fork()
    if child == 0:
        signal.alarm(PATIENCE)  # ends the process
        code = 3
        try:
            code = run(tests, copy)
        finally:  # without the handlers of the parent, which would remove the copy
            os._exit(code)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code in {3, 4, 5}:
        sys.exit(f"pytest ended with code {code} on {', '.join(tests)}")
    return code == 0


def run(tests: list[str], copy: Path) -> int:
    """Run tests on the copy, in silence, and return the exit code of pytest."""
    os.chdir(copy)
    sys.path.insert(0, str(copy))
    sys.dont_write_bytecode = True
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    return int(pytest.main([*OPTIONS, *tests]))


if __name__ == "__main__":
    sys.exit(main())
