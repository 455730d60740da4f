"""CONTRIBUTING.md names files, functions and rooms that exist."""

from __future__ import annotations

import re

import pytest

from tests.rooms import HOME, ROOMS

ROOT = HOME.parent
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
# rows of the table of places: what to look for, links to files, names in them
PLACES = [
    (re.findall(r"\]\((\S+?)\)", files), re.findall(r"`(\w+)`", names))
    for _, files, names in re.findall(r"^\| ([^|]+) \| (\[[^|]+) \| (`[^|]+) \|$", TEXT, re.MULTILINE)
]


def test_every_link_leads_to_a_file() -> None:
    links = re.findall(r"\]\(([^):]+)\)", TEXT)
    assert len(links) > 20
    assert [link for link in links if not (ROOT / link).is_file()] == []


def test_every_path_in_backticks_exists() -> None:
    paths = re.findall(r"`((?:recompviz|tests|core|pytorch|widgets|benchmarks|networks)/[\w./]*)`", TEXT)
    paths = [path for path in paths if not path.endswith("/_name.py")]
    assert paths
    assert [path for path in paths if not ((ROOT / path).exists() or (HOME / path).exists())] == []


@pytest.mark.parametrize(("files", "names"), PLACES, ids=[names[0] for _, names in PLACES])
def test_a_name_is_defined_where_the_table_says(files: list[str], names: list[str]) -> None:
    source = "\n".join((ROOT / file).read_text(encoding="utf-8") for file in files)
    assert [
        name for name in names if not re.search(rf"\b(def|class|function) {name}\b|^{name} = ", source, re.MULTILINE)
    ] == []


def test_the_rooms_that_data_walks_through_exist() -> None:
    walk = TEXT.split("```")[1]
    rooms = re.findall(rf"({'|'.join(ROOMS)})/(\w+)", walk)
    assert len(rooms) > 10
    assert [f"{layer}/{room}" for layer, room in rooms if room not in (*ROOMS[layer], "js")] == []
