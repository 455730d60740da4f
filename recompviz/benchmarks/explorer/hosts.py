"""Use the Explorer in each program that can show it: JupyterLab, Notebook, Voilà and marimo.

Each program that is installed is started on this machine, and a headless Chromium opens a small model in it. The
browser moves the budget with the keyboard, runs the plan and reads the result. The page cannot connect to anything but
this program.

Columns:

  shown       seconds until the Explorer's final numbers are shown; the start of the kernel counts
  height      height of the Explorer, and of the part of it that the program shows without a scroll bar of its own, px
  errors      number of JavaScript errors of the page; their texts follow below the row. Notebook 7.6 has one error even
              in a page without a widget
  run         what the Explorer says of the run: predicted and measured peak

    pip install voila marimo                               # recompviz does not depend on them
    python -m recompviz.benchmarks.explorer hosts          # about a minute for each
    python -m recompviz.benchmarks.explorer hosts marimo --pictures DIR
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from recompviz.benchmarks.explorer.page import chromium, end, environment_in, free_port, write_notebook

CODE = """import torch
import recompviz as rv
torch.manual_seed(0)
model = torch.nn.Sequential(*(layer for _ in range(6) for layer in (torch.nn.Linear(64, 64), torch.nn.Tanh())))
explorer = rv.explore(model, torch.randn(512, 64), loss=lambda out: out.square().mean())
"""
# The height of the Explorer, and the part of it that no ancestor hides behind its own scroll bar.
HEIGHTS = """() => {
  const view = document.querySelector(".rv-explorer") || deep(document);
  function deep(root) {
    for (const one of root.querySelectorAll("*"))
      if (one.shadowRoot) {
        const found = one.shadowRoot.querySelector(".rv-explorer") || deep(one.shadowRoot);
        if (found) return found;
      }
    return null;
  }
  let shown = view.offsetHeight;
  let up = view.parentNode;
  while (up) {
    if (up instanceof ShadowRoot) up = up.host;
    if (up instanceof Element && up.tagName !== "HTML" && up.tagName !== "BODY") {
      const scrolls = ["auto", "scroll", "hidden"].includes(getComputedStyle(up).overflowY);
      if (scrolls && up.scrollHeight > up.clientHeight + 1 && up.clientHeight < window.innerHeight * 0.6)
        shown = Math.min(shown, up.clientHeight);
    }
    up = up.parentNode;
  }
  return [view.offsetHeight, shown];
}"""


class Host(NamedTuple):
    """A program that shows notebooks.

    Attributes
    ----------
    package : str
        The name of the program's Python package.
    write : callable (folder) → path
        Writes the notebook, and returns the path of its page.
    command : callable (folder, port) → list of str
        The arguments after ``python -m`` that start the program.
    execute : callable (page)
        Runs the notebook, unless the program does so when the page is opened.
    """

    package: str
    write: Callable[[Path], str]
    command: Callable[[Path, int], list[str]]
    execute: Callable[[Any], None]


def run_hosts(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, use the Explorer in each notebook program, and print a table with a row for each."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(prog="python -m recompviz.benchmarks.explorer hosts", description=__doc__)
    parser.add_argument("hosts", nargs="*", default=list(HOSTS), help=f"some of {', '.join(HOSTS)}")
    parser.add_argument("--pictures", type=Path, help="write a picture of each page into this folder")
    options = parser.parse_args(arguments)
    if unknown := sorted(set(options.hosts) - set(HOSTS)):
        parser.error(f"unknown program {unknown[0]!r}; expected some of {', '.join(HOSTS)}")
    print(f"{'program':>12} {'version':>8} {'shown':>6} {'height':>12} {'errors':>6}  run")
    with sync_playwright() as playwright:
        browser = chromium(playwright)
        for name in options.hosts:
            if importlib.util.find_spec(HOSTS[name].package) is None:
                print(f"{name:>12} not installed: pip install {HOSTS[name].package}")
                continue
            with tempfile.TemporaryDirectory() as folder:
                print(_row(name, used(browser, HOSTS[name], Path(folder), options.pictures)), flush=True)
        browser.close()


class Used(NamedTuple):
    """What was seen in one program: the columns of the printed table, and the texts of the errors."""

    shown: float
    height: tuple[int, int]
    run: str
    errors: list[str]


def used(browser: Any, host: Host, folder: Path, pictures: Path | None = None) -> Used:
    """Start a program, use the Explorer in it, and end the program.

    ``folder`` gets the notebook and the log of the program, and ``pictures`` a picture of the page if it is not None.
    """
    port = free_port()
    path = host.write(folder)
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *host.command(folder, port)],
            env=environment_in(folder),
            cwd=folder,
            stdout=log,
            stderr=log,
        )
        try:
            _wait(port, process, folder)
            return _used(browser, host, f"http://127.0.0.1:{port}/{path}", pictures)
        finally:
            end(process)


def _used(browser: Any, host: Host, address: str, pictures: Path | None) -> Used:
    context = browser.new_context(viewport={"width": 1280, "height": 720})
    mine = address.split("/")[2]
    context.route("**/*", lambda route: route.continue_() if f"//{mine}/" in route.request.url else route.abort())
    context.set_default_timeout(240_000)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    begin = time.monotonic()
    page.goto(address)
    host.execute(page)
    view = page.locator(".rv-explorer")
    view.get_by_role("button", name="Run on CPU").wait_for()
    view.get_by_text("searching").wait_for(state="hidden")
    shown = time.monotonic() - begin
    view.get_by_label("Budget in total bytes").focus()
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
    view.get_by_role("button", name="Run on CPU").click()
    result = view.get_by_text(re.compile("predicted .* measured .* off"))
    result.first.wait_for()
    run = result.first.inner_text()
    high, visible = page.evaluate(HEIGHTS)
    if pictures is not None:
        pictures.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=str(pictures / f"{host.package}.png"))
    context.close()
    return Used(shown, (high, visible), run, errors)


def _row(name: str, seen: Used) -> str:
    version = importlib.metadata.version(HOSTS[name].package)
    height = f"{seen.height[0]} ({seen.height[1]})"
    return f"{name:>12} {version:>8} {seen.shown:>5.1f}s {height:>12} {len(seen.errors):>6}  {seen.run}" + "".join(
        f"\n{'':>13}{error}" for error in seen.errors
    )


def _wait(port: int, process: subprocess.Popen[bytes], folder: Path) -> None:
    """Wait until a server listens.

    Raises
    ------
    RuntimeError
        If the server ends, or does not listen within 5 minutes.
    """
    latest = time.monotonic() + 300
    while time.monotonic() < latest and process.poll() is None:
        try:  # a page of Voilà would start a kernel
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
            return
        except OSError:
            time.sleep(0.3)
    raise RuntimeError(f"the server did not start: {(folder / 'server.log').read_text()[-2000:]}")


def _notebook(folder: Path, path: str) -> str:
    write_notebook(folder / "hosts.ipynb", CODE, "explorer")
    return path


def _app(folder: Path) -> str:
    code = "".join(f"    {line}\n" for line in CODE.splitlines())
    cells = (
        f"@app.cell\ndef _():\n{code}    return (explorer,)\n\n@app.cell\ndef _(explorer):\n    explorer\n    return\n"
    )
    (folder / "hosts.py").write_text(f"import marimo\n\napp = marimo.App()\n\n{cells}")
    return ""


def _run_all(page: Any) -> None:
    page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").wait_for()
    page.locator(".jp-Notebook-cell .cm-content").first.wait_for()
    page.locator(".jp-Notebook-cell .cm-content").first.click()
    for _ in range(2):
        page.keyboard.press("Shift+Enter")


def _jupyter(module: str) -> Callable[[Path, int], list[str]]:
    def command(folder: Path, port: int) -> list[str]:
        return [
            module, "--no-browser", "--ip=127.0.0.1", f"--port={port}", "--IdentityProvider.token=",
            f"--ServerApp.root_dir={folder}", "--ServerApp.allow_root=True", "--LabApp.news_url=None",
        ]  # fmt: skip

    return command


def _voila(_folder: Path, port: int) -> list[str]:
    return ["voila", "hosts.ipynb", "--no-browser", f"--port={port}", "--Voila.ip=127.0.0.1"]


def _marimo(_folder: Path, port: int) -> list[str]:
    return ["marimo", "run", "hosts.py", "--headless", f"--port={port}", "--host=127.0.0.1"]


def _runs_by_itself(_page: Any) -> None:
    """Voilà and marimo run a notebook when it is opened."""


HOSTS = {
    "JupyterLab": Host(
        "jupyterlab", lambda folder: _notebook(folder, "doc/tree/hosts.ipynb"), _jupyter("jupyterlab"), _run_all
    ),
    "Notebook": Host(
        "notebook", lambda folder: _notebook(folder, "notebooks/hosts.ipynb"), _jupyter("notebook"), _run_all
    ),
    "Voilà": Host("voila", lambda folder: _notebook(folder, ""), _voila, _runs_by_itself),
    "marimo": Host("marimo", _app, _marimo, _runs_by_itself),
}
