"""The page on the design says where things are."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")


def test_every_path_that_the_page_names_exists() -> None:
    paths = re.findall(r"`((?:specdesc|backends|tests|docs)/[\w./]*)`", PAGE)
    assert len(paths) > 10
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_every_room_is_on_the_page() -> None:
    rooms = {path.parent.name for path in (ROOT / "specdesc").glob("*/__init__.py")}
    assert {room for room in rooms if f"{room}/`" not in PAGE} == set()
