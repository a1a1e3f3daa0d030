"""Write claims.md from what ``specdesc verify --all`` has written.

``python docs/generate_claims.py FOLDER`` first takes the numbers and the figures of full runs out
of FOLDER into docs/data/claims and docs/images; without a folder it uses those that are there, and
with ``--check`` it only says (exit code 1) that the committed page is not what they give.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

from specdesc.verify import CLAIMS

DOCS = Path(__file__).resolve().parent
PAGE = DOCS / "claims.md"
DATA = DOCS / "data" / "claims"
IMAGES = DOCS / "images"

#: Of a figure, so that the repository stays small.
MOST_BYTES = 100_000

WORDS = {"holds": "Holds", "fails": "Fails", "undecided": "Undecided"}

HEAD = """\
# Claims and their verdicts

What is claimed of the methods, each tested by one command, with what the full run found. This page
is generated: `make claims` runs everything again (up to an hour and a half on two cores; an
interrupted run goes on where it was) and writes it. Seconds are those of machines that did other
work at the same time.

```console
$ specdesc verify --list                    # all claims with their sources
$ specdesc verify recovery --quick          # one of them, in seconds; numbers, NAME.json, NAME.png
$ specdesc verify --all --out claims        # all of them, full
```

**Sources.** Of arXiv:2605.26977 and arXiv:2605.11850 only the abstracts were available.
"(abstract)" marks what stands there, "(secondary)" what a text about the paper says, "(derived)"
what is our reconstruction from it. No set-up, constant or number on this page is the papers'. A
verdict is on the statement as it is written here, in the set-up that is named, and on no more than
that. A claim that fails stays on the page.
"""

PLAIN = """\
## In plain words: where spectral steps win, and where they do not

- **They win where the inputs are ill-conditioned.** In a robust matrix regression with covariates
  of condition 100, or with one dominant direction, Muon and spectral descent end nearer to the
  solution than tuned subgradient steps, with and without momentum, sign descent and AdamW; Muon by
  far. The truncated step with k = 5 wins with one dominant direction and loses with condition 100
  (`ill-conditioned`).
- **They lose, or gain nothing, elsewhere.** With isotropic inputs all of them solve the regression.
  Where outliers agree with each other the subgradient ends nearer. In an over-parametrised
  factorization spectral descent and Muon fail where subgradient steps and AdamW do not
  (`ill-conditioned`). On observed entries with a projection onto the rank spectral descent recovers
  less often than the truncated step and the subgradient (`phase-diagram`).
- **On well-sampled robust recovery there is no advantage of spectral steps over plain normalized
  subgradient steps, and none is promised.** That problem has no preferred directions; all of them
  converge linearly at the same pace, and end at the same noise floor (`recovery`, `noise-floor`,
  `effect-of-k`).
- **Without a projection, truncation to the rank of the solution costs measurements.** In the phase
  diagram the truncated step with k = 2 succeeds from three n² measurements on, the full step from
  two, and the plain subgradient from one and a half (no outliers, `phase-diagram`). Where
  measurements abound, k = 5 and k = 10 at rank 2 are a few percent earlier than the full step, by
  no more than a tenth, and k = 1 takes twice as long (`effect-of-k`). What a truncated step saves
  is its own cost.
- **With weight decay truncation lowers the constant** of the 1/t rate: the ball of a truncated step
  is smaller and fits a low-rank solution better (`weight-decay-rates`). With the solution at the
  edge of the ball the rate is lost for every method.
- **With fewer than n² measurements nothing recovers without a bound on the rank.** A projection of
  the iterate onto the rank makes the difference. Beside it truncation helps: the truncated step
  recovers where the full spectral step does so only on some seeds. Plain subgradient steps with the
  same projection recover at least as often as both (`phase-diagram`).
- **Convex, Lipschitz and sharp is not enough for spectral descent.** Below a ratio of 1/2 of
  sharpness to Lipschitz constant it can stand still where plain subgradient steps converge
  (`counterexample`), with weight decay too.
- **The stochastic rates are upper bounds, and no sharp ones here.** Where noise dominates, the
  measure falls faster than promised under light tails, and about as promised or faster under heavy
  ones. Under heavy tails the steps for another p end up to 13 % higher; under light tails the steps
  for p = 1.5 end lower at two levels of noise of three, and that part of the claim fails
  (`heavy-tailed-rate`).
- **Variance reduction shows no advantage over a momentum tuned as well** at equal gradients:
  the intervals of their quotient have 1 in them at every level of noise (`storm-rate`).
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, help="what specdesc verify has written")
    parser.add_argument("--check", action="store_true", help="compare, do not write")
    chosen = parser.parse_args()
    if chosen.folder is not None:
        take(chosen.folder)
    text = page()
    if chosen.check:
        old = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
        if text != old:
            sys.stderr.write("docs/claims.md: run python docs/generate_claims.py\n")
        return int(text != old)
    PAGE.write_text(text, encoding="utf-8")
    return 0


def take(folder):
    """Copy numbers and figures of full runs."""
    DATA.mkdir(parents=True, exist_ok=True)
    for name in CLAIMS:
        numbers, figure = (folder / f"{name}.{kind}" for kind in ("json", "png"))
        if not numbers.exists():
            sys.stderr.write(f"{numbers}: not there, the last one is kept\n")
            continue
        if json.loads(numbers.read_text(encoding="utf-8"))["quick"]:
            sys.exit(f"{numbers}: of a quick run; the page shows full ones")
        if figure.stat().st_size > MOST_BYTES:
            sys.exit(f"{figure}: larger than {MOST_BYTES} bytes")
        shutil.copy(numbers, DATA / numbers.name)
        shutil.copy(figure, IMAGES / f"claim-{figure.name}")


def page():
    records = {
        name: json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))
        for name in CLAIMS
        if (DATA / f"{name}.json").exists()
    }
    rows = [("claim", "verdict", "seconds, on a busy machine"), ("---", "---", "---:")]
    rows += [
        (f"[{name}](#{name})", WORDS[each["verdict"]], f"{each['seconds']:.0f}")
        for name, each in records.items()
    ]
    rows += [(name, "not run yet", "") for name in CLAIMS if name not in records]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    parts = [HEAD, table + "\n", PLAIN, *(section(each) for each in records.values())]
    return "\n".join(parts)


def section(record):
    name = record["claim"]
    return f"""\
## {name}

{record["statement"]}

**{WORDS[record["verdict"]]}.** {record["sentence"]}

Source: {record["source"]}.

Run: `specdesc verify {name}`, backend {record["backend"]}. All numbers:
`docs/data/claims/{name}.json`.

![{name}](images/claim-{name}.png)
"""


if __name__ == "__main__":
    sys.exit(main())
