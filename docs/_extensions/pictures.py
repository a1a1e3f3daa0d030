"""The pictures of the gallery, drawn when the pages are built: ``docs/gallery/*.py``."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

from matplotlib.figure import Figure
from sphinx.application import Sphinx
from sphinx.util.typing import ExtensionMetadata


def draw_all(app: Sphinx) -> None:
    """Draw what is older than its script."""
    folder = Path(app.srcdir) / "gallery"
    (folder / "pictures").mkdir(exist_ok=True)
    for script in sorted(folder.glob("*.py")):
        picture = folder / "pictures" / f"{script.stem}.svg"
        if not picture.exists() or picture.stat().st_mtime < script.stat().st_mtime:
            draw(script, picture)


def draw(script: Path, picture: Path) -> None:
    """Run one script on an empty figure and save it."""
    spec = spec_from_file_location(script.stem, script)
    if spec is None or spec.loader is None:
        msg = f"cannot be read as a module: {script}"
        raise ImportError(msg)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    figure = Figure(figsize=(7.0, 4.0), layout="constrained")
    module.draw(figure)
    figure.savefig(picture)


def setup(app: Sphinx) -> ExtensionMetadata:
    app.connect("builder-inited", draw_all)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
