"""A local JupyterLab, and browser pages that open its notebooks and can connect to nothing else."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

from recompviz.benchmarks.explorer import probes

# One asks whether to fetch news; the other keeps the toolbar of every cell that was active, with its listeners.
WITHOUT = ("@jupyterlab/apputils-extension:announcements", "@jupyterlab/cell-toolbar-extension")


class Lab:
    """A JupyterLab that runs on this machine only.

    Parameters
    ----------
    folder : Path
        Root folder of the server. Notebooks, configuration, data and ``server.log`` are written here.
    expose : bool
        Whether scripts in the page can reach the application as ``window.jupyterapp``.

    Raises
    ------
    RuntimeError
        If the server ends, or does not start within 5 minutes.
    """

    def __init__(self, folder: Path, expose: bool = False) -> None:
        self.folder = folder
        self.token = secrets.token_hex(16)
        self.port = free_port()
        options = ["--no-browser", "--ip=127.0.0.1", f"--port={self.port}", f"--IdentityProvider.token={self.token}"]
        options += [f"--ServerApp.root_dir={folder}", "--LabApp.news_url=None", "--ServerApp.allow_root=True"]
        options += [f"--LabApp.workspaces_dir={folder / 'workspaces'}"]
        options += ["--LabApp.expose_app_in_browser=True"] if expose else []
        settings = folder / "jupyter_config_dir" / "labconfig" / "page_config.json"
        settings.parent.mkdir(parents=True, exist_ok=True)
        settings.write_text(json.dumps({"disabledExtensions": dict.fromkeys(WITHOUT, True)}))
        self.log = (folder / "server.log").open("w")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *options],
            env={**environment_in(folder), "JUPYTER_RUNTIME_DIR": str(folder / "runtime")},
            stdout=self.log,
            stderr=self.log,
        )
        latest = time.monotonic() + 300
        while time.monotonic() < latest and self.process.poll() is None:
            try:
                urllib.request.urlopen(self.address("api"), timeout=2).close()
                return
            except OSError:
                time.sleep(0.3)
        self.stop()
        raise RuntimeError("JupyterLab did not start; is recompviz[lab] installed?")

    def address(self, path: str) -> str:
        """Return the address of a page of the server, with the token."""
        return f"http://127.0.0.1:{self.port}/{path}?token={self.token}&reset="

    def notebook(self, name: str, *cells: str) -> None:
        """Write a notebook of code cells into the folder."""
        write_notebook(self.folder / name, *cells)

    def stop(self) -> None:
        """End the server and its kernels."""
        end(self.process)
        self.log.close()


def free_port() -> int:
    """Return the number of a free port of this machine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def environment_in(folder: Path) -> dict[str, str]:
    """Return environment variables for a server that keeps Jupyter's files in ``folder`` and uses this recompviz."""
    names = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR")
    paths = os.pathsep.join([str(Path(__file__).parents[3]), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, **{name: str(folder / name.lower()) for name in names}, "PYTHONPATH": paths}


def end(process: subprocess.Popen[bytes]) -> None:
    """Terminate a server, by force after 20 seconds."""
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()


def write_notebook(path: Path, *cells: str) -> None:
    """Write a notebook of code cells to a file."""
    made: list[dict[str, Any]] = [
        {"id": f"c{i}", "cell_type": "code", "metadata": {}, "source": x, "execution_count": None, "outputs": []}
        for i, x in enumerate(cells)
    ]
    spec = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    path.write_text(json.dumps({"cells": made, "metadata": spec, "nbformat": 4, "nbformat_minor": 5}))


def chromium(playwright: Any) -> Any:
    """Start Chromium or Chrome without a window; return the ``Browser`` of Playwright."""
    found = (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name)))
    return playwright.chromium.launch(executable_path=next(found, None), args=["--no-sandbox"])


def context_of(browser: Any, lab: Lab, **options: Any) -> Any:
    """Return a browser context that reaches only the lab's server; ``options`` are those of ``new_context``."""
    context = browser.new_context(viewport={"width": 1280, "height": 1000}, **options)
    mine = f"//127.0.0.1:{lab.port}/"
    context.route("**/*", lambda route: route.continue_() if mine in route.request.url else route.abort())
    return context


def opened(browser: Any, lab: Lab, name: str, *cells: str) -> Any:
    """Return a page with a new notebook of code cells, whose first cell has run."""
    lab.notebook(name, *cells)
    context = context_of(browser, lab)
    context.set_default_timeout(240_000)
    context.add_init_script(probes.WIRE)
    page = context.new_page()
    page.goto(lab.address(f"doc/tree/{name}"))
    page.wait_for_selector(".jp-Notebook")
    page.get_by_text("| Idle").wait_for()
    page.locator(".jp-Notebook-cell .cm-content").first.click()
    page.keyboard.press("Shift+Enter")
    return page


def answer(page: Any) -> str:
    """Run the last cell of the notebook, and return the text that it prints after the word ``said`` and a time."""
    output = page.locator(".jp-Notebook-cell .jp-OutputArea-output pre", has_text="said ").last
    before = output.inner_text() if output.count() else ""
    page.locator(".jp-Notebook-cell .cm-content").last.click()
    page.keyboard.press("Control+Enter")  # leaves no new cell below
    while not output.count() or output.inner_text() == before:
        page.wait_for_timeout(20)
    return str(output.inner_text().split(maxsplit=2)[2].strip())


def heap(page: Any) -> float:
    """Return the size of the page's JavaScript heap after garbage collection, in MiB."""
    return counters(page)["heap"]


def counters(page: Any) -> dict[str, float]:
    """Return the JavaScript heap in MiB, and the numbers of DOM nodes and event listeners, after garbage collection.

    The keys are ``"heap"``, ``"nodes"`` and ``"listeners"``.
    """
    session = page.context.new_cdp_session(page)
    for _ in range(3):
        session.send("HeapProfiler.collectGarbage")
    used = session.send("Runtime.getHeapUsage")["usedSize"]
    found = session.send("Memory.getDOMCounters")
    session.detach()
    return {"heap": used / 2**20, "nodes": found["nodes"], "listeners": found["jsEventListeners"]}
