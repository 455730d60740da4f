"""Run training loops and models with control flow under a total, compare them with eager PyTorch, and print tables.

    python -m recompviz.benchmarks.loops                           # all tables
    python -m recompviz.benchmarks.loops loops models              # some of them
    python -m recompviz.benchmarks.loops changes --changes 1000

A *total* is a memory limit in bytes for a whole training step. A *region* is a graph captured by Dynamo, for which
recompviz makes plans. Losses, gradients and the model's tensors must be exactly equal to those of eager PyTorch.

*Least* is the least total that suffices for all recorded training steps. Each total lies between the least total and
the total that keeps every value. For the loop over many lengths, a total that is too small for the longest batch is
tried, too. *Planned* is the share of the regions in the memory that a step keeps for its backward pass. *Choice* is the
mean processor time of choosing plans in one training step. The percentage in the tables of loops is the planned
recomputation, relative to the time of the forward passes.
"""

from __future__ import annotations

import argparse
import importlib.util
import platform
import warnings
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from recompviz.benchmarks.loops import distributed_loops, lengths
from recompviz.benchmarks.loops.budgets import LoopRow, compiled_for, run_loop
from recompviz.benchmarks.loops.cases import CASES
from recompviz.benchmarks.loops.changes import random_changes
from recompviz.benchmarks.loops.comparison import compare
from recompviz.benchmarks.loops.library_loops import LIBRARIES
from recompviz.benchmarks.loops.plain_loops import LOOPS, Compile
from recompviz.core.base.units import format_bytes
from recompviz.pytorch.budgeting.recorded_models import RecordedModels

TABLES = ("loops", "libraries", "distributed", "models", "lengths", "changes")
CHANGES_OF_ONE_MODEL = 25


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, run the benchmarks, and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", help=f"some of {', '.join(TABLES)}; default: all")
    parser.add_argument("--seconds", type=float, default=1.0, help="processor time of the search for each region")
    parser.add_argument("--changes", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=300, help="steps of the loop over many lengths")
    options = parser.parse_args(arguments)
    if unknown := sorted(set(options.tables) - set(TABLES)):
        parser.error(f"unknown table {unknown[0]!r}; expected some of {', '.join(TABLES)}")
    RecordedModels.search_seconds = options.seconds
    print(f"torch {torch.__version__}, Python {platform.python_version()}")
    printers: dict[str, Callable[[], None]] = {
        "loops": _loops, "libraries": _libraries, "distributed": _distributed, "models": _models,
        "lengths": partial(_lengths, options.steps), "changes": partial(_changes, options.changes),
    }  # fmt: skip
    for name in options.tables or TABLES:
        print(f"\n{name}")
        printers[name]()


def _loop_under(loop: Callable[[Compile], list[Tensor]], total: int | None) -> list[Tensor]:
    return loop(compiled_for(total))


def _loops() -> None:
    for name, loop in LOOPS.items():
        _print_loop(run_loop(name, partial(_loop_under, loop)))


def _libraries() -> None:
    for name, (library, loop) in LIBRARIES.items():
        if importlib.util.find_spec(library) is None:
            print(f"  {name:48} {library} is not installed")
        else:
            _print_loop(run_loop(name, loop))


def _print_loop(row: LoopRow) -> None:
    sizes = f"{format_bytes(row.least)} < {format_bytes(row.total)} < {format_bytes(row.keep_all)}"
    answer = "equal" if not row.wrong else f"DIFFERS: {'; '.join(row.wrong)}"
    print(f"  {row.name:48} {row.regions:3} regions  {sizes:36} {row.overhead:+6.1%}  {answer}", flush=True)
    for message in row.messages:
        print(f"      {message[:180]}")


def _distributed() -> None:
    for kind, ranks in distributed_loops.run().items():
        for rank, found in enumerate(ranks):
            print(f"  {kind:48} rank {rank}: {found}", flush=True)


def _models() -> None:
    print(f"  {'model':52} {'regions':>7} {'breaks':>6} {'planned':>7} {'least':>9} {'total':>9} {'measured':>9}")
    for name in CASES:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            row = compare(name)
        figures = [format_bytes(size) for size in (row.least, row.total, row.peak)]
        answer = row.unplanned or ("equal" if not row.wrong else f"DIFFERS: {row.wrong[0]}")
        over = "" if row.peak <= row.total or row.unplanned else "  ABOVE THE TOTAL"
        columns = f"{row.regions:7} {row.breaks:6} {row.share:7.0%} " + " ".join(f"{figure:>9}" for figure in figures)
        print(f"  {name:52} {columns}  {answer}{over}", flush=True)
        for message in row.messages:
            print(f"      {message[:180]}")


def _lengths(steps: int) -> None:
    names = ("captures", "total", "highest", "above", "measured", "refused", "choice", "searches")
    print(f"  {'':14} " + " ".join(f"{name:>9}" for name in names))
    for mode in lengths.MODES:
        for position in (0.3, -0.1):
            row = lengths.run_lengths(mode, steps, position)
            columns: tuple[object, ...] = (
                row.captures, format_bytes(row.total), format_bytes(row.highest), row.above, row.measured, row.refused,
                f"{row.mean:.2f} ms", f"{row.searches} {row.search_seconds:.1f} s",
            )  # fmt: skip
            answer = ("equal" if row.equal else "DIFFERS") + ("" if row.ok else "  NOT AS PROMISED")
            print(f"  {mode:14} " + " ".join(f"{column!s:>9}" for column in columns) + f"  {answer}", flush=True)
            for message in row.messages:
                print(f"      {message[:180]}")


def _changes(wanted: int) -> None:
    made, stale = 0, list[str]()
    for seed in range((wanted + CHANGES_OF_ONE_MODEL - 1) // CHANGES_OF_ONE_MODEL):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            outcome = random_changes(seed, CHANGES_OF_ONE_MODEL)
        made, stale = made + outcome.changes, stale + outcome.stale
        print(f"  {seed + 1} models, {made} changes, {len(stale)} stale answers", flush=True)
    for text in stale:
        print(f"      {text}")


if __name__ == "__main__":
    main()
