"""One palette: every colour stands in recompviz/core/base/palette.py, and style sheets name only colours that exist."""

import re
from pathlib import Path

import pytest

import recompviz
from recompviz.core.base import palette
from recompviz.core.steps.joint import Category
from recompviz.widgets.base import assets
from recompviz.widgets.lessons.lesson import lesson_css

HOME = Path(recompviz.__file__).parent
HEX = re.compile(r"#(?:[0-9a-fA-F]{8}|[0-9a-fA-F]{6}|[0-9a-fA-F]{3,4})\b")
SOURCES = sorted(path for path in HOME.rglob("*") if path.suffix in {".py", ".js", ".css"})


def test_no_colour_stands_outside_the_palette():
    own = {path.relative_to(HOME).as_posix(): HEX.findall(path.read_text(encoding="utf-8")) for path in SOURCES}
    assert own.pop("core/base/palette.py")
    # the paper's page has texts and grids in the colours of the site that shows it
    page = own.pop("benchmarks/paper/drawing.py")
    ours = {*palette.CATEGORIES.values(), palette.GREY}
    assert not {colour.lower() for colour in page} & ours
    assert {name: found for name, found in own.items() if found} == {}


def test_every_category_has_a_colour_and_no_two_have_the_same():
    assert set(palette.CATEGORIES) == {category.name for category in Category}
    assert len(set(palette.CATEGORIES.values())) == len(Category)


def test_light_and_dark_give_the_same_names_a_colour():
    assert list(palette.LIGHT) == list(palette.DARK)
    assert all(HEX.fullmatch(colour) for colour in [*palette.LIGHT.values(), *palette.DARK.values()])


@pytest.mark.parametrize("sheet", [assets.css(), lesson_css()], ids=["explorer", "lessons"])
def test_style_sheets_use_only_custom_properties_that_are_set(sheet):
    script = "".join(path.read_text(encoding="utf-8") for path in SOURCES if path.suffix == ".js")
    used = set(re.findall(r"var\((--rv-[\w-]+)", sheet))
    patterns = {f"--rv-hue-fill-{i}" for i in range(4)} | {"--rv-hatch"}  # set by graph_layers.js, with a number
    declared = (
        set(re.findall(r"(--rv-[\w-]+):", sheet)) | set(re.findall(r"[\"'](--rv-[\w-]+)[\"']", script)) | patterns
    )
    assert len(used) > 10
    assert used <= declared


def test_the_canvas_reads_only_colours_of_the_palette():
    text = (HOME / "widgets" / "js" / "graph" / "canvas_boxes.js").read_text(encoding="utf-8")
    named = re.search(r"COLOUR_NAMES = \[([^\]]*)\]", text)[1]
    assert set(re.findall(r'"([\w-]+)"', named)) <= set(palette.LIGHT)
