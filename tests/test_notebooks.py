"""Every notebook runs from top to bottom and is committed without widget state; its outputs need no kernel."""

from __future__ import annotations

import base64
import html
import importlib
import pathlib
import xml.etree.ElementTree as ET
import zlib
from collections.abc import Iterator
from typing import Any

import nbclient
import nbformat
import pytest

from recompviz.core.base.palette import LIGHT
from recompviz.core.exact.compiled_pairs import compiled_pairwise_front
from recompviz.core.exact.lattice import enumerate_lattice
from recompviz.core.exact.open_segments import open_segment_front
from recompviz.core.graphs.graph import Graph
from recompviz.widgets.base import any_ground
from recompviz.widgets.base.static_output import NO_MESSAGE, image

HOME = pathlib.Path(__file__).parent.parent / "notebooks"
NOTEBOOKS = sorted(HOME.glob("*.ipynb"))
COURSE = sorted(HOME.glob("[0-9]-*.ipynb"))
# tables and static pictures, which every page can show
STATIC = {"image/png", "image/svg+xml", "text/html", "text/latex", "text/markdown", "text/plain"}
# what a notebook runs in the tests in place of its own sizes: its steps take seconds each, and their size tests nothing
SMALLER = {
    "explore": {
        "networks.resnet50()": "networks.resnet([1, 1, 1, 1])",
        "torch.randn(8, 3, 224, 224)": "torch.randn(2, 3, 128, 128)",
        "torch.randint(1000, (8,))": "torch.randint(1000, (2,))",
        '"560 MiB"': '"90 MiB"',
        "torch.randn(16, 3, 96, 96)": "torch.randn(16, 3, 64, 64)",
        "networks.resnet([3, 4, 6, 3], width=16)": "networks.resnet([1, 1, 1, 1], width=16)",
        '"42 MiB"': '"15 MiB"',
        "rounds=21": "rounds=3",
    }
}
# a cell that runs before the others of a notebook that imports torch. Each measurement of a step begins with a garbage
# collection, which is short if the objects that imports and earlier cells have made are out of it
FROZEN = """\
import torch._dynamo
def _freeze(_result):
    import gc
    gc.collect()
    gc.freeze()
get_ipython().events.register("post_run_cell", _freeze)
del torch, _freeze
"""


def test_there_are_notebooks() -> None:
    assert {path.stem for path in NOTEBOOKS} >= {"explore", "debug", "paper"}
    assert [path.stem for path in COURSE] == [
        "0-in-forty-minutes",
        "1-lower-sets",
        "2-canonical-strategy",
        "3-dynamic-programme",
        "4-from-theory-to-gpu",
    ]


@pytest.fixture(scope="module")
def compiled() -> None:
    """Compile the exact solver. Before, a solver in NumPy solves small graphs, and may find another of equal plans."""
    graph = Graph.from_edges([(0, 1)], memory=[1, 1])
    open_segment_front(graph, enumerate_lattice(graph, 9), "time")
    compiled_pairwise_front(graph, [0, 1, 3], "time")


@pytest.mark.slow
@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # raised by zmq and traitlets in the client
def test_the_notebook_runs_top_to_bottom(path: pathlib.Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    client = nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(path.parent)}})
    committed = [_static(cell) for cell in notebook.cells]
    for text, smaller in SMALLER.get(path.stem, {}).items():
        cells = [cell for cell in notebook.cells if cell.cell_type == "code" and text in cell.source]
        assert cells, text
        for cell in cells:
            cell.source = cell.source.replace(text, smaller)
    with_torch = any("import torch" in cell.source for cell in notebook.cells)
    if with_torch:
        notebook.cells.insert(0, nbformat.v4.new_code_cell(FROZEN))
    client.execute()  # raises with the cell and its traceback
    if with_torch:
        del notebook.cells[0]
    assert any(cell.get("outputs") for cell in notebook.cells)
    if path in COURSE:  # with PyTorch, outputs depend on the machine
        count = next((i for i, cell in enumerate(notebook.cells) if "import torch" in cell.source), len(committed))
        assert [_static(cell) for cell in notebook.cells[:count]] == committed[:count], "run notebooks/freeze.py"


def _static(cell: Any) -> list[str]:
    """The outputs of a cell on a static page. A kernel may print a text in several parts."""
    shown: list[str] = []
    printed = False
    for output in cell.get("outputs", []):
        data = output.get("data", {"text/plain": output.get("text", "")})
        text = data.get("image/svg+xml") or data["text/plain"]
        if printed and "text" in output:
            shown[-1] += text
        else:
            shown.append(text)
        printed = "text" in output
    return shown


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_notebook_is_committed_clean(path: pathlib.Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    assert "widgets" not in notebook.metadata
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.execution_count is None for cell in code)
    outputs = [output for cell in code for output in cell.outputs]
    assert outputs
    assert all(output.get("data", True) for output in outputs)  # one without a static form would be blank
    assert {kind for output in outputs for kind in output.get("data", {})} <= STATIC  # a widget view would be blank


def test_the_explorer_s_notebook_shows_a_final_plan() -> None:
    notebook = nbformat.read(HOME / "explore.ipynb", as_version=4)
    pictures = [
        output.data["image/svg+xml"]
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "image/svg+xml" in output.get("data", {})
    ]
    assert len(pictures) == 2  # the Explorer, and the measured step beside the simulated one
    for picture in pictures:
        ET.fromstring(picture)
    assert "training step on CPU" in pictures[0]
    assert "values recomputed" in pictures[0]


def test_a_frozen_output_keeps_what_is_no_widget() -> None:
    freeze = importlib.import_module("notebooks.freeze")
    view = {"output_type": "display_data", "data": {freeze.VIEW: {}, "text/plain": "Explorer(…)"}, "metadata": {}}
    picture = view | {"data": {"text/html": NO_MESSAGE + image("<svg/>", "plan"), "text/plain": "<HTML>"}}
    table = view | {"data": {"text/html": "<table></table>", "text/plain": "table"}}
    kept = freeze.shown([nbformat.from_dict(one) for one in (view, picture, table)])
    assert [dict(one.data) for one in kept] == [
        {"image/svg+xml": "<svg/>", "text/plain": "the Explorer, as a picture"},
        {"text/html": "<table></table>", "text/plain": "table"},
    ]


@pytest.mark.parametrize("path", [*COURSE, HOME / "explore.ipynb", HOME / "paper.ipynb"], ids=lambda path: path.stem)
def test_a_frozen_picture_has_no_ground_of_its_own(path: pathlib.Path) -> None:
    """A white ground would be a bright box in a dark theme."""
    notebook = nbformat.read(path, as_version=4)
    pictures = [
        o.data["image/png"] for c in notebook.cells for o in c.get("outputs", []) if "image/png" in o.get("data", {})
    ]
    assert pictures
    for picture in pictures:
        content = base64.b64decode(picture)
        assert content[25] == 6, "a PNG with transparency"
        rows = zlib.decompress(b"".join(_chunks(content, b"IDAT")))
        assert rows[4] == 0, "the first pixel is transparent"


def _chunks(png: bytes, kind: bytes) -> Iterator[bytes]:
    at = 8
    while at < len(png):
        size = int.from_bytes(png[at : at + 4], "big")
        if png[at + 4 : at + 8] == kind:
            yield png[at + 8 : at + 8 + size]
        at += size + 12


@pytest.mark.parametrize("page", ["#ffffff", "#111111"], ids=["light", "dark"])
def test_the_grey_of_a_picture_without_ground_can_be_read_on_both_themes(page: str) -> None:
    assert _contrast(any_ground.GREY, page) > 4.2
    for colours in ((any_ground.GREY, LIGHT["surface"]), (LIGHT["text"], any_ground.VEIL)):
        assert _contrast(*colours) > 4.2


def _contrast(one: str, other: str) -> float:
    """The ratio of WCAG 2 between two colours."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("path", COURSE, ids=lambda path: path.stem)
def test_the_course_is_readable_as_a_static_page(path: pathlib.Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    for output in outputs:  # JupyterLab does not show an SVG in a notebook that is not trusted
        assert ("image/png" in output.get("data", {})) == ("image/svg+xml" in output.get("data", {}))
    pictures = [output.data["image/svg+xml"] for output in outputs if "image/svg+xml" in output.get("data", {})]
    assert len(pictures) >= 3
    for picture in pictures:
        ET.fromstring(picture)
        assert "href" not in picture


@pytest.mark.slow
def test_a_notebook_that_is_run_and_saved_has_the_picture_of_the_final_plans() -> None:
    # the operators of a model on the meta device have estimated times, which are the same in each process
    lines = [
        "import torch, recompviz as rv",
        "from recompviz import networks",
        "with torch.device('meta'):",
        "    model = networks.gpt2(6, 64, 4, vocabulary=100, context=32, dropout=0.0)",
        "    tokens = torch.zeros(2, 32, dtype=torch.long)",
        "def loss(output): return output.float().square().mean()",
    ]
    cells = ["\n".join(lines)]
    for background in (False, True):  # the search in the background goes on when the last cell has run
        made = f"explorer = rv.explore(model, tokens, loss=loss, background={background})"
        cells.append(f"{made}\nexplorer")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbclient.NotebookClient(notebook, timeout=300).execute()
    scope: dict[str, Any] = {}
    exec(cells[0], scope)
    for cell, shown in zip(cells[1:], notebook.cells[1:], strict=True):
        (page,) = [o.data["text/html"] for o in shown.outputs if "text/html" in o.get("data", {})]
        exec(cell, scope)
        scope["explorer"].wait_for_plans()
        assert f'alt="{html.escape(repr(scope["explorer"]))}"' in page, cell
