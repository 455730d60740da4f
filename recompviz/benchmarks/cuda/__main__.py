"""The command line. It runs the parts and prints their table, or it runs one part in the process started for it."""

from __future__ import annotations

import argparse
import importlib.util
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import recompviz.benchmarks.cuda as command
from recompviz.benchmarks.cuda.parts import PARTS
from recompviz.benchmarks.cuda.running import run_here, run_parts
from recompviz.benchmarks.cuda.table import table
from recompviz.core.base.files import write_file

NEEDED = ("torch", "numpy", "networkx")
WANTED = ("numba",)
FETCH = "python -m pip download --no-deps --only-binary=:all: --python-version 3.12 -d wheels"
INSTALL = "python -m pip install --no-index --find-links wheels --no-deps"


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and run; return the exit status.

    The status is 2 if a needed package is missing, 1 if a part failed, and otherwise 0.
    """
    parser = argparse.ArgumentParser(description=command.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="part", help=f"of {', '.join(part.name for part in PARTS)}")
    parser.add_argument("--minutes", type=float, default=8, help="time for all parts together (default: 8)")
    parser.add_argument("--out", type=Path, required=True, help="the folder of the results")
    parser.add_argument("--device", default="cuda", help="cuda (default), or cpu for the rehearsal")
    parser.add_argument("--again", action="store_true", help="run parts again whose results are there")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=60, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if unknown := set(options.names) - {part.name for part in PARTS}:
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(part.name for part in PARTS)}")
    if options.part:  # a process of its own: the first one has looked for the packages
        run_here(options.part, options.device, options.out, options.seconds)
        return 0
    if lines := missing():
        print("\n".join(lines.values()), flush=True)
        if not lines.keys().isdisjoint(NEEDED):
            return 2
    options.out.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    chosen = [part for part in PARTS if not options.names or part.name in options.names]
    if any(part.plans for part in chosen):
        chosen = [part for part in PARTS if part in chosen or part.beside]
    signal.signal(signal.SIGTERM, _interrupted)  # so that the parts end with the command

    def write_table(results: list[dict[str, Any]]) -> str:
        text = table(results, options.device, time.monotonic() - start)
        write_file(options.out / "table.md", text)
        return text

    results = run_parts(chosen, options.device, options.out, options.minutes, options.again, write_table)
    print(write_table(results), flush=True)
    return int(not all(result.get("ok") for result in results))


def _interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def missing() -> dict[str, str]:
    """Return for each missing package a line of text with the commands that fetch and install the package."""
    found = {}
    for name in (*NEEDED, *WANTED):
        if importlib.util.find_spec(name) is None:
            need = "needed" if name in NEEDED else "missing: the solvers run in NumPy, which is slow"
            packages = "numba llvmlite" if name == "numba" else name
            found[name] = f"{name} is {need}. Fetch: {FETCH} {packages}; there: {INSTALL} {packages}"
    return found


if __name__ == "__main__":
    raise SystemExit(main())
