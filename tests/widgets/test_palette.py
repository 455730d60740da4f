"""One palette: every colour stands in recompviz/core/base/palette.py, and style sheets name only colours that exist."""

import itertools
import re
from pathlib import Path

import pytest

import recompviz
from recompviz.core.base import palette
from recompviz.core.steps.joint import Category
from recompviz.widgets.base import assets
from recompviz.widgets.base.styles import STYLES
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


# what stands beside each other in the memory landscape and has no place in the ramp of the strata
TONES = ("parameters", "static", "optimizer", "gradients", "flight", "workspace")
SEEN_APART = 14  # the distance in CIELAB; 2 is just seen when two areas touch, an earlier palette had 1.6


def linear(colour: str) -> list[float]:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]


def lab(light: list[float]) -> list[float]:
    """The place of a colour, given as linear light, in CIELAB."""
    rows = ((0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505))
    x, y, z = (sum(a * b for a, b in zip(row, light, strict=True)) for row in rows)
    fx, fy, fz = (t ** (1 / 3) if t > 0.008856 else 7.787 * t + 16 / 116 for t in (x / 0.9505, y, z / 1.089))
    return [116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)]


def without_green(light: list[float]) -> list[float]:
    """What an eye without receptors for green sees (Machado et al. 2009)."""
    rows = ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.01182, 0.04294, 0.968881))
    return [min(1.0, max(0.0, sum(a * b for a, b in zip(row, light, strict=True)))) for row in rows]


def apart(one: str, other: str, eye=list) -> float:
    a, b = (lab(eye(linear(colour))) for colour in (one, other))
    return sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) ** 0.5


def contrast(one: str, other: str) -> float:
    """The ratio of WCAG 2."""
    light = (sum(a * b for a, b in zip((0.2126, 0.7152, 0.0722), linear(c), strict=True)) for c in (one, other))
    low, high = sorted(light)
    return (high + 0.05) / (low + 0.05)


THEMES = pytest.mark.parametrize("theme", [palette.LIGHT, palette.DARK], ids=["light", "dark"])


@THEMES
@pytest.mark.parametrize("eye", [list, without_green], ids=["all colours", "without green"])
def test_kinds_of_memory_beside_each_other_are_seen_apart(theme, eye):
    for one, other in itertools.combinations(TONES, 2):
        assert apart(theme[f"land-{one}"], theme[f"land-{other}"], eye) > SEEN_APART, (one, other)


@THEMES
def test_the_chosen_step_has_not_the_colour_of_the_budget(theme):
    assert apart(theme["cursor"], theme["accent"]) > 60
    assert contrast(theme["cursor"], theme["surface"]) > 4.5
    sheet = assets.css()
    for name in (r"\.rv-playhead line", r"\.rv-key-step"):
        assert "--rv-cursor" in re.search(name + r" \{([^}]*)\}", sheet)[1]


@THEMES
def test_words_on_the_ground_of_the_page_can_be_read(theme):
    rooms = ("explorer", "graph", "ranks")
    sheets = "".join(path.read_text(encoding="utf-8") for room in rooms for path in assets.HERE.glob(f"css/{room}/*"))
    names = set(re.findall(r"\n\s+color: var\(--rv-([\w-]+)\);", sheets))
    assert names >= {"text", "muted", "accent-text"}
    low = {name for name in names if not name.startswith("on-") and contrast(theme[name], theme["surface"]) < 4.5}
    assert low == set()
    assert contrast(theme["accent-text"], theme["accent-wash"]) > 4.5  # a budget that is refused


@THEMES
def test_words_in_pictures_on_the_ground_of_the_page_can_be_read(theme):
    words = {name: style["fill"] for name, style in STYLES.items() if "font-size" in style}
    on_boxes = {name for name, fill in words.items() if fill.startswith("on-")} | {"cell-text-path"}
    assert {"budget-end", "text", "muted"} <= set(words) - on_boxes
    low = {name for name in set(words) - on_boxes if contrast(theme[words[name]], theme["surface"]) < 4.5}
    assert low == set()


def test_words_in_a_saved_picture_can_be_read(lab):
    texts = re.findall(r"<text [^>]*>", lab.explorer().to_svg())
    fills = {fill for text in texts for fill in re.findall(r'fill="(#\w+)"', text)}
    on_boxes = {colour for name, colour in palette.LIGHT.items() if name.startswith("on-")}
    assert palette.LIGHT["accent-text"] in fills  # the name of the budget
    assert {fill for fill in fills - on_boxes if contrast(fill, palette.LIGHT["surface"]) < 4.5} == set()


@THEMES
def test_names_on_the_classes_of_a_quantity_can_be_read_and_the_classes_seen_apart(theme):
    levels = [theme[f"level-{i}"] for i in range(9)]
    for i, level in enumerate(levels):
        assert contrast(theme[f"on-level-{i}"], level) > 4.5
    for one, other in itertools.pairwise(levels):
        assert apart(one, other) > 6


@THEMES
def test_names_in_the_landscape_can_be_read(theme):
    for name in ("parameters", "gradients"):
        assert contrast(theme["text"], theme[f"land-{name}"]) > 4.5
    for i in range(5):
        assert contrast(theme["on-land"], theme[f"land-ramp-{i}"]) > 4.5
