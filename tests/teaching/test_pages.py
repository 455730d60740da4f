"""The pure JavaScript of the lessons, run by Node, and the modules that are sent to the page."""

from __future__ import annotations

import re

import pytest

from recompviz.core.base.palette import DARK, LIGHT
from recompviz.widgets.base.assets import esm
from recompviz.widgets.base.styles import STYLES, style_sheet
from recompviz.widgets.lessons.lesson import lesson_css
from recompviz.widgets.lessons.scene import Canvas, Element, Frame, Scene
from tests.widgets.test_javascript import node, run
from tests.widgets.test_wire import LESSONS


@node
def test_every_control_stays_within_the_frames() -> None:
    cases = [["first", 3], ["back", 0], ["back", 3], ["forth", 3], ["forth", 4], ["last", 1], [2, 0], [9, 0]]
    frames = run("lessons/lesson_player.js", "v.cases.map(([a, f]) => m.nextFrame(a, f, 5))", cases=cases)
    assert frames == [0, 0, 2, 4, 4, 4, 2, 4]


@node
def test_a_frame_changes_what_it_names_and_leaves_the_rest() -> None:
    element = ["rect", "node", {"x": 1, "y": 2}, "a", "n0", -1, ""]
    values = run(
        "lessons/scene_view.js", "[m.valuesOf(v.e, undefined), m.valuesOf(v.e, {style: 'keep', x: 5})]", e=element
    )
    assert values == [
        {"x": 1, "y": 2, "style": "node", "text": "a"},
        {"x": 5, "y": 2, "style": "keep", "text": "a"},
    ]


@pytest.mark.parametrize("entry", ["lessons/playground.js", "lessons/stepper.js"])
def test_the_joined_module_has_no_name_twice_and_imports_nothing(entry: str) -> None:
    text = esm(entry)
    names = re.findall(r"^(?:const|let|function|class) (\w+)", text, re.MULTILINE)
    renders = len(re.findall(r"^function render\(", text, re.MULTILINE))
    assert renders == 1
    assert len(names) == len(set(names))
    assert not re.search(r"^import ", text, re.MULTILINE)


def test_every_file_of_the_lessons_is_joined_and_no_url_is_loaded() -> None:
    text = esm("lessons/playground.js") + esm("lessons/stepper.js")
    assert set(re.findall(r"^// ---- (\S+)$", text, re.MULTILINE)) == LESSONS | {"shared/elements.js"}
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text + lesson_css())


def test_light_and_dark_name_the_same_colours_and_every_style_is_in_the_sheet() -> None:
    assert set(LIGHT) == set(DARK)
    assert all(f".rvt-{style}{{" in style_sheet() for style in STYLES)


def test_a_scene_refuses_what_it_cannot_show() -> None:
    with pytest.raises(ValueError, match="style 'shiny' is unknown"):
        Element("rect", "shiny", {})
    canvas = Canvas()
    canvas.box(0, 0, 1, 1, "node", "n")
    with pytest.raises(ValueError, match="frame changes 'm'"):
        Scene(1, 1, "one", tuple(canvas.elements), (Frame({"m": {"style": "keep"}}, ""),))
    canvas.box(0, 0, 1, 1, "node", "n")
    with pytest.raises(ValueError, match="uses a key twice"):
        Scene(1, 1, "two", tuple(canvas.elements), ())
