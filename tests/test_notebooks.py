"""Every notebook runs top to bottom, and is committed without outputs or widget state; but for static results."""

from __future__ import annotations

import pathlib

import nbclient
import nbformat
import pytest

NOTEBOOKS = sorted((pathlib.Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))


def test_there_are_notebooks() -> None:
    assert "explore.ipynb" in {path.name for path in NOTEBOOKS}


# read where it lies, without being run: its outputs are tables and static pictures
WITH_OUTPUTS = {"paper"}


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
    if path.stem in WITH_OUTPUTS:
        outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
        assert outputs
        assert all("application/vnd.jupyter.widget-view+json" not in output.get("data", {}) for output in outputs)
        return
    assert all(not cell.outputs and cell.execution_count is None for cell in notebook.cells if cell.cell_type == "code")
