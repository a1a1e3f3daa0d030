"""The command line: ``specdesc recover``, ``specdesc verify`` and ``specdesc info``."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NoReturn

from specdesc import backends, bench, verify
from specdesc._lib.extras import MissingExtra
from specdesc.backends import BackendUnavailable
from specdesc.recover import Options, recover
from specdesc.recover.centring import WAYS
from specdesc.recover.errors import Interrupted, UsageError
from specdesc.recover.methods import DESCENTS, NAMES
from specdesc.recover.outliers import REPLACE
from specdesc.recover.tables import Reading


class _Parser(argparse.ArgumentParser):
    """A parser that answers a wrong word with one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 2 for a wrong input, in one line."""
    parser = _parser()
    chosen = parser.parse_args(arguments)
    try:
        chosen.run(chosen)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever reads has seen enough, as in ``specdesc info | head``. Nothing is left to say at
        # the end of the process either. The code is the one that a shell gives for the signal.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except (KeyboardInterrupt, Interrupted) as stop:
        print(f"specdesc: {str(stop) or 'interrupted'}", file=sys.stderr)  # noqa: T201
        return 130
    except (UsageError, MissingExtra, BackendUnavailable, OSError, NotImplementedError) as error:
        print(f"specdesc: error: {error}", file=sys.stderr)  # noqa: T201
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="specdesc", description="Spectral-descent mathematics at work.")
    parser.add_argument("--version", action="version", version=version("specdesc"))
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)
    _add_recover(commands.add_parser("recover", help="recover a destroyed picture or matrix"))
    _add_verify(commands.add_parser("verify", help="test claims about the methods"))
    _add_bench(commands.add_parser("bench", help="measure kernels on this machine"))
    info = commands.add_parser("info", help="show which backends are there and what they can do")
    info.set_defaults(run=lambda _: print(describe_backends()))  # noqa: T201
    return parser


def _add_recover(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "path",
        type=Path,
        metavar="FILE",
        help="picture, .npy, .npz, .mat or table of text; NaN and empty fields are missing entries",
    )
    parser.add_argument(
        "--frames",
        action="store_true",
        help="FILE holds frames of one scene (a folder of pictures, an animated GIF, a TIFF with "
        "pages, an array of shape (frames, m, n)): split background and foreground",
    )
    parser.add_argument(
        "--corrupt",
        type=_share,
        default=0.0,
        metavar="SHARE",
        help="first replace this share of the entries by black or white",
    )
    parser.add_argument(
        "--noise",
        type=_non_negative,
        default=0.0,
        metavar="SD",
        help="and add Gaussian noise of this standard deviation, relative to the range",
    )
    parser.add_argument("--rank", type=int, help="rank of the result (default: estimated)")
    parser.add_argument(
        "--method",
        choices=tuple(DESCENTS),
        default="truncated",
        help="descent to run beside the baselines (default: %(default)s)",
    )
    parser.add_argument(
        "--backend",
        action="append",
        metavar="NAME",
        help="may be given several times; 'all' takes every one (default: numpy)",
    )
    parser.add_argument("--device", help="device of the backend, such as cuda:0")
    parser.add_argument(
        "--dtype",
        choices=("float32", "float64"),
        help="default: float32 for pictures, that of a matrix",
    )
    parser.add_argument("--steps", type=_positive, default=300, help="default: %(default)s")
    parser.add_argument(
        "--seed",
        type=_whole,
        default=0,
        help="of what is destroyed and what is held out (default: %(default)s)",
    )
    parser.add_argument(
        "--keep",
        choices=("best", *NAMES, "all"),
        default="best",
        metavar="METHOD",
        help="whose result is written: best (by the error on entries held out; the default), all, "
        f"or one of {', '.join(NAMES)}",
    )
    parser.add_argument("--only", action="store_true", help="leave out the baselines")
    parser.add_argument(
        "--replace",
        choices=REPLACE,
        help="which entries the result changes; outliers takes the missing ones along (default: "
        "missing for tables with missing entries, else all)",
    )
    parser.add_argument(
        "--centre",
        choices=WAYS,
        help="take away medians first, and divide the columns or rows of a table by robust scales "
        "(default: columns where their scales differ by more than 100, else none)",
    )
    parser.add_argument(
        "--missing",
        action="append",
        default=[],
        metavar="MARK",
        help="a number or word that marks missing entries, such as -9999; may be given several "
        "times",
    )
    for name, what in (("header", "names of columns"), ("index", "names of rows")):
        parser.add_argument(
            f"--{name}",
            choices=("yes", "no"),
            help=f"whether a table begins with {what} (default: found out)",
        )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("specdesc-out"),
        metavar="FOLDER",
        help="where to write (default: %(default)s)",
    )
    parser.set_defaults(run=_recover)


def _recover(chosen: argparse.Namespace) -> None:
    recover(
        Options(
            path=chosen.path,
            share=chosen.corrupt,
            noise=chosen.noise,
            rank=chosen.rank,
            method=chosen.method,
            backends=tuple(dict.fromkeys(chosen.backend or ["numpy"])),
            device=chosen.device,
            dtype=chosen.dtype,
            steps=chosen.steps,
            seed=chosen.seed,
            out=chosen.out,
            frames=chosen.frames,
            keep=chosen.keep,
            only=chosen.only,
            replace=chosen.replace,
            centre=chosen.centre,
            reading=Reading(
                missing=tuple(chosen.missing),
                header=None if chosen.header is None else chosen.header == "yes",
                index=None if chosen.index is None else chosen.index == "yes",
            ),
        )
    )


def _add_verify(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("claims", nargs="*", metavar="CLAIM", help="as --list names it")
    wanted = parser.add_mutually_exclusive_group()
    wanted.add_argument("--all", action="store_true", help="every claim")
    wanted.add_argument("--list", action="store_true", help="show the claims and stop")
    parser.add_argument(
        "--quick", action="store_true", help="fewer seeds and settings: a minute for all claims"
    )
    parser.add_argument(
        "--fresh", action="store_true", help="do not take up what an earlier run has finished"
    )
    parser.add_argument(
        "--backend", default="numpy", metavar="NAME", help="where to compute (default: numpy)"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("specdesc-out"),
        metavar="FOLDER",
        help="where to write (default: %(default)s)",
    )
    parser.set_defaults(run=_verify)


def _verify(chosen: argparse.Namespace) -> None:
    if chosen.list:
        print(verify.listing(verify.CLAIMS))  # noqa: T201
        return
    if bool(chosen.claims) == chosen.all:
        msg = "name the claims to verify, or say --all, or see them by --list"
        raise UsageError(msg)
    verify.verify(
        verify.Options(
            claims=verify.choose(chosen.claims or tuple(verify.CLAIMS), verify.CLAIMS),
            quick=chosen.quick,
            out=chosen.out,
            backend=chosen.backend,
            fresh=chosen.fresh,
        )
    )


def _add_bench(parser: argparse.ArgumentParser) -> None:
    usual = bench.Options()
    parser.add_argument(
        "--kernel",
        action="append",
        default=[],
        metavar="NAME",
        help=f"{', '.join(usual.kernels)} (may be given more than once; default: all)",
    )
    parser.add_argument(
        "--shapes",
        nargs="+",
        type=_shape,
        default=list(usual.shapes),
        metavar="MxN",
        help="such as 1024x1024 4096x1024",
    )
    for name, values in (
        ("--backends", usual.backends),
        ("--devices", usual.devices),
        ("--dtypes", usual.dtypes),
    ):
        parser.add_argument(name, nargs="+", default=list(values), metavar="NAME")
    parser.add_argument(
        "--no-peers", action="store_true", help="leave out the other libraries that are installed"
    )
    parser.add_argument(
        "--budget",
        type=_positive,
        default=int(usual.budget),
        metavar="SECONDS",
        help="for all of it (default: %(default)s)",
    )
    parser.add_argument(
        "--compare", type=Path, metavar="FILE", help="an older bench.json to set beside"
    )
    parser.add_argument(
        "--model", metavar="NAME", help="whole optimizer steps of torch: gpt2-small, tiny"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=usual.out,
        metavar="FOLDER",
        help="where to write bench.json and bench.png (default: %(default)s)",
    )
    parser.set_defaults(run=_bench)


def _bench(chosen: argparse.Namespace) -> None:
    bench.bench(
        bench.Options(
            kernels=tuple(chosen.kernel) or bench.Options().kernels,
            shapes=tuple(chosen.shapes),
            backends=tuple(chosen.backends),
            devices=tuple(chosen.devices),
            dtypes=tuple(chosen.dtypes),
            peers=not chosen.no_peers,
            budget=float(chosen.budget),
            compare=chosen.compare,
            model=chosen.model,
            out=chosen.out,
        )
    )


def _shape(text: str) -> tuple[int, ...]:
    sides = text.lower().split("x")
    if len(sides) < 2 or not all(side.isdecimal() and int(side) > 0 for side in sides):
        msg = f"must be sides such as 1024x512, got {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return tuple(map(int, sides))


def describe_backends() -> str:
    """Return what ``specdesc info`` prints."""
    return "\n".join(
        [f"specdesc {version('specdesc')}", *(_describe(name) for name in backends.registered())]
    )


def _describe(name: str) -> str:
    try:
        leaf = backends.load(name)
    except BackendUnavailable as error:
        return f"\n{name}: not available\n  {error}"
    table = leaf.capabilities
    lines = [
        f"\n{name} {version(table.distribution)}",
        f"  devices: {', '.join(leaf.devices())}",
        f"  dtypes: {', '.join(table.dtypes)}",
        f"  looks at values: {table.branches}",
        f"  functions: {'all but those below' if table.unsupported else 'all'}",
    ]
    lines += [f"    {function}: {reason}" for function, reason in table.unsupported.items()]
    lines += [f"  different: {what}" for what in table.notes]
    lines += [f"  not traced: {what}: {why}" for what, why in table.untraced.items()]
    lines += [f"  unverified: {what}" for what in table.unverified]
    return "\n".join(lines)


def _share(text: str) -> float:
    value = _number(text)
    if not 0.0 <= value < 1.0:
        msg = f"must lie in [0, 1), got {text}"
        raise argparse.ArgumentTypeError(msg)
    return value


def _non_negative(text: str) -> float:
    value = _number(text)
    if not 0.0 <= value < float("inf"):
        msg = f"must be a number of at least 0, got {text}"
        raise argparse.ArgumentTypeError(msg)
    return value


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        msg = f"must be a whole number of at least 1, got {text}"
        raise argparse.ArgumentTypeError(msg)
    return int(text)


def _whole(text: str) -> int:
    if not text.isdecimal():
        msg = f"must be a whole number of at least 0, got {text}"
        raise argparse.ArgumentTypeError(msg)
    return int(text)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        msg = f"must be a number, got {text!r}"
        raise argparse.ArgumentTypeError(msg) from None
