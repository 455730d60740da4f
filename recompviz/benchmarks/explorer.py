"""How fast the Explorer is, in a real JupyterLab and browser that reach nothing but this machine.

For each graph, with its modules collapsed and with every value shown: the slider is dragged with the mouse over 300
positions. Told are the frames in which nodes changed, the page's own work on such a frame, the time from an event to
the frame that shows it, the time from letting go to the kernel's confirmation, whether page and kernel end
with the same plan, and the page's heap after forced collections, before and after three such drags. Then the time
from a traced graph to its first picture, for two shapes, with and without ``dot``.

    python -m recompviz.benchmarks.explorer                  # minutes; needs recompviz[test] and a Chromium
    python -m recompviz.benchmarks.explorer --graphs resnet152 --events 100
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

GRAPHS = {
    "resnet152": "residual_step((3, 8, 36, 3))",
    "residual3000": "residual_step((30, 80, 100, 90))",
    "unet3000": "u_step(3000)",
}

# what the notebooks import: steps without torch, for the widget layer is what is measured
MODULE = """
import time
from recompviz.core.examples import residual_step
from recompviz.core.examples import u_step
from recompviz.core.liveness import profiler
from recompviz.core.plan_table import PlanTable
from recompviz.core.schedule import make_schedule
from recompviz.core.simulation import simulate_schedule
from recompviz.core.solver import solve
from recompviz.widgets import dot
from recompviz.widgets.explorer import Explorer
from recompviz.widgets.first_plans import first_plans

def shown(graph, joint, table):
    return Explorer(graph, table, lambda plan: simulate_schedule(make_schedule(joint, plan.kept.tolist())), title="s")

def planned(step):
    graph, joint = step
    return shown(*step, PlanTable.of(graph, "time", solve(graph).plans("time", 200), profiler(graph, joint)))

def first(step):
    return shown(*step, first_plans(step[0], profiler(*step)))
"""

WATCH = """() => {
  const root = document.querySelector(".rv-explorer");
  const slider = root.querySelector(".rv-slider:not(.rv-scrubber)");
  const seen = (window.rvSeen = { latencies: [], last: 0, confirmed: 0 });
  root.recompviz.repaints.length = 0;
  if (window.rvWatched) return;
  window.rvWatched = true;
  slider.addEventListener("input", () => {
    const begun = performance.now();
    requestAnimationFrame(() => {
      const done = new MessageChannel(); // a task after the frame was drawn
      done.port1.onmessage = () => window.rvSeen.latencies.push(performance.now() - begun);
      done.port2.postMessage(0);
    });
  }, { capture: true });
  slider.addEventListener("change", () => {
    const begun = performance.now();
    const look = () => {
      if (root.recompviz.state.confirmed) window.rvSeen.confirmed = performance.now() - begun;
      else setTimeout(look, 2);
    };
    setTimeout(look, 0);
  });
}"""
TOLD = """() => {
  const { repaints, state } = document.querySelector(".rv-explorer").recompviz;
  return { repaints, row: state.row, latencies: window.rvSeen.latencies, confirmed: window.rvSeen.confirmed };
}"""


class Lab:
    """A JupyterLab on loopback, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.token = secrets.token_hex(16)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        places = {name: str(folder / name.lower()) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR")}
        paths = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
        options = ["--no-browser", "--ip=127.0.0.1", f"--port={self.port}", f"--IdentityProvider.token={self.token}"]
        options += [f"--ServerApp.root_dir={folder}", "--LabApp.news_url=None", "--ServerApp.allow_root=True"]
        options += [f"--LabApp.workspaces_dir={folder / 'workspaces'}"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *options],
            env={**os.environ, **places, "PYTHONPATH": paths},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(300):
            try:
                urllib.request.urlopen(self.address("api"), timeout=2).close()
                return
            except OSError:
                time.sleep(0.3)
        self.stop()
        raise RuntimeError("JupyterLab did not start; is recompviz[lab] installed?")

    def address(self, path: str) -> str:
        """A page of the server, with the token."""
        return f"http://127.0.0.1:{self.port}/{path}?token={self.token}&reset="

    def notebook(self, name: str, *cells: str) -> None:
        """Write a notebook of code cells."""
        made: list[dict[str, Any]] = [
            {"id": f"c{i}", "cell_type": "code", "metadata": {}, "source": x, "execution_count": None, "outputs": []}
            for i, x in enumerate(cells)
        ]
        spec = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
        content = {"cells": made, "metadata": spec, "nbformat": 4, "nbformat_minor": 5}
        (self.folder / name).write_text(json.dumps(content))

    def stop(self) -> None:
        """End the server and its kernels."""
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()


def main() -> None:
    """Parse the command line, run, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--graphs", nargs="*", default=["resnet152", "residual3000"], choices=list(GRAPHS))
    parser.add_argument("--events", type=int, default=300)
    parser.add_argument("--no-first", action="store_true", help="leave out the time to the first picture")
    options = parser.parse_args()
    from playwright.sync_api import sync_playwright

    found = (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name)))
    print(f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=next(found, None), args=["--no-sandbox"])
        (Path(folder) / "steps.py").write_text(MODULE)
        lab = Lab(Path(folder))
        try:
            print(f"\n{options.events} drag events; times in ms: median (p95)")
            print(
                f"{'graph':>13} {'#V':>5} {'shown':>12} {'frames':>7} {'page work':>13} {'event to frame':>16}", end=""
            )
            print(f" {'confirmed':>10} {'same plan':>10} {'heap MiB':>15}")
            for name in options.graphs:
                dragged(browser, lab, name, options.events)
            if not options.no_first:
                print(f"\n{'graph':>13} {'dot':>5} {'first picture':>14} {'kernel processor time':>24}")
                for name in ("residual3000", "unet3000"):
                    for dot in (True, False):
                        first_picture(browser, lab, name, dot)
        finally:
            lab.stop()
            browser.close()


def opened(browser: Any, lab: Lab, name: str, *cells: str) -> Any:
    """A notebook in the browser, its first cell run, its second one selected."""
    lab.notebook(name, *cells)
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    mine = f"//127.0.0.1:{lab.port}/"
    context.route("**/*", lambda route: route.continue_() if mine in route.request.url else route.abort())
    context.set_default_timeout(240_000)
    page = context.new_page()
    page.goto(lab.address(f"doc/tree/{name}"))
    page.wait_for_selector(".jp-Notebook")
    page.get_by_text("| Idle").wait_for()
    page.locator(".jp-Notebook-cell .cm-content").first.click()
    page.keyboard.press("Shift+Enter")
    return page


def answer(page: Any) -> str:
    """What the cell that is selected now prints."""
    page.locator(".jp-Notebook-cell .cm-content").last.click()
    page.keyboard.press("Shift+Enter")
    output = page.locator(".jp-Notebook-cell .jp-OutputArea-output pre", has_text="said ").last
    output.wait_for()
    return str(output.inner_text().removeprefix("said ").strip())


def heap(page: Any) -> float:
    """MiB of the page's heap after a forced collection."""
    session = page.context.new_cdp_session(page)
    for _ in range(2):
        session.send("HeapProfiler.collectGarbage")
    used = session.send("Runtime.getHeapUsage")["usedSize"]
    session.detach()
    return float(used) / 2**20


def drag(page: Any, events: int) -> dict[str, Any]:
    """Drag the slider to and fro; what the page says of it."""
    page.evaluate(WATCH)
    box = page.get_by_label("Budget in total bytes").bounding_box()
    y = box["y"] + box["height"] / 2

    def x(share: float) -> float:
        return float(box["x"] + box["width"] * (0.3 + 0.65 * share))

    page.mouse.move(x(1), y)
    page.mouse.down()
    for i in range(events):
        share = abs((i / events * 3) % 2 - 1)  # three times across
        page.mouse.move(x(share), y)
    page.mouse.up()
    page.wait_for_function("window.rvSeen.confirmed > 0")
    told: dict[str, Any] = page.evaluate(TOLD)
    return told


def dragged(browser: Any, lab: Lab, name: str, events: int) -> None:
    """Print the rows of one graph."""
    code = f"import steps\nfrom steps import *\nexplorer = planned({GRAPHS[name]})\nexplorer"
    page = opened(browser, lab, f"{name}.ipynb", code, "print('said', explorer._choice[1], len(explorer.graph))")
    page.locator(".rv-slider:not(.rv-scrubber)").wait_for()
    page.locator(".rv-slider:not(.rv-scrubber)").scroll_into_view_if_needed()
    for shown, button in (("modules", "Collapse all modules"), ("every value", "Expand all modules")):
        page.get_by_role("button", name=button).click()
        page.locator(".rv-slider:not(.rv-scrubber)").scroll_into_view_if_needed()
        page.wait_for_timeout(500)
        drag(page, events)  # warm
        before = heap(page)
        for _ in range(3):
            told = drag(page, events)
        after = heap(page)
        page.wait_for_timeout(300)
        row, count = answer(page).split()
        page.locator(".rv-slider:not(.rv-scrubber)").scroll_into_view_if_needed()
        work = [ms for ms, changed in told["repaints"] if changed]
        same = "yes" if int(row) == told["row"] else "NO"
        print(
            f"{name:>13} {count:>5} {shown:>12} {len(work):>7} {spread(work):>13} {spread(told['latencies']):>16}",
            end="",
        )
        print(f" {told['confirmed']:>10.0f} {same:>10} {before:>6.1f} → {after:>6.1f}", flush=True)
    page.context.close()


def first_picture(browser: Any, lab: Lab, name: str, dot: bool) -> None:
    """Print the seconds from a traced graph to its first picture."""
    code = f"import steps\nfrom steps import *\nstep = {GRAPHS[name]}\nfirst(residual_step((1,)))\n"  # compiled before
    code += "" if dot else "dot.find_dot = lambda: None\n"
    code += "begun, cpu = time.time(), time.process_time()\nexplorer = first(step)\n"
    code += "cpu = time.process_time() - cpu\nexplorer"
    page = opened(browser, lab, f"first-{name}-{dot}.ipynb", code, "print('said', begun, cpu)")
    page.wait_for_function(
        "(() => { const r = document.querySelector('.rv-explorer'); return r?.recompviz?.repaints.length && "
        "(window.rvFirst ??= Date.now()); })()"
    )
    begun, cpu = map(float, answer(page).split())
    seconds = page.evaluate("window.rvFirst") / 1000 - begun
    print(f"{name:>13} {'yes' if dot else 'no':>5} {seconds:>12.2f} s {cpu:>22.2f} s", flush=True)
    page.context.close()


def spread(values: list[float]) -> str:
    """Median and 95th percentile."""
    ranked = sorted(values)
    return f"{ranked[len(ranked) // 2]:.1f} ({ranked[int(len(ranked) * 0.95)]:.1f})" if ranked else "—"


if __name__ == "__main__":
    main()
