"""Faults of single ranks: every other rank must end as expected within a time limit.

    python -m recompviz.benchmarks.ranks.faults              # all faults, two processes
    python -m recompviz.benchmarks.ranks.faults --world 4

A row has the fault, the expected result, and for each rank how it ended and after how many seconds. If the argument is
the name of a fault, the module is the program of one process.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

import recompviz as rv
from recompviz.benchmarks.ranks.processes import RankFailed, run_ranks
from recompviz.core.base.errors import InfeasibleBudget
from recompviz.core.ranks.unit_plan import UnitPlan

# seconds: limits of agreement and of collectives; a process that ends is noticed at once
LIMIT = 15.0
COLLECTIVES = 60.0
FAULTS = {
    "rank 0 fails in planning": "InfeasibleBudget on rank 0; RanksDisagree on the others",
    "rank 0 is killed in planning": "RanksDisagree on the others",
    "the last rank is killed before it answers": "RanksDisagree on the others",
    "plans differ": "RanksDisagree on all",
    "the last rank has less memory": "the least total is planned for; no error",
    "the last rank is killed in the step": "an error of the collective on the others",
}
PLANS = (UnitPlan("0", ("aten.addmm",), (True,)),)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table, or run one process."""
    if len(sys.argv) > 1 and sys.argv[1] in FAULTS:
        worker(sys.argv[1])
        return
    parser = argparse.ArgumentParser(
        prog="python -m recompviz.benchmarks.ranks.faults",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--world", type=int, default=2)
    options = parser.parse_args(arguments)
    print("| fault | expected | rank: how it ended |\n|---|---|---|")
    for fault, expected in FAULTS.items():
        print(f"| {fault} | {expected} | {'; '.join(outcomes(fault, options.world))} |", flush=True)


def outcomes(fault: str, world: int) -> list[str]:
    """Run a fault in ``world`` new processes; return how each rank ended, without ranks that print no result."""
    results: Sequence[dict[str, Any] | None]
    try:
        results = run_ranks("recompviz.benchmarks.ranks.faults", [fault], world, seconds=300)
    except RankFailed as error:  # the killed rank
        results = error.results
        late = [f"{rank}: {text}" for rank, text in sorted(error.ranks.items()) if results[rank] is None]
        if late:
            return late
    return [f"{row['rank']}: {row['ended']} after {row['seconds']:.1f} s" for row in results if row is not None]


def worker(fault: str) -> None:
    """Run one process, and print how it ended."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", timeout=timedelta(seconds=COLLECTIVES))
    rank, last = dist.get_rank(), dist.get_world_size() - 1
    start = time.monotonic()

    def report(ended: str) -> None:
        row: dict[str, Any] = {"rank": rank, "ended": ended, "seconds": time.monotonic() - start}
        print(json.dumps(row), flush=True)

    def die() -> None:
        report("killed")
        os.kill(os.getpid(), signal.SIGKILL)

    try:
        ended = _run(fault, rank, last, die)
    except Exception as error:  # the type of the error is the result of the rank
        ended = f"{type(error).__name__}: {str(error).splitlines()[0][:160]}"
    report(ended)


def _run(fault: str, rank: int, last: int, die: Any) -> str:
    if fault == "plans differ":
        own = (UnitPlan("0", ("aten.addmm",), (False,)),) if rank == last else PLANS
        rv.confirm_plans(own, seconds=LIMIT)
        return "no error"

    def make(total: int | None) -> tuple[UnitPlan, ...]:
        if "fails" in fault:
            raise InfeasibleBudget(1, 2, "total")
        if "rank 0 is killed" in fault:
            die()
        return (UnitPlan(f"{total}", (), ()),) if "memory" in fault else PLANS

    if "before it answers" in fault and rank == last:
        die()
    plans = rv.shared_plans(make, total="1 GiB" if "memory" in fault and rank == last else "2 GiB", seconds=LIMIT)
    if "memory" in fault:
        return f"planned for {plans[0].name} bytes"
    model: Any = nn.parallel.DistributedDataParallel(nn.Sequential(nn.Linear(4, 4)))
    if rank == last:
        model(torch.ones(2, 4)).sum()
        die()
    model(torch.ones(2, 4)).sum().backward()
    dist.barrier()
    return "no error"


if __name__ == "__main__":
    main()
