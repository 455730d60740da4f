"""The command line: ``recompviz lab`` starts JupyterLab with the Explorer; the other commands write pages.

``recompviz snapshot`` writes a page of memory snapshots, ``recompviz course`` the pages of the course. By default, the
server of JupyterLab listens on the loopback interface only. It requires Jupyter's token, because it executes any code
that it receives.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import recompviz
from recompviz.core.base.errors import FileError, RecompvizError
from recompviz.core.base.files import write_file
from recompviz.core.base.units import format_bytes

NOTEBOOK = "explore.ipynb"
_STARTER = (
    (
        "markdown",
        "# Explore the memory of a training step\n\nRun the cell, then drag the budget. "
        "Replace the model, the batch and the loss with your own.",
    ),
    (
        "code",
        "import torch\nimport recompviz as rv\nfrom recompviz import networks\n\n"
        "model = networks.resnet50()\n"
        "x, y = torch.randn(8, 3, 224, 224), torch.randint(1000, (8,))\n"
        "explorer = rv.explore(model, x, targets=(y,), loss=torch.nn.functional.cross_entropy)\nexplorer",
    ),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    Parameters
    ----------
    arguments : sequence of str, optional
        The arguments after ``recompviz``. If None, ``sys.argv[1:]``. Unknown arguments of ``lab`` are passed on to
        JupyterLab.

    Returns
    -------
    int
        The exit status of the command; see :func:`open_lab`, :func:`write_snapshot_page` and :func:`write_course`.

    Raises
    ------
    SystemExit
        If the arguments are wrong (status 2), or after ``--help`` and ``--version`` (status 0).
    """
    parser = argparse.ArgumentParser(
        prog="recompviz", description="See and control how much memory training a neural network takes."
    )
    parser.add_argument("--version", action="version", version=f"recompviz {recompviz.__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    lab = commands.add_parser("lab", help="open JupyterLab at the Explorer's notebook")
    lab.add_argument("notebook", nargs="?", type=Path, help=f"the notebook to open (default: {NOTEBOOK})")
    lab.add_argument("--no-browser", action="store_true", help="print the address instead of opening a browser")
    lab.add_argument("--port", type=int, help="the port to listen on (default: the first free one from 8888)")
    snapshot = commands.add_parser("snapshot", help="write a page of memory snapshots, and print what holds the memory")
    snapshot.add_argument("files", nargs="+", type=Path, help="files of torch.cuda.memory._dump_snapshot, one per rank")
    snapshot.add_argument("--out", type=Path, default=Path("snapshot.html"), help="the page (default: snapshot.html)")
    snapshot.add_argument("--device", help="the number of the GPU, or host (default: the GPU with the highest peak)")
    course = commands.add_parser("course", help="write the course as pages that need neither a kernel nor a network")
    course.add_argument("out", type=Path, help="the folder to write")
    course.add_argument("--notebooks", type=Path, help="the folder of the notebooks (default: the checkout's)")
    options, passed_on = parser.parse_known_args(arguments)
    if options.command != "lab" and passed_on:
        parser.error(f"unrecognized arguments: {' '.join(passed_on)}")
    if options.command == "course":
        return write_course(options.out, options.notebooks)
    if options.command == "snapshot":
        return write_snapshot_page(options.files, options.out, options.device)
    return open_lab(options.notebook, options.no_browser, options.port, passed_on)


def write_snapshot_page(files: Sequence[Path], out: Path, device: str | None = None) -> int:
    """Write a page of one or several memory snapshots, and print their reports.

    Parameters
    ----------
    files : sequence of Path
        The files of the snapshots, for example one of each rank.
    out : Path
        The HTML file to write.
    device : str, optional
        The number of the GPU to show, or ``"host"`` for pinned host memory. If None, the GPU with the highest peak,
        or the host if the snapshot has nothing else.

    Returns
    -------
    int
        The exit status: 1 if a file cannot be read or written, or if ``device`` is invalid or a snapshot has no data
        for it; otherwise 0.
    """
    from recompviz.core.snapshots.snapshot_report import load_snapshot
    from recompviz.widgets.recordings.recordings_page import comparison, recordings_page

    number = int(device) if device is not None and device.isdecimal() else device
    try:
        reports = [load_snapshot(file, device=number) for file in files]  # type: ignore[arg-type]  # other texts raise TypeError
        recordings_page(reports, out)
    except (RecompvizError, TypeError) as error:
        print(error, file=sys.stderr)
        return 1
    print(comparison(reports) if len(reports) > 1 else reports[0].text)
    print(f"wrote {out}")
    return 0


def write_course(out: Path, notebooks: Path | None) -> int:
    """Write the course as static pages and print what was written.

    Parameters
    ----------
    out : Path
        The folder of the pages.
    notebooks : Path or None
        The folder of the notebooks. If None, the folder ``notebooks`` beside the package (in a checkout), or else in
        the current folder.

    Returns
    -------
    int
        The exit status: 1 if a package is missing, or a file cannot be read or written; otherwise 0.
    """
    if find_spec("mistune") is None:
        print('recompviz course needs mistune; install it with: pip install "recompviz[lab]"', file=sys.stderr)
        return 1
    from recompviz.widgets.course.site import write_site

    try:
        site = write_site(out, notebooks)
    except FileError as error:
        print(error, file=sys.stderr)
        return 1
    for problem in site.problems:
        print(problem, file=sys.stderr)
    size = format_bytes(site.size)
    print(f"wrote {len(site.pages)} pages with {site.lessons} interactive pictures, {size}: {site.pages[0]}")
    return 0


def open_lab(notebook: Path | None, no_browser: bool, port: int | None, passed_on: Sequence[str] = ()) -> int:
    """Start JupyterLab, open a notebook in it and wait until JupyterLab ends.

    Parameters
    ----------
    notebook : Path or None
        The notebook to open. If None, the result of :func:`find_notebook`.
    no_browser : bool
        Whether to print the address instead of opening a browser.
    port : int or None
        The port to listen on. If None, the first free port from 8888.
    passed_on : sequence of str
        Further command-line arguments for JupyterLab.

    Returns
    -------
    int
        The exit status: 1 if JupyterLab or the notebook is missing, or the starter notebook cannot be written,
        otherwise 0.
    """
    if find_spec("jupyterlab") is None:
        print('recompviz lab needs JupyterLab; install it with: pip install "recompviz[lab]"', file=sys.stderr)
        return 1
    try:
        notebook = find_notebook() if notebook is None else notebook.resolve()
    except FileError as error:
        print(error, file=sys.stderr)
        return 1
    if not notebook.is_file():
        print(f"there is no notebook {str(notebook)!r}; give the path of an existing one, or no path", file=sys.stderr)
        return 1
    from jupyterlab.labapp import LabApp

    with saved_widget_state():
        LabApp.launch_instance(lab_arguments(notebook, no_browser, port, passed_on))
    return 0


@contextlib.contextmanager
def saved_widget_state() -> Iterator[Path]:
    """Let JupyterLab save the state of widgets in notebooks, so that a notebook shows them without a kernel.

    This is a default, which the user's own settings override. The default is written to a file in a temporary folder.
    The ``with`` block gets the path of this file. In the block, Jupyter also searches the temporary folder for settings
    (``JUPYTER_CONFIG_PATH``).
    """
    before = os.environ.get("JUPYTER_CONFIG_PATH")
    with tempfile.TemporaryDirectory(prefix="recompviz-lab-") as folder:
        defaults = Path(folder) / "labconfig" / "default_setting_overrides.json"
        defaults.parent.mkdir()
        defaults.write_text(json.dumps({"@jupyter-widgets/jupyterlab-manager:plugin": {"saveState": True}}), "utf-8")
        os.environ["JUPYTER_CONFIG_PATH"] = folder if before is None else os.pathsep.join((folder, before))
        try:
            yield defaults
        finally:
            if before is None:
                del os.environ["JUPYTER_CONFIG_PATH"]
            else:
                os.environ["JUPYTER_CONFIG_PATH"] = before


def lab_arguments(notebook: Path, no_browser: bool, port: int | None, passed_on: Sequence[str] = ()) -> list[str]:
    """Return the command-line arguments for JupyterLab.

    Parameters
    ----------
    notebook : Path
        The notebook to open. Its folder becomes the root folder of the server.
    no_browser, port, passed_on
        As for :func:`open_lab`.

    Examples
    --------
    >>> lab_arguments(Path("/n/explore.ipynb"), True, 8890)
    ['/n/explore.ipynb', '--ServerApp.root_dir=/n', '--ip=127.0.0.1', '--no-browser', '--port=8890']
    """
    arguments = [str(notebook), f"--ServerApp.root_dir={notebook.parent}", "--ip=127.0.0.1"]
    arguments += ["--no-browser"] if no_browser else []
    arguments += [f"--port={port}"] if port is not None else []
    return [*arguments, *passed_on]


def find_notebook(here: Path | None = None) -> Path:
    """Return the path of the notebook ``explore.ipynb``; write a starter notebook if there is none.

    Parameters
    ----------
    here : Path, optional
        The folder to search. If None, the current folder.

    Returns
    -------
    Path
        The first that exists of ``notebooks/explore.ipynb`` beside the package (in a checkout),
        ``here/notebooks/explore.ipynb`` and ``here/explore.ipynb``. If none exists, the starter notebook, written to
        ``here/explore.ipynb``.

    Raises
    ------
    FileError
        If the starter notebook cannot be written.
    """
    checkout = Path(recompviz.__file__).resolve().parent.parent / "notebooks" / NOTEBOOK
    here = Path.cwd() if here is None else here
    for candidate in (checkout, here / "notebooks" / NOTEBOOK, here / NOTEBOOK):
        if candidate.is_file():
            return candidate
    starter = here / NOTEBOOK
    write_file(starter, json.dumps(starter_notebook(), indent=1))
    print(f"this installation has no notebooks; wrote a starter notebook: {starter}")
    return starter


def starter_notebook() -> dict[str, object]:
    """Return the content of a starter notebook (nbformat 4.5), whose code cell opens the Explorer."""
    cells: list[dict[str, object]] = []
    for i, (kind, source) in enumerate(_STARTER):
        cell: dict[str, object] = {"id": f"start-{i}", "cell_type": kind, "metadata": {}, "source": source}
        cells.append(cell | ({"execution_count": None, "outputs": []} if kind == "code" else {}))
    return {
        "cells": cells,
        "metadata": {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


if __name__ == "__main__":
    sys.exit(main())
