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
def test_keys_step_unless_a_field_needs_them() -> None:
    cases = [
        ["ArrowLeft", "BUTTON", "button"], ["ArrowRight", "INPUT", "range"], ["Home", "DIV", ""],
        ["End", "INPUT", "range"],
        ["ArrowLeft", "SELECT", "select-one"], ["ArrowRight", "INPUT", "number"], ["a", "DIV", ""],
    ]  # fmt: skip
    actions = run("lessons/lesson_player.js", "v.cases.map((c) => m.actionOfKey(...c) ?? null)", cases=cases)
    assert actions == ["back", "forth", "first", "last", None, None, None]


@node
def test_a_slide_begins_at_its_cell_and_takes_fragments_but_no_notes() -> None:
    kinds = ["slide", "subslide", "notes", "slide", "fragment", "notes", "-"]
    assert run("lessons/course_slides.js", "m.groupSlides(v.kinds)", kinds=kinds) == [[0], [1], [3, 4, 6]]
    keys = ["ArrowRight", "ArrowLeft", " ", "PageDown", "PageUp", "a"]
    turns = run("lessons/course_slides.js", "[false, true].map((l) => v.keys.map((k) => m.turnOfKey(k, l)))", keys=keys)
    assert turns == [[1, -1, 1, 1, -1, 0], [0, 0, 0, 1, -1, 0]]


@node
def test_a_drawn_size_snaps_to_the_grain_and_predictions_are_judged() -> None:
    gauge = {"bottom": 120, "scale": 10, "grain": 1, "most": 11}
    sizes = run("lessons/predict.js", "v.ys.map((y) => m.drawnSize(v.g, y))", g=gauge, ys=[120, 114, 20, -50, 300])
    assert sizes == [0, 1, 10, 11, 0]
    bar, freed = {"kind": "bar", "answer": 10}, {"kind": "freed", "answer": ["v1", "g2"]}
    judged = run(
        "lessons/predict.js",
        "[m.isRight(v.b, 10), m.isRight(v.b, 9), m.isRight(v.b, 9, 2), "
        "m.isRight(v.f, new Set(['g2', 'v1'])), m.isRight(v.f, new Set(['v1'])), m.isRight(v.f, new Set())]",
        b=bar,
        f=freed,
    )
    assert judged == [True, False, True, True, False, False]


@node
def test_a_frame_changes_what_it_names_and_leaves_the_rest() -> None:
    element = ["rect", "node", {"x": 1, "y": 2}, "a", "n0", -1, "", ""]
    values = run(
        "lessons/scene_view.js", "[m.valuesOf(v.e, undefined), m.valuesOf(v.e, {style: 'keep', x: 5})]", e=element
    )
    assert values == [
        {"x": 1, "y": 2, "style": "node", "text": "a"},
        {"x": 5, "y": 2, "style": "keep", "text": "a"},
    ]


ENTRIES = ("lessons/playground.js", "lessons/stepper.js", "lessons/lesson_page.js")


@pytest.mark.parametrize("entry", ENTRIES)
def test_the_joined_module_has_no_name_twice_and_imports_nothing(entry: str) -> None:
    text = esm(entry)
    names = re.findall(r"^(?:async )?(?:const|let|function|class) (\w+)", text, re.MULTILINE)
    # a widget exports its function; the script of a page is no module and exports nothing
    exports = re.findall(r"^export default \{ initialize: inStep\(.+\), render: mount\w+ \};$", text, re.MULTILINE)
    assert len(exports) == (entry != ENTRIES[2])
    assert len(names) == len(set(names))
    assert not re.search(r"^import ", text, re.MULTILINE)


def test_every_file_of_the_lessons_is_joined_and_no_url_is_loaded() -> None:
    text = "".join(map(esm, ENTRIES))
    assert set(re.findall(r"^// ---- (\S+)$", text, re.MULTILINE)) == LESSONS | {
        "shared/elements.js",
        "shared/in_step.js",
    }
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


def test_a_static_picture_has_the_colours_of_both_themes() -> None:
    canvas = Canvas()
    canvas.box(0, 0, 1, 1, "keep", "n", tip="a long name")
    picture = Scene(9, 9, "one", tuple(canvas.elements), (Frame({}, ""),)).to_svg()
    assert "<title>a long name</title>" in picture
    dark = picture[picture.index("@media (prefers-color-scheme: dark)") :]
    assert f"--s-keep:{LIGHT['keep']}" in picture
    assert f"--s-keep:{DARK['keep']}" in dark
    assert f"--s-surface:{DARK['surface']}" in dark  # the ground
    assert '[data-jp-theme-light="false"]' in dark


def test_no_two_meanings_of_a_picture_look_the_same() -> None:
    styles = ("keep", "cell-now", "cell-path", "recompute")  # boundary, choice, path, recomputed
    looks = [STYLES[style]["fill"] + STYLES[style]["stroke"] for style in styles]
    assert len(set(looks)) == 4
    assert {STYLES[style]["stroke"] for style in ("cell-now", "ring", "link-lit", "keep", "recompute")} == {
        "text", "second", "keep-line", "recompute",
    }  # fmt: skip
