"""The picture of the rooms shows the imports as they are."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections import Counter

from tests.rooms import COMMAND, HOME, PICTURE, ROOMS, arrows, picture, rooms


def test_the_committed_picture_shows_the_imports_of_today() -> None:
    drawn = PICTURE.read_text(encoding="utf-8") if PICTURE.exists() else ""
    is_current = drawn == picture(rooms(), arrows())  # without the long comparison that pytest would print
    assert is_current, f"{PICTURE.relative_to(HOME.parent)} is old; run: {COMMAND}"


def test_the_picture_holds_every_room_and_every_arrow() -> None:
    texts = [node.text for node in ET.fromstring(picture(rooms(), arrows())).iter("{http://www.w3.org/2000/svg}text")]
    assert set(rooms()) <= set(texts)
    packages = {path.parent for path in HOME.glob("*/__init__.py")}
    assert {room.split("/")[0] for room in rooms()} == {package.name for package in packages}
    numbers = Counter(texts)
    assert all(numbers[str(count)] >= times for count, times in Counter(arrows().values()).items())


def test_readme_lists_the_rooms_of_each_layer_in_order() -> None:
    readme = " ".join((HOME.parent / "README.md").read_text(encoding="utf-8").split())
    for names in ROOMS.values():
        assert ": " + ", ".join(f"`{name}`" for name in names) in readme


def test_an_import_of_a_module_from_its_package_counts_as_one_of_the_module() -> None:
    assert arrows()["widgets/layout", "core/graphs"] > 0
    assert arrows()["core/graphs", "widgets/layout"] == 0
