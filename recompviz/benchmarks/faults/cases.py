"""Run numbered cases in other processes, so that a case that hangs or crashes does not end the benchmark.

A part of the benchmark is a module with a function ``cases(numbers, seed)``, which tries the cases of these numbers and
returns rows of the table. Case ``i`` is the same in every run with the same seed. A part may have a function
``prepare()`` that changes the process in which cases run.
"""

from __future__ import annotations

import contextlib
import faulthandler
import importlib
import json
import os
import signal
import subprocess
import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple
from itertools import chain
from pathlib import Path
from types import FrameType

from recompviz.benchmarks.faults.counts import FaultCount
from recompviz.core.base.errors import RecompvizError

# time limit of one case in seconds; on a machine with other load, a case takes far less
SECONDS = 60
_PACKAGE = Path(__file__).resolve().parents[2]


class TooLong(BaseException):
    """A case took longer than its limit."""


@contextlib.contextmanager
def limited(seconds: float = SECONDS) -> Iterator[None]:
    """Raise :class:`TooLong` if a ``with`` block takes longer than ``seconds``; in the main thread only."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise TooLong(f"took longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def unclear(error: BaseException) -> str | None:
    """Return why an error is not a clear one; None if it is clear.

    A clear error is raised by code of recompviz, with a documented type and a message of 15 to 1,000 characters.
    """
    if not isinstance(error, (RecompvizError, ValueError, TypeError, IndexError)):
        return said(error)
    text = str(error)
    if not 15 <= len(text) <= 1000 or " " not in text.strip():
        return f"{said(error)} (its length is {len(text)})"
    frame = traceback.extract_tb(error.__traceback__)[-1]
    raised = Path(frame.filename).is_relative_to(_PACKAGE) and (frame.line or "").startswith("raise ")
    return None if raised else f"{said(error)} (raised at {Path(frame.filename).name}:{frame.lineno})"


def said(error: BaseException) -> str:
    """Return the type and the message of an error in one line."""
    try:
        text = ascii(str(error))[1:300]
    except Exception as second:  # __str__ may raise anything
        text = f"its message cannot be shown ({type(second).__name__})"
    return f"{type(error).__name__}: {text}"


class Tally:
    """Counts cases by subject and kind."""

    def __init__(self) -> None:
        self._tried: Counter[tuple[str, str]] = Counter()
        self._wrong: dict[tuple[str, str], list[str]] = {}

    @property
    def total(self) -> int:
        """The number of cases."""
        return self._tried.total()

    def add(self, subject: str, kind: str, wrong: str | None = None) -> None:
        """Count a case. ``wrong`` says what went wrong; None if nothing did."""
        self.add_all(subject, kind, 1, [] if wrong is None else [wrong])

    def add_all(self, subject: str, kind: str, tried: int, wrong: Sequence[str]) -> None:
        """Count ``tried`` cases. ``wrong`` has a text for each that went wrong."""
        self._tried[subject, kind] += tried
        self._wrong.setdefault((subject, kind), []).extend(wrong)

    def rows(self) -> list[FaultCount]:
        """Return the rows of the table."""
        return [
            FaultCount(subject, kind, tried, tuple(self._wrong[subject, kind]))
            for (subject, kind), tried in self._tried.items()
        ]


def run_in_processes(part: str, count: int, seed: int, size: int = 500) -> list[FaultCount]:
    """Try ``count`` cases of a part, in processes of ``size`` cases each; return the rows of the table.

    A process that hangs or crashes counts as one fault, in a row of its own.
    """
    tally = Tally()
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        parts = pool.map(lambda first: _in_process(part, first, min(first + size, count), seed), range(0, count, size))
        for row in chain.from_iterable(parts):
            tally.add_all(*row)
    return tally.rows()


def _in_process(part: str, first: int, end: int, seed: int) -> list[tuple[str, str, int, list[str]]]:
    command = [sys.executable, "-m", "recompviz.benchmarks.faults.cases", part, str(first), str(end), str(seed)]
    what = f"cases {first} to {end - 1} of seed {seed}"
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=SECONDS + (end - first) * 2 + 120, check=False
        )
    except subprocess.TimeoutExpired:
        return [(part, "hangs", end - first, [f"{what}: the process did not end"])]
    if done.returncode:
        said = " | ".join(done.stderr.strip().splitlines()[-12:])
        return [(part, "crashes", end - first, [f"{what}: the process ended with {done.returncode}: {said}"])]
    rows: list[tuple[str, str, int, list[str]]] = json.loads(done.stdout.splitlines()[-1])
    return rows


def run_cases(part: str, first: str, end: str, seed: str) -> None:
    """Try the cases ``first`` to ``end`` − 1 of a part, and print their rows as one line of JSON."""
    faulthandler.enable()
    warnings.simplefilter("ignore")
    module = importlib.import_module(f"recompviz.benchmarks.faults.{part}")
    if hasattr(module, "prepare"):
        module.prepare()
    rows = module.cases(range(int(first), int(end)), int(seed))
    print(json.dumps([astuple(row) for row in rows]))


if __name__ == "__main__":
    run_cases(*sys.argv[1:])
