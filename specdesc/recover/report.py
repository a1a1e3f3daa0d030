"""The report of a recovery: a table, and one figure."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy

from specdesc._lib import extras, host
from specdesc._lib.text import aligned
from specdesc._lib.typing import Array
from specdesc.recover.data import Data
from specdesc.recover.methods import ERROR_EVERY, Outcome
from specdesc.recover.pictures import channels_last

#: Pixels of a panel of the figure along a side; more cannot be seen.
PANEL = 1024


def psnr(values: Array, clean: Data, /) -> float:
    """Return the peak signal-to-noise ratio in dB over the entries whose truth is known.

    The peak is the range of the truth, largest less smallest, whatever its sign.
    """
    known = ~clean.missing
    error = float((abs(values - clean.values)[known] ** 2).mean())
    low, high = clean.limits
    if error == 0:
        return math.inf
    return 10 * math.log10((high - low) ** 2 / error) if high > low else -math.inf


def relative_error(values: Array, clean: Data, /, *, centred: bool = False) -> float:
    """Return the Frobenius norm of the error over that of the truth, where it is known.

    Centred: over that of the truth less its median. An offset makes the plain one small, and leaves
    this one.
    """
    known = ~clean.missing
    truth = clean.values[known]
    error = float((abs(values - clean.values)[known] ** 2).sum()) ** 0.5
    size = float((abs(truth - numpy.median(truth) if centred else truth) ** 2).sum()) ** 0.5
    return error / size if size > 0 else math.inf


def table(
    outcomes: Sequence[Outcome],
    destroyed: Data,
    clean: Data | None,
    /,
    *,
    written: Sequence[int] = (),
    mark: str = "best",
) -> str:
    """Return the outcomes as text.

    Parameters
    ----------
    outcomes : sequence of Outcome
    destroyed, clean : Data
        What the methods saw, and the truth if it is known.
    written : sequence of int
        Which outcomes are marked.
    mark : str
        The last word of their rows.
    """
    header = ["method", "backend", "device", "held out"]
    rows = [[o.method, o.backend, o.device, _number(o.held_out)] for o in outcomes]
    if clean is not None:
        header += ["PSNR before", "after", "centred", "error before", "after"]
        before = (psnr(destroyed.values, clean), relative_error(destroyed.values, clean))
        for row, outcome in zip(rows, outcomes, strict=True):
            row += [
                _decibels(before[0]),
                _decibels(psnr(outcome.values, clean)),
                f"{relative_error(outcome.values, clean, centred=True):.4f}",
                f"{before[1]:.4f}",
                f"{relative_error(outcome.values, clean):.4f}",
            ]
    rows = [[*row, f"{o.seconds:.2f}"] for row, o in zip(rows, outcomes, strict=True)]
    marks = [f"  {mark}" if i in written else "" for i in range(len(rows))]
    head, *lines = aligned([[*header, "seconds"], *rows], left=3)
    marked = [line + mark for line, mark in zip(lines, marks, strict=True)]
    return "\n".join([head, "-" * len(head), *marked])


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4g}"


def _decibels(value: float) -> str:
    return f"{value:.2f} dB"


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
    limits = shown_limits(clean or destroyed.like(outcomes[-1].values))
    for axis, (title, values) in zip(axes, panels, strict=False):
        _show(axis, shown(values, destroyed), limits)
        known = clean is not None and title != "original"
        axis.set_title(f"{title}\n{psnr(values, clean):.2f} dB" if known and clean else title)
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    for axis, (title, stride, lines) in zip(axes[len(panels) :], curves, strict=False):
        _draw_curves(axis, title, stride, lines)
    host.write_atomically(path, lambda file: sheet.savefig(file, format="png", dpi=120))


def shown_limits(data: Data, /) -> tuple[float, float]:
    """Return what is black and white in the figure: the limits of a format, or nearly the range.

    Of numbers without limits the 200th part at either end is left out: single entries do not turn
    all others grey.
    """
    if data.form.limits is not None:
        return data.form.limits
    sizes = abs(data.values) if data.values.dtype.kind == "c" else data.values
    low, high = numpy.quantile(sizes[numpy.isfinite(sizes)], (0.005, 0.995))
    return float(low), float(high)


def shown(values: Array, data: Data, /) -> Array:
    """Return what stands for values in a panel: of frames the middle one, of a stack the first."""
    sizes = abs(values) if values.dtype.kind == "c" else values
    if data.kind == "frames":
        sizes = data.form.frame(sizes[len(sizes) // 2])  # type: ignore[attr-defined]
        picture = sizes
    else:
        picture = channels_last(sizes)
    if data.kind not in ("picture", "frames") and sizes.ndim == 3:
        picture = sizes[0]
    if picture.ndim == 3 and picture.shape[-1] != 3:
        picture = picture[..., 0]
    steps = [max(1, math.ceil(side / PANEL)) for side in picture.shape[:2]]
    return picture[:: steps[0], :: steps[1]]


def _show(axis: Array, picture: Array, limits: tuple[float, float]) -> None:
    low, high = limits
    scaled = ((picture - low) / (high - low or 1.0)).clip(0.0, 1.0)
    if scaled.ndim == 3:
        scaled = numpy.where(numpy.isnan(scaled), 1.0, scaled)
    tall = max(picture.shape[:2]) > 3 * min(picture.shape[:2])
    axis.imshow(
        scaled,
        cmap="gray",
        vmin=0.0,
        vmax=1.0,
        interpolation="nearest",
        aspect="auto" if tall else "equal",
    )
    axis.set_axis_off()


def _draw_curves(
    axis: Array, title: str, stride: int, lines: Sequence[tuple[Outcome, tuple[float, ...]]]
) -> None:
    if not lines:
        return
    axis.set_axis_on()
    positive = all(height > 0 for _, heights in lines for height in heights)
    for outcome, heights in lines:
        steps = range(0, stride * len(heights), stride)
        draw = axis.semilogy if positive else axis.plot
        draw(steps, heights, label=f"{outcome.method}, {outcome.backend}")
    axis.set_xlabel("step")
    axis.set_title(title)
    axis.legend(fontsize="x-small")
