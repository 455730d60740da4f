"""Use one Explorer at random for a long time, in a real JupyterLab and a real browser.

About every second, the test does one of some forty actions. Examples are drags, keys, pins, solvers, runs, saved and
loaded plans, a reload of the page, a second view, other cells that change the Explorer at the same time, and interrupts
of the kernel. After one to four actions, the test waits until everything that the views show agrees with the kernel, at
most for a time limit. Sometimes it also waits until no solver runs. The page, the console, the kernel and the server
must not have reported an error.

Each minute gives a line. Columns: actions so far; errors so far; JavaScript heap in MiB and DOM nodes of the page after
garbage collection; elements of the Explorer's views that are in the document; event listeners; resident memory of the
kernel in MiB; tensors in the kernel; objects of recompviz in the kernel; runs. A table with all its rows, or a second
view, has more elements. If heap and nodes rise but the elements do not, the page leaks memory.

    python -m recompviz.benchmarks.explorer soak --minutes 120 --out DIR      # needs recompviz[test] and Chromium
    python -m recompviz.benchmarks.explorer soak --minutes 3 --out DIR --seed 5
"""

from __future__ import annotations

import argparse
import json
import random
import time
import traceback
from collections import Counter, deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recompviz.benchmarks.explorer import soak_page
from recompviz.benchmarks.explorer.page import Lab, chromium, counters
from recompviz.benchmarks.explorer.soak_actions import ACTIONS, Soak
from recompviz.benchmarks.explorer.soak_session import NotNow

COLUMNS = ("minute", "actions", "errors", "heap", "nodes", "shown", "listeners", "rss", "tensors", "own", "runs")
# seconds until page and kernel must agree, once nothing is under way
AGREED = 10.0
# a solver or a search may take as long
SOLVED = 180.0


def run_soak(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, run the soak test and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=120)
    parser.add_argument("--out", type=Path, required=True, help="folder for the log and for pictures of errors")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", help="names of the actions to choose from")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    from playwright.sync_api import sync_playwright

    lab_folder = options.out / "lab"
    lab_folder.mkdir(exist_ok=True)
    lab = Lab(lab_folder, expose=True)
    try:
        with sync_playwright() as playwright:
            browser = chromium(playwright)
            test = SoakRun(Soak(browser, lab, random.Random(options.seed)), options.out, options.only)
            test.run(60 * options.minutes)
            test.pictures()
            test.soak.kernel.stop()
            browser.close()
    finally:
        lab.stop()
    print(test.table(), flush=True)
    (options.out / "table.txt").write_text(test.table() + "\n")


class SoakRun:
    """The loop of the soak test.

    Parameters
    ----------
    soak : Soak
        The page, the kernel and the actions.
    out : Path
        Folder for the log, and for a picture of every error.
    only : sequence of str, optional
        Names of the actions to choose from; by default all.
    """

    def __init__(self, soak: Soak, out: Path, only: Sequence[str] | None = None) -> None:
        self.soak, self.out = soak, out
        self.actions = {name: weight for name, weight in ACTIONS.items() if only is None or name in only}
        self.rows: list[dict[str, float]] = []
        self.errors: list[dict[str, Any]] = []
        self.done: Counter[str] = Counter()
        self.not_now: Counter[str] = Counter()
        self.recent: deque[str] = deque(maxlen=20)
        self.log = (out / "log.jsonl").open("w")
        self.checks = 0
        self.wide: set[str] = set()  # what was reported as wider than its view
        self.page_numbers: list[int] = []  # for each row: how often the page was loaded before

    def run(self, seconds: float) -> None:
        """Start the session and act for ``seconds``; print a row of figures every minute."""
        soak, generator = self.soak, self.soak.random
        soak.start()
        self.begun = time.monotonic()
        self.check()
        self.measure()
        print("  ".join(f"{name:>9}" for name in COLUMNS), flush=True)
        self.show(self.rows[-1])
        minute = self.begun
        names, weights = list(self.actions), list(self.actions.values())
        while time.monotonic() < self.begun + seconds:
            begun = time.monotonic()
            # some actions follow each other without waiting
            for _ in range(generator.choice((1, 1, 1, 2, 4))):
                self.act(generator.choices(names, weights)[0])
            self.check()
            if time.monotonic() > minute + 60:
                minute = time.monotonic()
                self.measure()
                self.show(self.rows[-1])
            time.sleep(max(0.0, min(1.0, begun + 1 - time.monotonic())))
        self.measure()
        self.show(self.rows[-1])

    def act(self, name: str) -> None:
        """Do the action with this name: a method of :class:`.soak_actions.Soak`."""
        self.recent.append(name)
        begun = time.monotonic()
        result = ""
        try:
            getattr(self.soak, name)()
            self.done[name] += 1
        except NotNow as reason:
            self.not_now[f"{name}: {reason}"] += 1
            result = f"not now: {reason}"
        except Exception as error:  # a failed action is a result: it is reported, and the run goes on
            if "is not attached to the DOM" in str(error):  # it was drawn anew before it could be used
                self.not_now[f"{name}: drawn anew"] += 1
                return
            self.report("action", {"action": name, "error": str(error)[:600], "where": traceback.format_exc()[-600:]})
            result = "error"
        line = {"at": round(begun - self.begun, 2), "took": round(time.monotonic() - begun, 2), "did": name}
        self.log.write(json.dumps({**line, "detail": self.soak.detail, "result": result}) + "\n")
        self.log.flush()
        self.soak.detail = ""

    def check(self) -> None:
        """Wait, for a limited time, until page and kernel agree. Report what differs, and all errors."""
        soak, self.checks = self.soak, self.checks + 1
        soak.page.mouse.move(3, 3)  # over no view
        end = time.monotonic() + SOLVED
        agreed_by = time.monotonic() + AGREED
        patient = soak.random.random() < 0.4  # otherwise the next actions come while a solver is at work
        kernel: dict[str, Any] = {}
        views: list[dict[str, Any]] = []
        wrong: list[str] = ["never compared"]
        while wrong and time.monotonic() < min(end, agreed_by):
            try:
                kernel = json.loads(soak.kernel.ask("soaked.state(explorer)"))
                if kernel["busy"]:
                    agreed_by = time.monotonic() + AGREED
                views = soak.page.evaluate(soak_page.VIEWS)
                wrong = [] if len(views) == soak.views else [f"{len(views)} views, expected {soak.views}"]
                for number, view in enumerate(views):
                    wrong += [f"view {number}: {each}" for each in differences(kernel, view)]
                if kernel["busy"] and patient:
                    wrong = ["busy"]
            except Exception as error:  # page or kernel cannot answer now, for example while the page is loaded
                wrong = [str(error)[:500]]
            if wrong:
                time.sleep(0.15)
        stray = soak.page.evaluate(soak_page.STRAY)
        new = {view["wide"] for view in views} - self.wide - {""}
        if new:  # a page that was just resized or loaded may not have its layout yet
            time.sleep(0.5)
            for wide in sorted(new & {view["wide"] for view in soak.page.evaluate(soak_page.VIEWS)}):
                self.wide.add(wide)
                self.report("too wide", wide)
        if wrong or stray:
            self.report("stale", {"wrong": wrong, "stray": stray, "kernel": {**kernel, "kept": ""}})
        for kind, problem in soak.problems():
            self.report(kind, problem)
        if wrong:
            soak.recover()

    def report(self, kind: str, about: Any) -> None:
        """Record an error, with the newest actions and a picture.

        ``kind`` says where the error was seen, and ``about`` is the error.
        """
        number = len(self.errors)
        entry = {"number": number, "at": time.monotonic() - self.begun, "kind": kind, "about": about}
        entry["recent"] = list(self.recent)
        self.errors.append(entry)
        with (self.out / "errors.jsonl").open("a") as file:
            file.write(json.dumps(entry) + "\n")
        print(
            f"    error {number} ({kind}) after {', '.join(list(self.recent)[-5:])}: {json.dumps(about)[:700]}",
            flush=True,
        )
        if number < 40:
            from playwright.sync_api import Error

            try:
                self.soak.page.screenshot(path=self.out / f"error{number}.png")
            except Error as error:  # the page may have crashed; the error itself is already recorded
                print(f"    no picture: {error}")

    def measure(self) -> None:
        """Record the figures of page and kernel."""
        soak = self.soak
        page = counters(soak.page)
        kernel = json.loads(soak.kernel.ask("soaked.figures()"))
        row = {
            "minute": (time.monotonic() - self.begun) / 60,
            "actions": sum(self.done.values()),
            "errors": len(self.errors),
            "heap": page["heap"],
            "nodes": page["nodes"],
            "shown": soak.page.evaluate("document.querySelectorAll('.rv-explorer *').length"),
            "listeners": page["listeners"],
            "rss": kernel["rss"],
            "tensors": kernel["tensors"],
            "own": kernel["own"],
            "runs": int(soak.kernel.ask("len(explorer._runs)")),
        }
        self.rows.append(row)
        self.page_numbers.append(soak.loads)
        with (self.out / "minutes.jsonl").open("a") as file:
            file.write(
                json.dumps(
                    {**row, "loads": soak.loads, "connections": soak.connections, "views": soak.views, "kernel": kernel}
                )
                + "\n"
            )

    def show(self, row: dict[str, float]) -> None:
        """Print one row of figures."""
        print(
            "  ".join(
                f"{row[name]:>9.1f}" if name in ("minute", "heap", "rss") else f"{row[name]:>9.0f}" for name in COLUMNS
            ),
            flush=True,
        )

    def table(self) -> str:
        """Return the figures at the start and at the end, their slopes, and the counts of actions and errors."""
        lines = [
            f"{sum(self.done.values())} actions, {self.checks} comparisons, {self.soak.loads} page loads, "
            f"{self.soak.made} Explorers, {self.soak.connections} connections"
        ]
        lines.append(f"{'figure':>10} {'start':>10} {'end':>10} {'slope an hour':>14} {'within a page':>14}")
        hours = [row["minute"] / 60 for row in self.rows]
        for name in ("heap", "nodes", "shown", "listeners", "rss", "tensors", "own"):
            values = [row[name] for row in self.rows]
            whole, within = slope(hours, values), slope(hours, values, self.page_numbers)
            lines.append(f"{name:>10} {values[0]:>10.1f} {values[-1]:>10.1f} {whole:>14.1f} {within:>14.1f}")
        lines.append(f"errors: {len(self.errors)} {dict(Counter(each['kind'] for each in self.errors))}")
        lines.append(f"messages of others, not about the Explorer: {self.soak.noise}")
        lines.append("actions: " + ", ".join(f"{name} {count}" for name, count in self.done.most_common()))
        lines.append("not now: " + ", ".join(f"{name} ({count})" for name, count in self.not_now.most_common()))
        return "\n".join(lines)

    def pictures(self) -> None:
        """Take pictures of the page in two sizes and two themes."""
        for width, height in ((1280, 720), (1440, 900)):
            for theme in ("Light", "Dark"):
                self.soak.picture(self.out / f"end-{width}-{theme.lower()}.png", width, height, theme)


def differences(kernel: dict[str, Any], view: dict[str, Any]) -> list[str]:
    """Return a text for each contradiction between the kernel and a view, or within one of them.

    ``kernel`` is the result of :func:`.soaked.state`, and ``view`` an element of the result of ``soak_page.VIEWS``.
    """
    wrong = [f"kernel: {name} differs" for name in kernel["broken"]]
    for name in ("table", "row", "budget", "kept", "total", "formula", "peak", "keep", "recompute", "runs"):
        if kernel[name] != view[name]:
            wrong.append(name if name == "kept" else f"{name} is {view[name]!r}, in the kernel {kernel[name]!r}")
    recomputed = str(kernel["kept"].count("0"))
    expected = {
        "written": (view["written"] is None or view["written"] == kernel["written"], kernel["written"]),
        "values": (view["values"] == recomputed, recomputed),
        "live": (kernel["written"] in view["live"] and kernel["total"] in view["live"], kernel["written"]),
        "chips": (view["chips"] == len(kernel["keep"]) + len(kernel["recompute"]), "the pins"),
        "confirmed": (view["confirmed"], True),
        "settled": (view["settled"], True),
        "layout": (view["layout"] in (None, kernel["layout"]), kernel["layout"]),
        "running": (view["running"] == (kernel["run"] == "running"), kernel["run"]),
        "note": ("no answer" not in view["note"], "an answer"),
        "wrong": (view["wrong"] == 0, "no box with the state of another plan"),
        "slider": (not view["slider"], "the budget"),
        "card": (view["card"] == view["pointed"], view["pointed"]),
        "marks": (not view["marks"], "one of each"),
        "scrolled": (not view["scrolled"], "nothing scrolled"),
    }
    return wrong + [f"{name} is {view[name]!r}, expected {is_:}" for name, (fits, is_) in expected.items() if not fits]


def slope(hours: Sequence[float], values: Sequence[float], groups: Sequence[int] | None = None) -> float:
    """Return the slope per hour of parallel lines, one fitted to each group; 0 if each group has only equal hours.

    ``groups`` has the number of the group of each value; by default, all values are one group.
    """
    groups = [0] * len(hours) if groups is None else groups
    above = below = 0.0
    for group in set(groups):
        members = [i for i, other in enumerate(groups) if other == group]
        hour = sum(hours[i] for i in members) / len(members)
        value = sum(values[i] for i in members) / len(members)
        above += sum((hours[i] - hour) * (values[i] - value) for i in members)
        below += sum((hours[i] - hour) ** 2 for i in members)
    return above / below if below else 0.0
