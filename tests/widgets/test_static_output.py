"""A saved notebook shows the Explorer's picture without a kernel, and the picture is that of the final plan."""

from __future__ import annotations

import threading

import IPython.display
import nbclient
import nbformat
import pytest

from recompviz.widgets.base.static_output import NO_MESSAGE, display_with_picture

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
