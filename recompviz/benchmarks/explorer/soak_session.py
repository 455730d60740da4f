"""The session of the soak test: the page with the Explorer, the kernel, and what both report.

It opens the notebook, finds elements of the page, and collects the errors of page, kernel and server. The module
``soak_actions`` has the actions.
"""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

from recompviz.benchmarks.explorer.page import Lab, context_of
from recompviz.benchmarks.explorer.soak_kernel import Kernel

FIRST = "from recompviz.benchmarks.explorer import soaked\n"
FIRST += "if 'explorer' not in globals():\n    explorer = soaked.made()\nexplorer"
NOTEBOOK = "soak.ipynb"
# in lines of the server's log: PyTorch's profiler in two threads; ipykernel, interrupted between two cells
NOISE = ("External init callback", "KeyboardInterrupt caught in kernel")
# name and middle of each box of a kind in the visible part of the graph: values, modules, headings of open modules
BOXES = """(view, kind) => {
  const frame = view.querySelector(".rv-graph").getBoundingClientRect();
  const low = Math.max(frame.top, 0);
  const high = Math.min(frame.bottom, innerHeight);
  const boxes = { v: ".rv-nodes > g[data-v]", m: ".rv-nodes > g[data-m]", c: ".rv-world [aria-label^='Collapse ']" };
  const selector = boxes[kind];
  return [...view.querySelectorAll(selector)].map((each) => {
    const { x, y, width, height } = each.getBoundingClientRect();
    return [each.ariaLabel ?? "", x + width / 2, y + height / 2];
  }).filter(([, x, y]) => {
    if (x <= frame.left || x >= frame.right || y <= low || y >= high) return false;
    const top = document.elementFromPoint(x, y);
    return view.contains(top) && !top.closest(".rv-card, .rv-minimap");
  });
}"""


class NotNow(Exception):
    """The page does not offer an action at this time. The message gives the reason."""


class Session:
    """The page with the Explorer, and its kernel, while the soak test runs.

    Parameters
    ----------
    browser : playwright Browser
    lab : Lab
    generator : random.Random

    Attributes
    ----------
    views : int
        The number of views of the Explorer that the page must have.
    loads, made : int
        How often the page was loaded, and how often an Explorer was made.
    detail : str
        What the latest action chose, as text for the log.
    noise : int
        The number of messages that were ignored, because they are not about the Explorer.
    connections : int
        How often a page connected to the kernel.
    """

    def __init__(self, browser: Any, lab: Lab, generator: random.Random) -> None:
        self.browser, self.lab, self.random = browser, lab, generator
        self.views, self.loads, self.made = 1, 0, 1
        self.detail = ""
        self._told: list[tuple[str, Any]] = []
        self.noise = self.downloads = self.connections = 0
        self._read = 0  # bytes of the server's log that were read
        self.kernel: Kernel
        self.page: Any = None

    # ---------------------------------------------------------------- start, reload, recover

    def start(self) -> None:
        """Open the notebook and make the Explorer."""
        self.lab.notebook(NOTEBOOK, FIRST, "None")
        self.page = context_of(self.browser, self.lab, accept_downloads=True).new_page()
        self.page.set_default_timeout(5000)
        self.page.on("pageerror", self._on_page_error)
        self.page.on("console", self._on_console)
        self.page.on("download", self._on_download)
        self.page.on("websocket", self._on_socket)
        self.page.on("dialog", lambda dialog: dialog.accept())
        self._open()
        self.kernel = Kernel(self.lab)
        self._run_cell(0)
        self.page.locator(".rv-explorer").first.wait_for(timeout=240_000)

    def _open(self) -> None:
        self.loads += 1
        self.page.goto(self.lab.address(f"doc/tree/{NOTEBOOK}"), timeout=120_000)
        self.page.locator(".jp-Notebook").first.wait_for(timeout=120_000)
        self.page.get_by_text("| Idle").or_(self.page.get_by_text("| Busy")).first.wait_for(timeout=120_000)

    def _command(self, name: str, arguments: dict[str, Any] | None = None) -> None:
        self.page.evaluate("([name, args]) => window.jupyterapp.commands.execute(name, args)", [name, arguments or {}])

    def _run_cell(self, number: int, source: str | None = None) -> None:
        cell = self.page.locator(".jp-Notebook-cell .cm-content").nth(number)
        cell.click(timeout=20_000)
        if source is not None:
            self.page.keyboard.press("Control+A")
            self.page.keyboard.insert_text(source)
        self.page.keyboard.press("Control+Enter")

    def recover(self) -> None:
        """Load the page again after an error."""
        self.views = 1
        self._open()
        self._run_cell(1, "None")
        self._run_cell(0)
        self.page.locator(".rv-explorer").first.wait_for(timeout=120_000)

    # ---------------------------------------------------------------- what others reported

    def problems(self) -> list[tuple[str, Any]]:
        """Return the errors since the last call, as pairs (who reported the error, the error)."""
        found, self._told = self._told, []
        found += [("kernel", problem) for problem in self.kernel.problems() if not self._is_noise(problem)]
        log = (self.lab.folder / "server.log").read_bytes()
        text, self._read = log[self._read :].decode(errors="replace"), len(log)
        lines = [
            line
            for line in text.splitlines()
            if re.search(r"Traceback|Exception|\[E |\bERROR\b|rror:", line) and not any(text in line for text in NOISE)
        ]
        if lines:
            found.append(("server log", "\n".join(text.splitlines()[-40:])[-3000:]))
        return found

    def _is_noise(self, problem: dict[str, Any]) -> bool:
        """Whether a problem is a message of another library that is not about the Explorer.

        ipykernel warns of comms of ipywidgets itself when a page is closed, and of messages that the page sent before
        it heard that an Explorer was closed. PyTorch's profiler writes a line when it is used in two threads. IPython
        writes ``KeyboardInterrupt`` when it is interrupted twice in a short time.
        """
        unknown = re.fullmatch(r"No such comm: (\w+)\n?", re.sub(r"-", "", problem.get("stderr", "")))
        if unknown and self.kernel.ask(f"soaked.lives({unknown[1]!r})") == "False":
            self.noise += 1
            return True
        text = problem.get("stderr", "")
        # PyTorch's profiler; and IPython, when a second interrupt arrives while it prints the traceback of the first
        if "External init callback must run in same thread" in text or text.split() == ["KeyboardInterrupt"]:
            self.noise += 1
            return True
        return False

    def _on_download(self, _download: Any) -> None:
        self.downloads += 1

    def _on_socket(self, socket: Any) -> None:
        """Count the connections to the kernel. A page opens one when the page is loaded, and after a dropped one."""
        self.connections += "/channels" in socket.url

    def _on_page_error(self, error: Any) -> None:
        self._told.append(("page error", f"{error}\n{getattr(error, 'stack', '')}"[:1500]))

    def _on_console(self, message: Any) -> None:
        if re.search(
            r"Plugin .* (took|is taking) .* to activate", message.text
        ):  # JupyterLab, on a machine with much to do
            self.noise += 1
        elif message.type in ("error", "warning"):
            self._told.append(
                (f"console {message.type}", {"text": message.text[:800], "at": str(message.location)[:300]})
            )

    # ---------------------------------------------------------------- helpers

    def _view(self) -> Any:
        views = self.page.locator(".rv-explorer")
        count = views.count()
        if not count:
            raise NotNow("no view")
        return views.nth(self.random.randrange(count))

    def _any(self, selector: str, view: Any = None) -> Any:
        """Return one of the visible elements for a selector, drawn at random."""
        found = (view or self._view()).locator(f"{selector}:visible")
        count = found.count()
        if not count:
            raise NotNow(f"no {selector}")
        return found.nth(self.random.randrange(count))

    def _click(self, selector: str, view: Any = None, **options: Any) -> Any:
        from playwright.sync_api import Error

        element = self._any(selector, view)
        try:
            self.detail = (element.get_attribute("aria-label", timeout=1000) or element.inner_text(timeout=1000))[:60]
        except Error:  # it was drawn anew in the meantime; the click below finds that out
            self.detail = selector
        try:
            element.click(timeout=3000, **options)
        except Error as error:  # one type for all; the text tells which, and others are raised
            text = str(error)
            if "intercepts pointer events" in text or "not attached" in text or "Timeout" in text:
                raise NotNow(f"{selector} cannot be clicked: {reason(text)}") from error
            raise
        return element

    def _box(self, selector: str, view: Any = None) -> tuple[float, float, float, float]:
        element = self._any(selector, view)
        element.scroll_into_view_if_needed()
        box = element.bounding_box()
        if box is None:
            raise NotNow(f"{selector} has no box")
        return box["x"], box["y"], box["width"], box["height"]

    def _within(self, selector: str, view: Any = None) -> tuple[float, float]:
        x, y, width, height = self._box(selector, view)
        return x + width * self.random.uniform(0.05, 0.95), y + height * self.random.uniform(0.1, 0.9)

    def _press(self, keys: tuple[str, ...], times: int) -> None:
        chosen = [self.random.choice(keys) for _ in range(self.random.randint(1, times))]
        self.detail = " ".join(chosen)
        for key in chosen:
            self.page.keyboard.press(key)

    def _point_of_a_box(self, view: Any, kind: str) -> tuple[float, float]:
        """The middle of a box of the graph that the camera shows; ``kind`` is "v" for values and "m" for modules."""
        view.locator(".rv-graph").scroll_into_view_if_needed()
        found = view.evaluate(BOXES, kind)
        if not found:
            raise NotNow(f"no box {kind} in the picture")
        self.detail, x, y = self.random.choice(found)
        return x, y

    def picture(self, path: Path, width: int, height: int, theme: str) -> None:
        """Take two pictures of the page: from the top of the Explorer, and with its drawer.

        ``width`` and ``height`` are those of the window, in pixels. ``theme`` is ``"Light"`` or ``"Dark"``.
        """
        self.page.set_viewport_size({"width": width, "height": height})
        self._command("apputils:change-theme", {"theme": f"JupyterLab {theme}"})
        self.page.mouse.move(3, 3)
        self.page.wait_for_timeout(1500)
        self.page.locator(".rv-explorer").first.evaluate("(view) => view.scrollIntoView({ block: 'start' })")
        self.page.wait_for_timeout(700)
        self.page.screenshot(path=path)
        self.page.locator(".rv-drawer").first.scroll_into_view_if_needed()
        self.page.wait_for_timeout(300)
        self.page.screenshot(path=path.with_stem(f"{path.stem}-drawer"))


def reason(text: str) -> str:
    """Return the line of Playwright's error that says why an element could not be used, else the first line."""
    lines = [line.strip() for line in text.splitlines() if "intercepts" in line or "not " in line]
    return lines[-1][:120] if lines else text.splitlines()[0][:120]
