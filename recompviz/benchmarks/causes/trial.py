"""Run a planted script and compare its report with the expected one, or run a file and return its reports."""

from __future__ import annotations

import contextlib
import gc
import linecache
import runpy
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

import recompviz as rv
from recompviz.benchmarks.causes.scripts import Script
from recompviz.core.base.units import format_bytes
from recompviz.core.reports.memory_report import MemoryReport

# largest difference between the promised and the measured fall of the peak, as a share of the promised one
TOLERANCE = 0.05


@dataclass(frozen=True)
class Trial:
    """What the report of a script said, and how the memory changed when the advice was followed.

    Attributes
    ----------
    name, expected : str
        Name and expected cause of the script.
    top : str
        Cause, value and line of the first finding, as text; ``"nothing"`` if there is none.
    right : bool
        Whether the first finding is an alarm, is the expected one, and has the expected text in its advice. For a
        healthy script, whether there is no alarm.
    alarm : bool
        Whether the first finding claims that memory is wasted.
    peak : int
        The peak of the script as written, bytes.
    promised : int or None
        Bytes by which the peak should fall; None if the report promises nothing, and for a healthy script.
    after : int or None
        The peak after the advice was followed, bytes; None if the script has no changes that follow the advice.
    still : bool
        Whether the script raises an alarm of the same cause after the advice was followed.
    """

    name: str
    expected: str
    top: str
    right: bool
    alarm: bool
    peak: int
    promised: int | None = None
    after: int | None = None
    still: bool = False

    @property
    def kept(self) -> bool:
        """Whether the peak fell by what was promised, within 5 %; True if there is nothing to compare."""
        if self.promised is None or self.after is None:
            return True
        return abs((self.peak - self.after) - self.promised) <= TOLERANCE * self.promised

    @property
    def text(self) -> str:
        """The row of the printed table, as text."""
        mark = "✓" if self.right and self.kept and not self.still else "✗"
        advice = ""
        if self.after is not None:
            promised = "nothing promised" if self.promised is None else f"promised −{format_bytes(self.promised)}"
            advice = f"\n      followed: {format_bytes(self.peak)} → {format_bytes(self.after)}, {promised}"
            advice += "" if self.kept else " NOT KEPT"
            advice += " STILL AN ALARM" if self.still else ""
        wanted = f"\n      expected {self.expected}" if not self.right else ""
        return f"{mark} {self.name}\n      {self.top}{wanted}{advice}"


def run(source: str, folder: str, name: str = "script.py") -> MemoryReport:
    """Run a program in this process, and return the report of its first call of ``debug``.

    ``debug`` is :func:`recompviz.debug` with ``advise=False``. The program is written to the file ``name`` in
    ``folder``.
    """
    path = Path(folder) / name
    path.write_text(source, encoding="utf-8")
    linecache.checkcache(str(path))
    found: list[MemoryReport] = []

    def debug(*arguments: Any, **keywords: Any) -> None:
        found.append(rv.debug(*arguments, advise=False, **keywords))

    torch.manual_seed(0)
    space: dict[str, Any] = {"__name__": "planted_script", "__file__": str(path), "debug": debug}
    exec(compile(source, str(path), "exec"), space)
    space.clear()
    gc.collect()
    return found[0]


def tried(script: Script) -> Trial:
    """Run a script. If its advice can be followed, run the changed script as well."""
    with tempfile.TemporaryDirectory() as folder:
        report = run(script.text, folder)
        top = report.top
        alarm = top is not None and top.matters(report.peak)
        said = f"{top.cause}: {top.value}, line {top.line.number if top.line else 0}" if top is not None else "nothing"
        if not script.cause:
            return Trial(script.name, "no alarm", said, not alarm, alarm, report.peak)
        assert top is not None
        line = top.line.number if top.line is not None else 0
        right = alarm and top.cause == script.cause and script.value in top.value and line == script.line
        right = right and script.says in top.fix
        expected = f"{script.cause}: …{script.value}…, line {script.line}"
        promised = top.avoidable if top.verified else None
        if not script.follow:
            return Trial(script.name, expected, said, right, alarm, report.peak, promised)
        after = run(script.followed, folder, "followed.py")
        again = after.top is not None and after.top.matters(after.peak) and after.top.cause == script.cause
        return Trial(script.name, expected, said, right, alarm, report.peak, promised, after.peak, again)


@contextlib.contextmanager
def _arguments(*arguments: str) -> Iterator[None]:
    before = sys.argv, list(sys.path)
    sys.argv = list(arguments)
    try:
        yield
    finally:
        sys.argv, sys.path[:] = before


def reports_of(path: Path, *arguments: str) -> list[MemoryReport]:
    """Run a Python file in this process, and return the reports of its calls of :func:`recompviz.debug`.

    ``arguments`` are the arguments of its command line.
    """
    path = path.resolve()
    found: list[MemoryReport] = []
    original = rv.debug

    def debug(*given: Any, **keywords: Any) -> MemoryReport:
        found.append(original(*given, **keywords))
        return found[-1]

    before = set(sys.modules)
    with _arguments(str(path), *arguments):
        sys.path.insert(0, str(path.parent))
        rv.debug = debug
        try:
            runpy.run_path(str(path), run_name="__main__")
        finally:
            rv.debug = original
            for name in set(sys.modules) - before:  # the next file may have one of the same name
                if _is_beside(sys.modules[name], path):
                    del sys.modules[name]
            gc.collect()  # the memory of one file is not that of the next
    return found


def _is_beside(module: ModuleType, path: Path) -> bool:
    """Whether a module was imported from the folder of a file."""
    source = getattr(module, "__file__", None)
    return source is not None and Path(source).resolve().parent == path.parent
