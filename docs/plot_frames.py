"""Draw three frames of the demo with what was made of them: docs/images/frames.png."""

import sys
from pathlib import Path

from matplotlib.figure import Figure
from skimage import io

ROWS = {"frames": "", "background": "-background", "foreground": "-foreground", "mask": "-mask"}
SHOWN = (10, 30, 50)

given, out = Path(sys.argv[1]), Path(sys.argv[2])
sheet = Figure(figsize=(8, 8.4), layout="constrained")
axes = sheet.subplots(len(ROWS), len(SHOWN))
for row, (name, end) in zip(axes, ROWS.items(), strict=True):
    folder = given if not end else out / f"{given.name}{end}"
    for axis, i in zip(row, SHOWN, strict=True):
        axis.imshow(io.imread(folder / f"frame{i:02}.png"), cmap="gray", vmin=0, vmax=255)
        axis.set_title(f"{name}, {i}", fontsize="medium")
        axis.set_axis_off()
sheet.savefig(Path(__file__).parent / "images" / "frames.png", dpi=90)
