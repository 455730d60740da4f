"""How fast the Explorer is, in a real JupyterLab and browser that reach nothing but this machine.

For each graph, with its modules collapsed and with every value shown: the slider is dragged with the mouse over 300
positions. Told are the frames in which nodes changed, the page's own work on such a frame, the time from an event to
the frame that shows it, the time from the last event to the frame with the memory that the kernel has simulated for
that plan (median and worst of several drags), whether page and kernel end with the same plan, and the page's heap after
forced collections, before and after these drags; below that, where the time to the confirmation goes. Then the
time from a traced graph to its first picture, for two shapes, with and without ``dot``.

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
from recompviz.core.steps.examples import residual_step
from recompviz.core.steps.examples import u_step
from recompviz.core.live.model import profile_function
from recompviz.core.plans.plan_table import PlanTable
from recompviz.core.steps.schedule import make_schedule
from recompviz.core.steps.simulation import simulate_schedule
from recompviz.core.exact.solver import solve
from recompviz.widgets.layout import layout
from recompviz.widgets.explorer import wire
from recompviz.widgets.explorer.explorer import Explorer
from recompviz.core.planning.first_plans import first_plans

STAMPS = {}  # request: when it was received, simulated, packed, sent; milliseconds
now = []

def stamped(function):
    def call(*arguments):
        found = function(*arguments)
        now.append(1000 * time.time())
        return found
    return call

wire.timeline_message = stamped(wire.timeline_message)

class Stamped(Explorer):
    def _handle_msg(self, message):
        now[:] = [1000 * time.time()]
        super()._handle_msg(message)

    def _send(self, message, buffers=None):
        super()._send(message, buffers)
        if "_reply" in message.get("state", {}):
            STAMPS[message["state"]["_reply"]["request"]] = [*now, 1000 * time.time()]

def shown(graph, joint, table):
    simulate = lambda plan: simulate_schedule(make_schedule(joint, plan.keep_mask.tolist()))
    return Stamped(graph, table, stamped(simulate), title="s")

def planned(step):
    graph, joint = step
    return shown(*step, PlanTable.of(graph, "time", solve(graph).plans("time", 200), profile_function(graph, joint)))

def first(step):
    return shown(*step, first_plans(step[0], profile_function(*step)))
"""

# when the page last asked over the wire, and when a reply last came: by the page's own clock, which is the kernel's too
WIRE = """(() => {
  const wire = (window.rvWire = { asked: 0, replied: 0 });
  const note = (data, trait, field) => {
    const bytes = typeof data === "string" ? null : new Uint8Array(data.buffer ?? data).subarray(0, 4096);
    const text = bytes ? new TextDecoder("latin1").decode(bytes) : data;
    if (text.includes(trait)) wire[field] = performance.timeOrigin + performance.now();
  };
  window.WebSocket = class extends WebSocket {
    constructor(...options) {
      super(...options);
      this.addEventListener("message", ({ data }) => note(data, '"_reply"', "replied"));
    }
    send(data) {
      note(data, '"_asked"', "asked");
      super.send(data);
    }
  };
})()"""
WATCH = """() => {
  const root = document.querySelector(".rv-explorer");
  const slider = root.querySelector(".rv-slider:not(.rv-scrubber)");
  const { state, repaints } = root.recompviz;
  const now = () => performance.timeOrigin + performance.now();
  window.rvSeen = { latencies: [], last: 0, confirmed: 0, shown: 0 };
  repaints.length = 0;
  if (window.rvWatched) return;
  window.rvWatched = true;
  const afterFrame = (then) =>
    requestAnimationFrame(() => {
      const done = new MessageChannel(); // a task after the frame was drawn
      done.port1.onmessage = then;
      done.port2.postMessage(0);
    });
  slider.addEventListener("input", () => {
    const begun = now();
    Object.assign(window.rvSeen, { last: begun, shown: 0 });
    afterFrame(() => window.rvSeen.latencies.push(now() - begun));
  }, { capture: true });
  let confirmed = state.confirmed;
  Object.defineProperty(state, "confirmed", {
    get: () => confirmed,
    set: (value) => {
      confirmed = value;
      if (!value) return;
      window.rvSeen.confirmed = now();
      const { last } = window.rvSeen;
      afterFrame(() => last === window.rvSeen.last && confirmed && (window.rvSeen.shown = now()));
    },
  });
}"""
TOLD = """() => {
  const { repaints, state } = document.querySelector(".rv-explorer").recompviz;
  return { repaints, row: state.row, request: state.request, ...window.rvSeen, ...window.rvWire };
}"""
# where the time from the last event to the confirmed frame goes
PARTS = ("asked", "received", "simulated", "packed", "sent", "replied", "confirmed", "shown")


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
    parser.add_argument("--drags", type=int, default=5, help="so many are measured")
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
            print(f" {'confirmed':>13} {'same plan':>10} {'heap MiB':>15}")
            for name in options.graphs:
                dragged(browser, lab, name, options.events, options.drags)
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
    context.add_init_script(WIRE)
    page = context.new_page()
    page.goto(lab.address(f"doc/tree/{name}"))
    page.wait_for_selector(".jp-Notebook")
    page.get_by_text("| Idle").wait_for()
    page.locator(".jp-Notebook-cell .cm-content").first.click()
    page.keyboard.press("Shift+Enter")
    return page


def answer(page: Any) -> str:
    """What the second cell prints, run again, after ``said`` and the time."""
    output = page.locator(".jp-Notebook-cell .jp-OutputArea-output pre", has_text="said ").last
    before = output.inner_text() if output.count() else ""
    page.locator(".jp-Notebook-cell .cm-content").last.click()
    page.keyboard.press("Control+Enter")  # leaves no new cell below
    while not output.count() or output.inner_text() == before:
        page.wait_for_timeout(20)
    return str(output.inner_text().split(maxsplit=2)[2].strip())


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
    page.wait_for_function("window.rvSeen.shown > 0")
    told: dict[str, Any] = page.evaluate(TOLD)
    return told


def dragged(browser: Any, lab: Lab, name: str, events: int, drags: int) -> None:
    """Print the rows of one graph."""
    code = f"import json, steps\nfrom steps import *\nexplorer = planned({GRAPHS[name]})\nexplorer"
    ask = "json.dump(STAMPS, open('stamps.json', 'w'))\n"
    ask += "print('said', time.time(), explorer._choice[1], len(explorer.graph))"
    page = opened(browser, lab, f"{name}.ipynb", code, ask)
    slider = page.locator(".rv-slider:not(.rv-scrubber)")
    for shown, button in (("modules", "Collapse all modules"), ("every value", "Expand all modules")):
        page.get_by_role("button", name=button).click()
        slider.scroll_into_view_if_needed()
        page.wait_for_timeout(500)
        drag(page, events)  # warm
        before = heap(page)
        every = []
        for _ in range(drags):
            every.append(drag(page, events))
            page.wait_for_timeout(100)
        after = heap(page)
        row, count = answer(page).split()
        stamps = json.loads((lab.folder / "stamps.json").read_text())
        slider.scroll_into_view_if_needed()
        work = [ms for told in every for ms, changed in told["repaints"] if changed]
        latencies = [ms for told in every for ms in told["latencies"]]
        waits = sorted(told["shown"] - told["last"] for told in every)
        same = "yes" if int(row) == every[-1]["row"] else "NO"
        print(f"{name:>13} {count:>5} {shown:>12} {len(work):>7} {spread(work):>13} {spread(latencies):>16}", end="")
        confirmed = f"{waits[len(waits) // 2]:.0f} ({waits[-1]:.0f})"
        print(f" {confirmed:>13} {same:>10} {before:>6.1f} → {after:>6.1f}")
        print(f"{'':>13} {parts(every, stamps)}", flush=True)
    page.context.close()


def parts(every: list[dict[str, Any]], stamps: dict[str, list[float]]) -> str:
    """The medians of what each part of a confirmation takes."""
    taken: dict[str, list[float]] = {part: [] for part in PARTS}
    for told in every:
        kernel = dict(zip(PARTS[1:5], stamps[str(told["request"])], strict=True))
        at = told["last"]
        for part in PARTS:
            then = kernel.get(part) or told[part]
            taken[part].append(then - at)
            at = then
    return ", ".join(f"{part} {sorted(values)[len(values) // 2]:.0f}" for part, values in taken.items())


def first_picture(browser: Any, lab: Lab, name: str, dot: bool) -> None:
    """Print the seconds from a traced graph to its first picture."""
    code = f"import steps\nfrom steps import *\nstep = {GRAPHS[name]}\nfirst(residual_step((1,)))\n"  # compiled before
    code += "" if dot else "layout.run_dot = lambda *_: None\n"
    code += "begun, cpu = time.time(), time.process_time()\nexplorer = first(step)\n"
    code += "cpu = time.process_time() - cpu\nexplorer"
    page = opened(browser, lab, f"first-{name}-{dot}.ipynb", code, "print('said', time.time(), begun, cpu)")
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
