"""Compare the planner with every baseline: at the simulated peak of a baseline, the planner must not recompute more.

The baselines are keep-all, keep-nothing, a checkpoint around each repeated block, the user's own checkpoints, Chen's
plans for all segment budgets, segments of equal bytes, all plans of the time-centric and of the memory-centric curve by
the formula, and PyTorch's min-cut partitioner at several values of ``activation_memory_budget``. The table has one row
for each network:

  #V          number of nodes
  search      processor time in seconds until the plans are found, without tracing
  baselines   number of different baseline plans
  better      number of baselines that recompute less than the plan that the search finds for the same simulated peak,
              or that have a lower peak than every plan found
  losses      number of baselines that are still better after all baselines were made. The planner adds each baseline
              that it makes to its table. The next two columns are also taken from this table
  worst       largest difference of the overheads, planner minus baseline, as a share of the forward pass
  least peak  least simulated total peak of the planner's plans, and of the baselines

    python -m recompviz.benchmarks.baselines                     # the networks of recompviz.networks, small
    python -m recompviz.benchmarks.baselines --full resnet50     # in the published size, on the meta device
    python -m recompviz.benchmarks.baselines --llama             # 32 layers, width 256, 1,024 tokens, batch 2
    python -m recompviz.benchmarks.baselines --library           # models of torchvision, timm and transformers

The search starts from all these baselines except those of PyTorch's partitioner, because each of these takes seconds.
Without numba, the planner does not search, so its plans are these baselines.
Below a row, there is a line for each baseline that is better than what the search finds. With ``--each`` there is a
line for each baseline that is not one of a series, such as "chen, 2 of 9". The exit status is 1 if there is a loss.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

import recompviz as rv
from recompviz import networks
from recompviz.benchmarks.beside_pytorch.models import llama
from recompviz.benchmarks.library_models import library_models
from recompviz.core.base.errors import RecompvizError
from recompviz.core.base.units import format_bytes
from recompviz.core.live.model import LiveModel
from recompviz.core.plans.baselines import METHODS, chen_plans

# values of ``activation_memory_budget``
RATIOS = (0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1)
HEADER = (
    f"{'network':>26} {'#V':>5} {'search':>8} {'baselines':>9} {'better':>6} {'losses':>6} {'worst':>8}  "
    "least peak, planner and baselines"
)

MakeTrace = Callable[[], rv.Trace]


@dataclass(frozen=True)
class Compared:
    """A baseline, and the planner's plan of least overhead within the peak of the baseline.

    Attributes
    ----------
    name : str
        The name of the baseline.
    peak : int
        The simulated total peak of the baseline, bytes.
    theirs, ours : float
        Overheads as shares of the forward pass. ``ours`` is infinite if no plan of the planner fits in ``peak``.
    """

    name: str
    peak: int
    theirs: float
    ours: float

    @property
    def is_lost(self) -> bool:
        """Whether the planner recomputes more than the baseline."""
        return self.ours > self.theirs + 1e-9


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, run the benchmark, print the table, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", help="names in recompviz.networks, or of library models; default: all")
    parser.add_argument("--full", action="store_true", help="networks in the published size, on the meta device")
    parser.add_argument("--llama", action="store_true", help="compare on the Llama of 32 layers")
    parser.add_argument("--library", action="store_true", help="compare on the models of libraries")
    parser.add_argument("--each", action="store_true", help="print a line for each named baseline")
    options = parser.parse_args(arguments)
    print(HEADER)
    losses = 0
    for name, make in _traces(options):
        torch.manual_seed(0)
        try:
            trace = make()
        except (RecompvizError, ImportError) as error:
            print(f"{name:>26} {type(error).__name__}: {str(error).splitlines()[0][:100]}", flush=True)
            continue
        losses += report(name, trace, options.each)
    print(f"{losses} losses")
    return int(losses > 0)


def _traces(options: argparse.Namespace) -> Iterator[tuple[str, MakeTrace]]:
    """Iterate over pairs (name, function that traces this network)."""
    if options.llama:
        yield "llama, 32 layers", lambda: _traced(llama(32, 1024, 2))
    elif options.library:
        for name, make in library_models().items():
            if not options.networks or name in options.networks:
                yield name, make
    else:
        for name in options.networks or networks.NAMES:
            yield name, partial(_network, name, options.full)


def _network(name: str, full: bool) -> rv.Trace:
    if full:
        return _traced(networks.example(name, device="meta"), device="cpu")
    return _traced(networks.example(name, small=True))


def _traced(step: networks.Example, device: str | None = None) -> rv.Trace:
    return rv.trace(step.model, *step.inputs, targets=step.targets, loss=step.loss, device=device)


def report(name: str, trace: rv.Trace, each: bool = False) -> int:
    """Print the row of one trace and return the number of losses; ``each`` is the option ``--each``."""
    start = time.process_time()
    table = trace.plans("live")
    seconds = time.process_time() - start
    made = list(baselines(trace))
    found, final = compared(trace, table, made), compared(trace, trace.plans("live"), made)
    better, lost = ([row for row in rows if row.is_lost] for rows in (found, final))
    worst = max(row.ours - row.theirs for row in final)
    least = trace.plans("live").least_total, min(row.peak for row in final)
    print(
        f"{name:>26} {len(trace.graph):>5} {seconds:>6.1f} s {len(final):>9} {len(better):>6} {len(lost):>6} "
        f"{worst:>8.2%}  " + ", ".join(map(format_bytes, least)),
        flush=True,
    )
    named = [row for row in final if " of " not in row.name]
    for row in named if each else [*better, *lost]:
        mark = "LOST" if row in lost else "better" if row in better else ""
        print(f"{row.name:>45} {format_bytes(row.peak):>12} {row.theirs:>8.2%} | {row.ours:>8.2%} {mark}")
    return len(lost)


def compared(trace: rv.Trace, table: rv.PlanTable, made: Sequence[tuple[str, rv.Plan]]) -> list[Compared]:
    """Compare baselines, given as pairs (name, plan), with a plan table.

    If several baselines keep the same values, only the first is compared.
    """
    model = LiveModel(trace.graph, trace.joint)
    static = sum(trace.joint.static.values())
    overheads = np.array([model.simulate(plan.keep_mask).overhead for plan in table.plans])
    forward = max(float(trace.graph.time.sum()), 1e-300)
    found: dict[bytes, Compared] = {}
    for name, plan in made:
        run = model.simulate(plan.keep_mask)
        fitting = overheads[table.total_peaks <= run.peak + static]
        ours = float(fitting.min()) if len(fitting) else float("inf")
        row = Compared(name, run.peak + static, run.overhead / forward, ours / forward)
        found.setdefault(plan.keep_mask.tobytes(), row)
    return list(found.values())


def baselines(trace: rv.Trace) -> Iterator[tuple[str, rv.Plan]]:
    """Yield a pair (name, plan) for each baseline."""
    for name in (*METHODS, *(f"min-cut {ratio:g}" for ratio in RATIOS)):
        try:
            yield name, trace.baseline(name)
        except RecompvizError:  # for example, the model has no checkpoints of its own
            continue
    yield "keep-nothing", rv.Plan.from_keep_mask(trace.graph, np.zeros(len(trace.graph), np.bool_), "keep-nothing")
    series = {
        "chen": chen_plans(trace.graph),
        "segments": trace.planner.first_plans().plans,
        "time-centric": trace.plans("time").plans,
        "memory-centric": trace.plans("memory").plans,
    }
    for kind, plans in series.items():
        for i, plan in enumerate(plans):
            yield f"{kind}, {i + 1} of {len(plans)}", plan


if __name__ == "__main__":
    raise SystemExit(main())
