"""Every notebook runs top to bottom, and is committed without widget state; what outputs it keeps need no kernel."""

from __future__ import annotations

import pathlib

import nbclient
import nbformat
import pytest

NOTEBOOKS = sorted((pathlib.Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))

# opened to be run: a widget is all that it shows
WITHOUT_OUTPUTS = {"explore"}
# what can be read where it lies: tables and static pictures
STATIC = {"text/plain", "text/html", "text/markdown", "text/latex", "image/svg+xml"}


def test_there_are_notebooks() -> None:
    assert {path.name for path in NOTEBOOKS} >= {"explore.ipynb", "debug.ipynb", "paper.ipynb"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of zmq and traitlets in the client, not ours
def test_the_notebook_runs_top_to_bottom(path: pathlib.Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    client = nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(path.parent)}})
    client.execute()  # raises with the cell and its traceback
    assert any(cell.get("outputs") for cell in notebook.cells)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_notebook_is_committed_clean(path: pathlib.Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    assert "widgets" not in notebook.metadata
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert bool(outputs) == (path.stem not in WITHOUT_OUTPUTS)
    assert {kind for output in outputs for kind in output.get("data", {})} <= STATIC
