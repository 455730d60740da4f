"""Measure the speed of the Explorer in a real JupyterLab and a real browser.

The first table has two rows for each graph: with all modules collapsed, and with every value shown. For each row, the
mouse drags the budget slider over 300 positions, several times. Columns:

  frames          number of frames in which nodes of the graph changed, over all drags
  page work       time that the page takes to repaint such a frame: median and 95th percentile, ms
  event to frame  time from a slider event to the frame that shows it: median and 95th percentile, ms
  confirmed       time from the last event of a drag to the frame that shows the kernel's simulation of the plan:
                  median and maximum over the drags, ms; the line below splits it into parts
  same plan       whether page and kernel show the same plan at the end
  heap            JavaScript heap of the page after garbage collection, before and after all drags, MiB

The second table has the time from a traced graph to the first picture in the page, with and without Graphviz's ``dot``.

    python -m recompviz.benchmarks.explorer                  # a few minutes; needs recompviz[test] and Chromium
    python -m recompviz.benchmarks.explorer --graphs resnet152 --events 100
    python -m recompviz.benchmarks.explorer soak --minutes 120 --out DIR     # random use; see soak.py
    python -m recompviz.benchmarks.explorer hosts            # JupyterLab, Notebook, Voilà, marimo; see hosts.py
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recompviz.benchmarks.explorer import hosts, probes, soak
from recompviz.benchmarks.explorer.page import Lab, answer, chromium, heap, opened

GRAPHS = ("resnet152", "residual900", "residual3000", "unet3000")

# The last position of a drag, as a share of the way.
LAST = 0.3
# The parts of the time from the last event to the confirmed frame.
PARTS = ("asked", "received", "simulated", "packed", "sent", "replied", "confirmed", "shown")


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, run the benchmark and print the tables."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments and arguments[0] == "soak":
        return soak.run_soak(arguments[1:])
    if arguments and arguments[0] == "hosts":
        return hosts.run_hosts(arguments[1:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--graphs", nargs="*", default=["resnet152", "residual3000"], choices=GRAPHS)
    parser.add_argument("--events", type=int, default=300, help="number of slider positions of a drag")
    parser.add_argument("--drags", type=int, default=5, help="number of drags measured")
    parser.add_argument("--no-first", action="store_true", help="skip the time to the first picture")
    options = parser.parse_args(arguments)
    from playwright.sync_api import sync_playwright

    print(f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = chromium(playwright)
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


def drag(page: Any, events: int) -> dict[str, Any]:
    """Drag the budget slider over ``events`` positions; return the times that the page measured."""
    page.evaluate(probes.WATCH)
    box = page.get_by_label("Budget in total bytes").bounding_box()
    y = box["y"] + box["height"] / 2

    def x(share: float) -> float:
        return float(box["x"] + box["width"] * (0.3 + 0.65 * share))

    page.mouse.move(x(1), y)
    page.mouse.down()
    for i in range(events - 1):
        share = abs((i / events * 3) % 2 - 1)  # three times across
        page.mouse.move(x(share), y)
    page.mouse.move(x(LAST), y)  # a long step: a position that keeps the plan is confirmed already
    page.mouse.up()
    page.wait_for_function("window.rvSeen.shown > 0", timeout=60_000)
    result: dict[str, Any] = page.evaluate(probes.RESULT)
    return result


def dragged(browser: Any, lab: Lab, name: str, events: int, drags: int) -> None:
    """Drag the slider for one graph and print its two rows.

    Parameters
    ----------
    browser : playwright Browser
    lab : Lab
    name : str
        A key of ``stamped.STEPS``.
    events : int
        Number of slider positions in a drag.
    drags : int
        Number of measured drags. One more drag before them is not measured.
    """
    code = "import json, time\nfrom recompviz.benchmarks.explorer import stamped\nstamped.install()\n"
    code += f"explorer = stamped.planned({name!r})\nexplorer"
    ask = "json.dump(stamped.STAMPS, open('stamps.json', 'w'))\n"
    ask += "print('said', time.time(), explorer._reply['row'], len(explorer.graph))"
    page = opened(browser, lab, f"{name}.ipynb", code, ask)
    slider = page.locator(".rv-slider:not(.rv-scrubber)")
    for shown, button in (("modules", "Collapse all modules"), ("every value", "Expand all modules")):
        page.get_by_role("button", name=button).click()
        slider.scroll_into_view_if_needed()
        page.wait_for_timeout(500)
        drag(page, events)  # warm up
        before = heap(page)
        every = []
        for _ in range(drags):
            every.append(drag(page, events))
            page.wait_for_timeout(100)
        after = heap(page)
        row, count = answer(page).split()
        stamps = json.loads((lab.folder / "stamps.json").read_text())
        slider.scroll_into_view_if_needed()
        work = [ms for one in every for ms, changed in one["repaints"] if changed]
        latencies = [ms for one in every for ms in one["latencies"]]
        waits = sorted(one["shown"] - one["last"] for one in every)
        same = "yes" if int(row) == every[-1]["row"] else "NO"
        print(f"{name:>13} {count:>5} {shown:>12} {len(work):>7} {spread(work):>13} {spread(latencies):>16}", end="")
        confirmed = f"{waits[len(waits) // 2]:.0f} ({waits[-1]:.0f})"
        print(f" {confirmed:>13} {same:>10} {before:>6.1f} → {after:>6.1f}")
        print(f"{'':>13} {parts(every, stamps)}", flush=True)
    page.context.close()


def parts(every: list[dict[str, Any]], stamps: dict[str, list[float]]) -> str:
    """Return, as text, the median time of each part of a confirmation, in ms.

    Parameters
    ----------
    every : list of dict
        The times in the page for each drag, from :func:`drag`.
    stamps : dict of str to list of float
        The times in the kernel for each request, from ``stamped.STAMPS``.
    """
    taken: dict[str, list[float]] = {part: [] for part in PARTS}
    for one in every:
        kernel = dict(zip(PARTS[1:5], stamps[str(one["request"])], strict=True))
        at = one["last"]
        for part in PARTS:
            then = kernel.get(part) or one[part]
            taken[part].append(then - at)
            at = then
    return ", ".join(f"{part} {sorted(values)[len(values) // 2]:.0f}" for part, values in taken.items())


def first_picture(browser: Any, lab: Lab, name: str, dot: bool) -> None:
    """Print the time from a traced graph to its first picture, with or without Graphviz's ``dot``."""
    code = "import time\nfrom recompviz.benchmarks.explorer.stamped import STEPS, with_first_plans\n"
    code += f"step = STEPS[{name!r}]()\nwith_first_plans(STEPS['one block']())\n"  # loads the compiled functions
    code += "" if dot else "from recompviz.widgets.layout import layout\nlayout.run_dot = lambda *_: None\n"
    code += "begun, cpu = time.time(), time.process_time()\nexplorer = with_first_plans(step)\n"
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
    """Return the median and, in parentheses, the 95th percentile, as text; a dash for no values."""
    ranked = sorted(values)
    return f"{ranked[len(ranked) // 2]:.1f} ({ranked[int(len(ranked) * 0.95)]:.1f})" if ranked else "—"


if __name__ == "__main__":
    main()
