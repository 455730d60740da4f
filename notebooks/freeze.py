"""Execute the notebooks of the course and store static outputs in them: ``python notebooks/freeze.py [notebook …]``.

Each output keeps only what every page can show: a static SVG if there is one, else Markdown or text. Widget views are
dropped, because they are blank without a kernel. JupyterLab does not show SVG in a notebook that is not trusted, so a
PNG made by Chromium is stored with each SVG.
"""

from __future__ import annotations

import base64
import shutil
import sys
from pathlib import Path
from typing import Any

import nbclient
import nbformat

HERE = Path(__file__).parent
COURSE = sorted(HERE.glob("[0-9]-*.ipynb"))
# Metadata of cells that stays: types of slides, and instructions for nbgrader.
KEPT = ("slideshow", "nbgrader", "tags")


def frozen(output: Any) -> Any:
    """Reduce an output to its static forms."""
    if "data" not in output:
        return output
    best = next((kind for kind in ("image/svg+xml", "text/markdown") if kind in output.data), "")
    output.data = {kind: text for kind, text in output.data.items() if kind in (best, "text/plain")}
    output.metadata = {}
    if "execution_count" in output:
        output.execution_count = None
    return output


def execute(path: Path) -> Any:
    """Run a notebook from top to bottom and keep the static outputs."""
    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(path.parent)}}).execute()
    for cell in notebook.cells:
        cell.metadata = {key: value for key, value in cell.metadata.items() if key in KEPT}
        if cell.cell_type == "code":
            cell.execution_count = None
            cell.outputs = [frozen(output) for output in cell.outputs if output.get("name") != "stderr"]
    notebook.metadata = {"kernelspec": notebook.metadata.kernelspec, "language_info": {"name": "python"}}
    return notebook


def add_pngs(notebook: Any) -> None:
    """Add a PNG to each SVG."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        for output in (o for cell in notebook.cells for o in cell.get("outputs", [])):
            svg = output.get("data", {}).get("image/svg+xml")
            if svg:
                page.set_content(svg)
                output.data["image/png"] = base64.b64encode(page.locator("svg").screenshot()).decode()
        browser.close()


def main(paths: list[Path]) -> None:
    """Freeze these notebooks, or the whole course."""
    for path in paths or COURSE:
        notebook = execute(path)
        add_pngs(notebook)
        nbformat.write(notebook, path)
        print(f"{path.name}: {path.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]])
