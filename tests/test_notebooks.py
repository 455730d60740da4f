"""Every notebook runs top to bottom, and is committed without widget state; outputs, where kept, are plain tables."""

from __future__ import annotations

import pathlib

import nbclient
import nbformat
import pytest

NOTEBOOKS = sorted((pathlib.Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))


# committed with their tables, which need no kernel and no script to be read
WITH_TABLES = {"debug"}


def test_there_are_notebooks() -> None:
    assert {path.name for path in NOTEBOOKS} >= {"explore.ipynb", "debug.ipynb"}


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
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.execution_count is None for cell in cells)
    if path.stem not in WITH_TABLES:
        assert all(not cell.outputs for cell in cells)
    kinds = {kind for cell in cells for output in cell.outputs for kind in output["data"]}
    assert kinds <= {"text/plain", "text/html"}
