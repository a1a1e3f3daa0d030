"""Run a comparison: ``python -m benchmarks.targets orthogonalize``, or ``auto``."""

import argparse
import sys
from pathlib import Path

from tqdm import tqdm

from . import auto, cases, machine, measure, report

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "data"


def main(arguments=None):
    options = _parse(arguments)
    rounds = options.rounds or (2 if options.quick else 15)
    others = machine.Others()
    if options.subject == "auto":
        rows = list(auto.rows(options.quick, rounds, options.budget))
    else:
        rows = list(_orthogonalize(options, rounds))
    settings = {
        "rounds": rounds,
        "quick": options.quick,
        "method": options.method,
        "others": others.share(),
    }
    about = machine.describe()
    page = report.as_markdown(about, settings, rows)
    print(page)
    partial = options.quick or options.only or options.method != "auto"
    folder = options.out or (None if partial else FOLDER)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"benchmarks-{options.subject}"
        path.with_suffix(".md").write_text(page, encoding="utf-8")
        path.with_suffix(".json").write_text(report.as_json(about, settings, rows), "utf-8")
    return 0


def _orthogonalize(options, rounds):
    chosen = [case for case in cases.CASES if options.only in case.work]
    for case in tqdm(chosen, unit="case", disable=None):
        large = min(case.shape[-2:]) >= cases.LARGE
        taken = case.quick() if options.quick else case
        for row in measure.rows(taken, rounds, large=large, method=options.method):
            tqdm.write(f"{row.verdict}: {row.value:.2f} {row.unit} ({row.work}; {row.against})")
            yield row
    if not options.only:
        yield measure.small(rounds)


def _parse(arguments):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.targets", description=__doc__)
    parser.add_argument("subject", choices=["orthogonalize", "auto"])
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it works")
    parser.add_argument("--only", default="", metavar="TEXT", help="works that contain this text")
    parser.add_argument("--method", default="auto", help="what specdesc runs, for a study")
    parser.add_argument("--rounds", type=int, help="alternations, 15 unless --quick")
    parser.add_argument("--budget", type=float, default=600.0, help="seconds for auto at most")
    parser.add_argument("--out", type=Path, help=f"folder for the report ({FOLDER})")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
