"""Is a plan executed exactly, and its memory predicted? One table for one network.

For budgets from the least feasible total up, each plan is run on the device at hand: gradients and
buffers against eager, storages saved against the plan, simulated against measured transient peak.

    python -m recompviz.benchmarks.execution                 # ResNet-50, batch 8, 224×224
    python -m recompviz.benchmarks.execution --device cuda --batch 64
"""

from __future__ import annotations

import argparse
import platform

import numpy as np
import torch

import recompviz as rv
from recompviz import networks
from recompviz.core.plan_table import PlanTable
from recompviz.core.units import format_bytes


def main() -> None:
    """Parse the command line, run, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="resnet50", help="a name in recompviz.networks")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=224, help="height and width of the images, pixels")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--budgets", type=int, default=5)
    options = parser.parse_args()

    torch.manual_seed(0)
    model = getattr(networks, options.network)().to(options.device)
    x = torch.randn(options.batch, 3, options.size, options.size, device=options.device)
    y = torch.randint(0, 1000, (options.batch,), device=options.device)
    loss = torch.nn.functional.cross_entropy

    trace = rv.trace(model, x, targets=(y,), loss=loss)
    graph = trace.graph
    print(f"{options.network}, batch {options.batch}, {options.size}×{options.size}, {device_name(options.device)}")
    print(f"torch {torch.__version__}, Python {platform.python_version()}, recompviz {rv.__version__}")
    print(f"#V {len(graph)}, #E {len(graph.edges)}, lower sets {graph.count_lower_sets(limit=1_000_000):,}")
    eager = rv.measure(model, x, targets=(y,), loss=loss)
    print(f"eager: transient peak {format_bytes(eager.transient_peak)}, static {format_bytes(eager.static)}\n")
    header = (
        f"{'budget (total)':>14} {'overhead':>8} {'recomputed':>10} {'simulated':>12} {'measured':>12} {'off':>6} "
        f"{'boundaries':>10} {'seconds':>7}  certificate"
    )
    print(header)
    table = trace.plans()
    for row in spread(table, options.budgets):
        plan = table.plans[row]
        certificate = rv.certify(trace, plan)
        simulated = rv.simulate(trace, plan)
        measured = rv.measure(rv.apply(trace, plan), x, targets=(y,))
        off = measured.transient_peak / simulated.transient_peak - 1
        shared = min(len(simulated.phases), len(measured.phases))
        ends = np.abs(simulated.step_ends[:shared] - measured.step_ends[:shared]).max()
        print(
            f"{format_bytes(int(table.total_peaks[row])):>14} {plan.overhead:>8g} {int((~plan.kept).sum()):>10} "
            f"{simulated.transient_peak:>12,} {measured.transient_peak:>12,} {off:>6.2%} {ends:>8,} B "
            f"{measured.seconds or 0:>7.2f}  {'✓' if certificate.ok else '✗'} {certificate.text}",
            flush=True,
        )


def spread(table: PlanTable, count: int) -> list[int]:
    """Rows for budgets evenly spread from the least feasible total to that of keeping everything."""
    budgets = np.linspace(table.least_total, int(table.total_peaks.max()), count)
    return sorted({table.row(int(np.ceil(budget))) for budget in budgets}, reverse=True)


def device_name(device: str) -> str:
    """The device in words."""
    if device.startswith("cuda"):
        return f"{torch.cuda.get_device_name(device)}, CUDA {torch.version.cuda}"
    return f"CPU {platform.machine()}, {torch.get_num_threads()} threads"


if __name__ == "__main__":
    main()
