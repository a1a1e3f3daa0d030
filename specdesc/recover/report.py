"""The report of a recovery: a table, and one figure."""

import math
from collections.abc import Sequence
from pathlib import Path

from specdesc._lib import extras, host
from specdesc._lib.typing import Array
from specdesc.recover.data import Data, as_picture
from specdesc.recover.methods import ERROR_EVERY, Outcome


def psnr(values: Array, clean: Data, /) -> float:
    """Return the peak signal-to-noise ratio in dB over the entries whose truth is known."""
    known = clean.values == clean.values
    error = float((abs(values - clean.values)[known] ** 2).mean())
    low, high = clean.limits
    return 10 * math.log10((high - low) ** 2 / error) if error > 0 else math.inf


def relative_error(values: Array, clean: Data, /) -> float:
    """Return the Frobenius norm of the error over that of the truth, where it is known."""
    known = clean.values == clean.values
    size = float((abs(clean.values[known]) ** 2).sum()) ** 0.5
    error = float((abs(values - clean.values)[known] ** 2).sum()) ** 0.5
    return error / size if size > 0 else math.inf


def table(outcomes: Sequence[Outcome], destroyed: Data, clean: Data | None, /) -> str:
    """Return the outcomes as text, the most accurate one marked."""
    header = ["method", "backend", "device"]
    if clean is not None:
        header += ["PSNR before", "after", "error before", "after"]
    rows = [[o.method, o.backend, o.device] for o in outcomes]
    marks = [""] * len(rows)
    if clean is not None:
        before = (psnr(destroyed.values, clean), relative_error(destroyed.values, clean))
        after = [(psnr(o.values, clean), relative_error(o.values, clean)) for o in outcomes]
        for row, (decibels, error) in zip(rows, after, strict=True):
            row += [_decibels(before[0]), _decibels(decibels), f"{before[1]:.4f}", f"{error:.4f}"]
        marks[max(range(len(after)), key=lambda i: after[i][0])] = "  best"
    rows = [[*row, f"{o.seconds:.2f}"] for row, o in zip(rows, outcomes, strict=True)]
    return _aligned([[*header, "seconds"], *rows], ["", *marks])


def _decibels(value: float) -> str:
    return f"{value:.2f} dB"


def _aligned(rows: list[list[str]], marks: list[str]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    texts = [
        "  ".join(
            cell.ljust(width) if i < 3 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    texts.insert(1, "-" * len(texts[0]))
    return "\n".join(text + mark for text, mark in zip(texts, ["", *marks], strict=True))


def figure(path: Path, outcomes: Sequence[Outcome], destroyed: Data, clean: Data | None, /) -> None:
    """Draw original, destroyed, every outcome of the first backend, and the convergence curves."""
    matplotlib = extras.require("matplotlib.figure", "demo")
    first = [o for o in outcomes if o.backend == outcomes[0].backend]
    panels = [("original", clean.values)] if clean is not None else []
    panels += [("destroyed" if clean is not None else "given", destroyed.values)]
    panels += [(o.method, o.values) for o in first]
    curves = [("mean absolute residual", 1, [(o, o.losses) for o in outcomes if o.losses])]
    curves += [("relative error", ERROR_EVERY, [(o, o.errors) for o in outcomes if o.errors])]
    columns = math.ceil((len(panels) + len(curves)) / 2)
    sheet = matplotlib.Figure(figsize=(3.4 * columns, 7.4), layout="constrained")
    axes = sheet.subplots(2, columns).reshape(-1)
    shown = clean or destroyed
    for axis, (title, values) in zip(axes, panels, strict=False):
        _show(axis, values, shown)
        known = clean is not None and title != "original"
        axis.set_title(f"{title}\n{psnr(values, clean):.2f} dB" if known and clean else title)
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    for axis, (title, stride, lines) in zip(axes[len(panels) :], curves, strict=False):
        _draw_curves(axis, title, stride, lines)
    host.write_atomically(path, lambda file: sheet.savefig(file, format="png", dpi=120))


def _show(axis: Array, values: Array, shown: Data) -> None:
    picture = as_picture(abs(values) if values.dtype.kind == "c" else values)
    low, high = shown.limits
    if picture.ndim == 3 and picture.shape[-1] != 3:
        picture = picture[..., 0]  # of a stack of matrices the first stands for all
    scaled = ((picture - low) / (high - low or 1.0)).clip(0.0, 1.0)
    axis.imshow(scaled, cmap="gray", vmin=0.0, vmax=1.0, interpolation="nearest")
    axis.set_axis_off()


def _draw_curves(
    axis: Array, title: str, stride: int, lines: Sequence[tuple[Outcome, tuple[float, ...]]]
) -> None:
    if not lines:
        return
    axis.set_axis_on()
    for outcome, heights in lines:
        steps = range(0, stride * len(heights), stride)
        axis.semilogy(steps, heights, label=f"{outcome.method}, {outcome.backend}")
    axis.set_xlabel("step")
    axis.set_title(title)
    axis.legend(fontsize="x-small")
