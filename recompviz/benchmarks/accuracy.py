"""Is a plan executed exactly, and its memory predicted? Every network, five budgets each.

For budgets from the least feasible total up to that of keeping everything, each plan is run on the
device at hand: gradients and buffers against eager, storages saved against the plan, simulated
against measured memory at the peak, at every boundary between operators and inside them, measured peak
against the budget asked for, and measured against predicted step time. Exits with 1 if a certificate
fails, a peak is off by more than 1 % (2 % on CUDA), exceeds its budget, or rises where the budget falls.

    python -m recompviz.benchmarks.accuracy                            # all networks, small
    python -m recompviz.benchmarks.accuracy resnet50 --full --batch 8  # at the published size
    python -m recompviz.benchmarks.accuracy --device cuda --full --json cuda.json
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import json
import platform
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import recompviz as rv
from recompviz import networks
from recompviz.benchmarks.devices import device_name
from recompviz.core.plan import Plan
from recompviz.core.plan_table import PlanTable
from recompviz.core.schedule import Phase
from recompviz.core.units import format_bytes

# the most a simulated peak may be off before the command fails
ALLOWED = {"cpu": 0.01, "cuda": 0.02}
# pairs of steps timed, after one that warms up
TIMED_STEPS = 5
HEADER = (
    f"{'network':>14} {'budget (total)':>14} {'recomputed':>10} {'simulated':>14} {'measured':>14} {'off':>7} "
    f"{'between':>8} {'inside':>8} {'time, predicted':>15} {'measured':>9}  certificate"
)


@dataclass(frozen=True)
class Row:
    """One plan of one network: bytes total unless said otherwise; ``off`` is of the transient peak."""

    network: str
    budget: int
    recomputed: int
    nodes: int
    simulated: int
    measured: int
    off: float
    between_operators: float
    inside_operators: float
    predicted_time: float
    measured_time: float
    certificate: str
    certified: bool


def main() -> None:
    """Parse the command line, run, print the table, and fail where a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", help=f"some of {', '.join(networks.NAMES)}; left out: all")
    parser.add_argument("--full", action="store_true", help="the published networks instead of small ones")
    parser.add_argument("--batch", type=int, help="left out: the paper's, or 2 for small networks")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--budgets", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the rows there, with device and versions")
    options = parser.parse_args()
    print(f"{device_name(options.device)}, torch {torch.__version__}, Python {platform.python_version()}")
    print("off: of the transient peak; between, inside operators: worst step, of the peak; time: of keep-all's step")
    print(HEADER)
    rows: list[Row] = []
    for name in options.networks or networks.NAMES:
        torch.manual_seed(0)
        example = networks.example(name, options.batch, not options.full, options.device)
        for row in rows_of(example, options.budgets):
            rows.append(row)
            print(text(row), flush=True)
    if options.json is not None:
        options.json.write_text(json.dumps(report(rows, options.device), indent=1), encoding="utf-8")
    broken = failures(rows, ALLOWED[options.device.split(":")[0]])
    worst = max(rows, key=lambda row: abs(row.off))
    print(f"\n{len(rows)} plans; worst off: {worst.off:.3%} ({worst.network}); {len(broken)} promises broken")
    for line in broken:
        print(f"  {line}")
    sys.exit(1 if broken else 0)


def rows_of(example: networks.Example, budgets: int) -> Iterator[Row]:
    """Run the plans of one network, the leanest first."""
    trace = rv.calibrate(rv.trace(example.model, *example.inputs, targets=example.targets, loss=example.loss))
    everything = Plan.keep_all(trace.graph)
    keep_all = rv.apply(trace, everything)
    table = trace.plans("live")
    for budget, plan in spread(table, budgets):
        certificate = rv.certify(trace, plan)
        simulated = rv.simulate(trace, plan)
        planned = rv.apply(trace, plan)
        measured = rv.measure(planned, *example.inputs, targets=example.targets)
        steps = len(trace.schedule(plan))
        peak = measured.transient_peak
        yield Row(
            example.name,
            budget,
            int((~plan.kept).sum()),
            len(trace.graph),
            simulated.peak,
            measured.peak,
            peak / simulated.transient_peak - 1,
            float(np.abs(simulated.step_ends[:steps] - measured.step_ends[:steps]).max() / peak),
            float(np.abs(simulated.step_peaks[:steps] - measured.step_peaks[:steps]).max() / peak),
            seconds_of(trace, plan) / seconds_of(trace, everything),
            time_ratio(planned, keep_all, (*example.inputs, *example.targets)),
            certificate.text,
            certificate.ok,
        )


def spread(table: PlanTable, count: int) -> list[tuple[int, Plan]]:
    """(budget, plan) for budgets evenly spread from the least feasible total to that of keeping everything."""
    budgets = np.linspace(table.least_total, int(table.total_peaks[0]), count)
    rows = {table.row(int(np.ceil(budget))): int(np.ceil(budget)) for budget in reversed(budgets)}
    return [(budget, table.plans[row]) for row, budget in sorted(rows.items(), reverse=True)]


def seconds_of(trace: rv.Trace, plan: Plan) -> float:
    """The calibrated times of a plan's operators, added up over its schedule, recomputation included."""
    schedule = trace.schedule(plan)
    return sum(
        trace.joint.seconds[c]
        for c, phase in zip(schedule.calls, schedule.phases, strict=True)
        if phase in (Phase.FORWARD, Phase.RECOMPUTE, Phase.BACKWARD)
    )


def time_ratio(one: torch.nn.Module, other: torch.nn.Module, values: tuple[torch.Tensor, ...]) -> float:
    """The median step time of one module over the other's, taken in turn: a machine's speed drifts."""
    ratios = []
    for _ in range(1 + TIMED_STEPS):
        seconds = []
        for module in (one, other):
            start = time.perf_counter()
            module(*values).backward()
            if values[0].is_cuda:
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - start)
        ratios.append(seconds[0] / seconds[1])
    return statistics.median(ratios[1:])  # the first one warms up


def failures(rows: list[Row], allowed: float) -> list[str]:
    """The promises that the rows break, in words."""
    broken = []
    for row in rows:
        where = f"{row.network} at {format_bytes(row.budget)}"
        if not row.certified:
            broken.append(f"{where}: {row.certificate}")
        if abs(row.off) > allowed:
            broken.append(f"{where}: off by {row.off:.2%}")
        if row.measured > row.budget:
            broken.append(f"{where}: measured {row.measured:,} bytes exceed the budget of {row.budget:,}")
    for before, after in itertools.pairwise(rows):
        if before.network == after.network and before.measured > after.measured:
            broken.append(f"{after.network}: a larger budget measured a smaller peak, {after.measured:,} bytes")
    return broken


def text(row: Row) -> str:
    """One line of the table."""
    return (
        f"{row.network:>14} {format_bytes(row.budget):>14} {f'{row.recomputed}/{row.nodes}':>10} {row.simulated:>14,} "
        f"{row.measured:>14,} {row.off:>7.2%} {row.between_operators:>8.2%} {row.inside_operators:>8.2%} "
        f"{row.predicted_time:>14.2f}× {row.measured_time:>8.2f}×  {'✓' if row.certified else '✗'} {row.certificate}"
    )


def report(rows: list[Row], device: str) -> dict[str, Any]:
    """The rows as data, with where and when they were made."""
    return {
        "device": device_name(device),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "recompviz": rv.__version__,
        "date": datetime.date.today().isoformat(),
        "rows": [asdict(row) for row in rows],
    }


if __name__ == "__main__":
    main()
