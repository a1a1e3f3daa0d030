"""Make each change of ``mutants.toml`` in a copy of the repository, and run the tests beside it.

``python tests/mutation/run.py`` says of each whether a test notices, and ends with an error if one
goes unnoticed or no longer fits the code. ``--only WORD`` takes those whose file or kind has the
word.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("specdesc", "backends", "tests", "docs", "benchmarks", "pyproject.toml", "README.md")
NOT_COPIED = shutil.ignore_patterns("__pycache__", "_build", "reference", "results", "pictures")
#: Seconds; a change that makes a loop endless is noticed, too.
PATIENCE = 600


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="a word of the file or the kind")
    word = parser.parse_args().only
    mutants = tomllib.loads((ROOT / "tests" / "mutation" / "mutants.toml").read_text())["mutant"]
    chosen = [each for each in mutants if word in each["file"] or word in each["kind"]]
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        copy_to(copy)
        if not passes(sorted({test for each in chosen for test in each["tests"]}), copy):
            sys.exit("the tests fail without any change")
        verdicts = [verdict_of(each, copy) for each in chosen]
    counts = {word: verdicts.count(word) for word in ("killed", "survived", "stale")}
    sys.stdout.write(", ".join(f"{count} {word}" for word, count in counts.items()) + "\n")
    return int(counts["killed"] < len(chosen) or not chosen)


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
    """Say whether the tests pass; that none of them ran is an error, and no verdict."""
    quiet = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    options = ["-x", "-q", "--library", "numpy", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", *options, *tests]
    try:
        ran = subprocess.run(
            command, check=False, cwd=copy, env=quiet, capture_output=True, timeout=PATIENCE
        )
    except subprocess.TimeoutExpired:
        return False
    if ran.returncode not in {0, 1, 2}:
        sys.exit(ran.stdout.decode() + ran.stderr.decode())
    return ran.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
