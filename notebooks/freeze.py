"""Execute notebooks and store static outputs in them: ``python notebooks/freeze.py [notebook …]``.

Each output keeps only what every page can show: a static SVG if there is one, else Markdown, HTML or text. Widget views
are dropped, because they are blank without a kernel; of an Explorer, the picture of its final plan stays. Figures of
plotly, which need a script, become SVG. JupyterLab does not show SVG in a notebook that is not trusted, so a PNG made
by Chromium is stored with each SVG. Its ground is transparent, so that it can be read in dark themes. Without
arguments, the course and ``explore.ipynb`` are executed.
"""

from __future__ import annotations

import base64
import re
import shutil
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import nbclient
import nbformat
import plotly

from recompviz.widgets.base.any_ground import any_ground_sheet

HERE = Path(__file__).parent
COURSE = sorted(HERE.glob("[0-9]-*.ipynb"))
STATIC = ("image/svg+xml", "text/markdown", "text/html")
FIGURE = "application/vnd.plotly.v1+json"
VIEW = "application/vnd.jupyter.widget-view+json"
# written by Jupyter when a cell runs
OF_A_RUN = ("execution", "ExecuteTime")
# the first cell: an Explorer is displayed when its search has ended; the exact solver is compiled, because before that
# a solver in NumPy may find another of equal plans
PRELUDE = """
import recompviz
from recompviz.core.exact.compiled_pairs import compiled_pairwise_front
from recompviz.core.exact.lattice import enumerate_lattice
from recompviz.core.exact.open_segments import open_segment_front
_graph = recompviz.Graph.from_edges([(0, 1)], memory=[1, 1])
open_segment_front(_graph, enumerate_lattice(_graph, 9), "time")
compiled_pairwise_front(_graph, [0, 1, 3], "time")
from recompviz.widgets.explorer.explorer import Explorer
def _displayed(self, _display=Explorer._ipython_display_):
    self.wait_for_plans()
    _display(self)
Explorer._ipython_display_ = _displayed
"""
_PICTURE = re.compile(
    r'(?:<style>[^<]*</style>)?<div class="recompviz-static">'
    r'<img[^>]* src="data:image/svg\+xml;base64,([\w+/=]+)"></div>'
)


def frozen(output: Any) -> Any:
    """Reduce an output to its static forms."""
    if "data" not in output:
        return output
    picture = _PICTURE.fullmatch(output.data.get("text/html", ""))
    if picture is not None:
        output.data = {
            "image/svg+xml": base64.b64decode(picture[1]).decode(),
            "text/plain": "the Explorer, as a picture",
        }
    best = FIGURE if FIGURE in output.data else next((kind for kind in STATIC if kind in output.data), "")
    output.data = {kind: text for kind, text in output.data.items() if kind in (best, "text/plain")}
    output.metadata = {}
    if "execution_count" in output:
        output.execution_count = None
    return output


def shown(outputs: list[Any]) -> list[Any]:
    """Return the static outputs of a cell. A widget's view is dropped if a picture of it follows."""
    pictures = any(_PICTURE.fullmatch(one.get("data", {}).get("text/html", "")) for one in outputs)
    kept = [one for one in outputs if one.get("name") != "stderr" and not (pictures and VIEW in one.get("data", {}))]
    return joined([frozen(one) for one in kept])


def joined(outputs: list[Any]) -> list[Any]:
    """Join texts that a kernel printed in several parts."""
    whole: list[Any] = []
    for one in outputs:
        if whole and one.get("name") and one.get("name") == whole[-1].get("name"):
            whole[-1].text += one.text
        else:
            whole.append(one)
    return whole


def execute(path: Path) -> Any:
    """Run a notebook from top to bottom and keep the static outputs."""
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(PRELUDE))
    nbclient.NotebookClient(notebook, timeout=1800, resources={"metadata": {"path": str(path.parent)}}).execute()
    del notebook.cells[0]
    for cell in notebook.cells:
        for name in OF_A_RUN:
            cell.metadata.pop(name, None)
        if cell.cell_type == "code":
            cell.execution_count = None
            cell.outputs = shown(cell.outputs)
    notebook.metadata = {"kernelspec": notebook.metadata.kernelspec, "language_info": {"name": "python"}}
    return notebook


def add_pngs(notebook: Any) -> None:
    """Make an SVG of each figure of plotly, and add a PNG to each SVG."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        for output in (o for cell in notebook.cells for o in cell.get("outputs", [])):
            if FIGURE in output.get("data", {}):
                output.data["image/svg+xml"] = drawn(page, output.data.pop(FIGURE))
                output.data.setdefault("text/plain", "a figure of plotly, as a picture")
            svg = output.get("data", {}).get("image/svg+xml")
            if svg:
                output.data["image/png"] = base64.b64encode(png_of(page, svg)).decode()
        browser.close()


def png_of(page: Any, svg: str) -> bytes:
    """Draw an SVG as a PNG without a ground."""
    page.set_content(f"<style>{any_ground_sheet()}</style>{svg}")
    picture: bytes = page.locator("svg").first.screenshot(omit_background=True)
    return picture


def drawn(page: Any, figure: Any) -> str:
    """Draw a figure of plotly as SVG."""
    page.set_content("<div id='figure'></div>")
    page.add_script_tag(path=str(Path(plotly.__file__).parent / "package_data" / "plotly.min.js"))
    source: str = page.evaluate(
        "({data, layout}) => Plotly.newPlot('figure', data, {...layout, width: 1000, height: 420})"
        ".then((made) => Plotly.toImage(made, {format: 'svg', width: 1000, height: 420}))",
        {"data": figure["data"], "layout": figure["layout"]},
    )
    return unquote(source.split(",", 1)[1])


def main(paths: list[Path]) -> None:
    """Freeze these notebooks, or the course and the Explorer's notebook."""
    for path in paths or [*COURSE, HERE / "explore.ipynb"]:
        notebook = execute(path)
        add_pngs(notebook)
        nbformat.write(notebook, path)
        print(f"{path.name}: {path.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]])
