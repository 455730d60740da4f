"""A saved notebook shows the Explorer's picture without a kernel, and the picture is that of the final plan."""

from __future__ import annotations

import base64
import re
import threading
import time
import xml.etree.ElementTree as ET

import IPython.display
import nbclient
import nbformat
import pytest

from recompviz.core.base.palette import DARK, LIGHT
from recompviz.widgets.base.static_output import CLASS, NO_MESSAGE, SavedPicture, display_with_picture, image
from recompviz.widgets.explorer.labels import squeezed
from tests.widgets.conftest import Lab
from tests.widgets.test_palette import contrast

CELLS = (
    "import recompviz as rv\n"
    "import torch\n"
    "from torch import nn\n"
    "model = nn.Sequential(*[m for _ in range(4) for m in (nn.Linear(32, 32), nn.Tanh())])\n"
    "explorer = rv.explore(model, torch.randn(8, 32), calibrated=False)\n"
    "explorer",
    "explorer.wait_for_plans(); import time; time.sleep(1); print(explorer)",
)


def test_the_picture_is_replaced_when_the_search_has_ended(monkeypatch):
    shown, replaced, ended, done = [], [], threading.Event(), threading.Event()

    class Handle:
        def update(self, picture):
            replaced.append(picture.data)
            done.set()

    def display(output, **options):
        shown.append(output if options.get("raw") else output.data)
        return Handle() if options.get("display_id") else None

    monkeypatch.setattr(IPython.display, "display", display)
    pictures = iter(["first", "final"])
    display_with_picture({"text/plain": "view"}, {}, lambda: next(pictures), ended.wait)
    assert (shown, replaced) == ([{"text/plain": "view"}, NO_MESSAGE + "first"], [])
    ended.set()
    assert done.wait(10)
    assert replaced == [NO_MESSAGE + "final"]


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_words_in_a_saved_picture_stand_on_its_own_ground_and_can_be_read(theme):
    """What an unknown page has below the picture does not matter."""
    explorer = Lab().explorer(title="Net")
    svg = base64.b64decode(re.search(r'base64,([^"]+)', explorer._image())[1]).decode()
    drawn = ET.fromstring(svg)
    sheet = drawn[0].text
    assert drawn[0].tag.endswith("style")
    assert sheet.startswith("@media (prefers-color-scheme:dark)")  # nothing changes on another page
    dark = dict(re.findall(r'\[fill="(#\w{6})"\]\{fill:(#\w{6})\}', sheet)) if theme is DARK else {}
    ground = drawn.find("{*}rect")
    width, height = (float(number) for number in drawn.get("viewBox").split()[2:])
    assert (float(ground.get("width")), float(ground.get("height"))) == (width, height)
    below = dark.get(ground.get("fill"), ground.get("fill"))
    assert below == theme["surface"]
    on_boxes = {colour for name, colour in LIGHT.items() if name.startswith("on-")}
    fills = {text.get("fill") for text in drawn.iter("{http://www.w3.org/2000/svg}text")} - on_boxes
    assert fills >= {LIGHT["text"], LIGHT["muted"]}
    assert {fill for fill in fills if contrast(dark.get(fill, fill), below) < 4.5} == set()


def test_pictures_keep_their_text_for_files_and_without_colours():
    assert "<style" not in Lab().explorer(title="Net").to_svg()
    assert "<style" not in base64.b64decode(image("<svg></svg>", "").split("base64,")[1].partition('"')[0]).decode()


def test_a_saved_picture_has_the_colours_of_the_dark_theme_on_a_dark_ground():
    picture = Lab().explorer(title="Net")._image()
    svg = base64.b64decode(re.search(r'base64,([^"]+)', picture)[1]).decode()
    dark = dict(
        re.findall(r'="(#\w{6})"\]\{(?:fill|stroke|stop-color):(#\w{6})\}', svg.split("prefers-color-scheme:dark")[1])
    )
    drawn = svg.split("</style>")[1]
    colours = set(re.findall(r'(?:fill|stroke|stop-color)="(#\w{6})"', drawn))
    assert colours == set(dark)  # the style sheet leaves no colour of the light theme
    assert dark[LIGHT["land-parameters"]] == DARK["land-parameters"]
    assert dark[LIGHT["text"]] == DARK["text"]
    assert f'[data-jp-theme-light="true"] .{CLASS} img {{ color-scheme: light }}' in NO_MESSAGE
    assert f'[data-jp-theme-light="false"] .{CLASS} img {{ color-scheme: dark }}' in NO_MESSAGE


def test_the_memory_is_above_a_large_graph():
    charts, graph = ET.fromstring(Lab().explorer().to_svg()).findall("{*}g")
    texts = [text.text or "" for text in charts.findall("{*}text")]
    assert any(text.startswith("Memory over the step") for text in texts)
    upper, lower = (
        float(re.search(r"translate\(\S+ ([\d.]+)", group.get("transform"))[1]) for group in (charts, graph)
    )
    assert upper + 200 < lower


def drawn_graph(explorer):
    """The texts of the graph in the picture, and the least size of their letters at the picture's natural width."""
    graph = ET.fromstring(explorer.to_svg()).findall("{*}g")[1]
    scale = float(re.search(r"scale\(([\d.]+)\)", graph.get("transform"))[1])
    texts = graph.findall(".//{*}text")
    return [text.text for text in texts], min(float(text.get("font-size")) for text in texts) * scale


@pytest.mark.parametrize("mode", ["wrapped", "right", "down"])
@pytest.mark.parametrize("blocks", [(1,), (1, 1), (1, 1, 1), (2, 3, 2), (3, 4, 6, 3)])
def test_the_names_in_the_graph_of_a_picture_are_legible(blocks, mode):
    explorer = Lab(blocks).explorer()
    explorer._mode = mode
    assert drawn_graph(explorer)[1] >= 9


def test_a_graph_that_is_too_large_for_a_picture_is_folded_by_module():
    lab = Lab((3, 4, 6, 3))
    texts, _ = drawn_graph(lab.explorer())
    modules = [text for text in texts if re.fullmatch(r"layer\d", text)]
    assert modules == ["layer1", "layer2", "layer3", "layer4"]
    assert {"conv1", "fc", "loss"} <= set(texts)
    held = [text for text in texts if re.fullmatch(r"\d+(\.\d)?% of [\d.]+ [KMG]iB kept|holds no memory", text)]
    assert len(held) == len(modules)
    assert len(drawn_graph(Lab((1,)).explorer())[0]) == len(Lab((1,)).graph)  # a small one is not


@pytest.mark.parametrize(("label", "fits"), [("relu", True), ("filter", True), ("matmul", False), ("softmax", False)])
def test_a_label_that_may_be_wider_than_its_box_is_squeezed(label, fits):
    assert (squeezed(label, 10.5) == "") == fits


def test_a_picture_is_replaced_once_after_many_changes_and_not_while_the_widget_is_busy():
    replaced, work = [], threading.Event()
    saved = SavedPicture(lambda: replaced.append(time.monotonic()), work.is_set, quiet=0.2, every=0.5)
    for _ in range(10):  # a drag
        saved.changed()
        last = time.monotonic()
        time.sleep(0.02)
    assert replaced == []
    _until(lambda: len(replaced) == 1)
    assert replaced[0] >= last + 0.2
    saved.changed()
    _until(lambda: len(replaced) == 2)
    assert replaced[1] >= replaced[0] + 0.5
    work.set()
    saved.changed()
    time.sleep(0.8)
    assert len(replaced) == 2
    work.clear()
    _until(lambda: len(replaced) == 3)
    time.sleep(0.8)  # nothing changed since
    saved.stop()
    saved.changed()
    time.sleep(0.3)
    assert len(replaced) == 3


def _until(condition):
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_another_budget_the_paper_s_view_and_a_run_make_the_picture_old_until_the_widget_is_closed(lab, monkeypatch):
    explorer, changes = lab.explorer(), []

    class Handle:
        def update(self, _picture):
            raise AssertionError("a picture is replaced later")

    monkeypatch.setattr(IPython.display, "display", lambda *_, **options: Handle() if "display_id" in options else None)
    monkeypatch.setattr(SavedPicture, "changed", lambda _self: changes.append(explorer.plan))
    explorer._ipython_display_()
    before = explorer.plan
    explorer.budget = "100%"
    assert changes
    assert changes[-1] is explorer.plan is not before
    count = len(changes)
    explorer._theory = True
    assert len(changes) > count
    count = len(changes)
    explorer._runs = [{}]
    assert len(changes) > count
    stopped = []
    monkeypatch.setattr(SavedPicture, "stop", lambda _self: stopped.append(True))
    explorer.close()
    assert stopped == [True]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # raised by zmq and traitlets in the client
def test_the_picture_of_a_saved_notebook_is_that_of_the_final_plan(tmp_path):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in CELLS])
    nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    widget, picture = (output for output in notebook.cells[0].outputs if "data" in output)
    assert "application/vnd.jupyter.widget-view+json" in widget.data
    assert "text/html" not in widget.data
    assert 'src="data:image/svg+xml;base64,' in picture.data["text/html"]
    final = notebook.cells[1].outputs[0].text.split("peak ")[1].split(" total")[0]
    assert final in picture.data["text/html"]
