"""Measure the step time of plans and of baselines that need at least as much memory.

A network is traced and calibrated, so that costs are measured times. For each baseline, the planner's plan for the
simulated peak of the baseline is run beside it. All steps run in the same process. Each round runs one step that keeps
every value, one step of the baseline and one of the plan, in changing order. Columns:

  peak                 simulated peak of the baseline and of the plan, total bytes
  predicted            recomputation of the baseline and of the plan by the calibrated costs, milliseconds
  measured             processor time of a step minus that of the keep-all plan, milliseconds: median of all rounds
  step                 ratio of processor times of a step, plan / baseline: median and quartiles of all rounds

Baselines are checkpoints around the repeated blocks (``per-module``), Chen's plan, and PyTorch's min-cut partitioner.

    python -m recompviz.benchmarks.step_times                      # three networks
    python -m recompviz.benchmarks.step_times gpt2 --rounds 40
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from collections.abc import Iterator, Sequence

import torch

import recompviz as rv
from recompviz import networks
from recompviz.benchmarks.overhead import Step, real, training_step
from recompviz.benchmarks.side_by_side import device_name
from recompviz.core.base.errors import RecompvizError
from recompviz.core.base.units import format_bytes
from recompviz.core.live.model import LiveModel

HEADER = (
    f"{'network':>10} {'baseline':>12} {'keep-all':>10} {'peaks':>23} {'predicted':>15} {'measured':>15} {'step':>22}"
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, run the benchmark and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=["resnet50", "unet", "gpt2"], help="names in recompviz.networks")
    parser.add_argument("--rounds", type=int, default=15, help="steps of each plan")
    options = parser.parse_args(arguments)
    print(f"{device_name('cpu')}, torch {torch.__version__}: processor time")
    print(HEADER)
    for name in options.networks:
        report(name, options.rounds)


def report(name: str, rounds: int) -> None:
    """Measure one network and print a row for each baseline."""
    torch.manual_seed(0)
    step = real(name)
    trace = rv.calibrate(rv.trace(step.model, *step.inputs, targets=step.targets, loss=step.loss))
    model, keep_all = LiveModel(trace.graph, trace.joint), trace.baseline("keep-all")
    for baseline, plan in _baselines(trace):
        simulated = rv.simulate(trace, plan)
        ours = trace.plan(simulated.peak)
        peaks = f"{format_bytes(simulated.peak)} {format_bytes(rv.simulate(trace, ours).peak)}"
        costs = [model.simulate(each.keep_mask).overhead for each in (plan, ours)]
        steps = [_step(step, trace, each) for each in (keep_all, plan, ours)]
        times = measured(steps, rounds)
        extra = [statistics.median(a - b for a, b in zip(each, times[0], strict=True)) for each in times[1:]]
        low, middle, high = statistics.quantiles(
            [b / a for a, b in zip(*times[1:], strict=True)], n=4, method="inclusive"
        )
        print(
            f"{name:>10} {baseline:>12} {1000 * statistics.median(times[0]):>7.1f} ms {peaks:>23} "
            f"{costs[0]:>7.1f} {costs[1]:>7.1f} {1000 * extra[0]:>7.1f} {1000 * extra[1]:>7.1f} "
            f"{middle:>7.3f} ({low:.3f}–{high:.3f})",
            flush=True,
        )


def _baselines(trace: rv.Trace) -> Iterator[tuple[str, rv.Plan]]:
    for name in ("per-module", "chen", "min-cut 0.5"):
        try:
            yield name, trace.baseline(name)
        except RecompvizError:  # for example, no blocks are repeated
            continue


def _step(step: networks.Example, trace: rv.Trace, plan: rv.Plan) -> Step:
    """Return a function that runs one training step of a plan."""
    planned = rv.apply(trace, plan)
    return training_step(step.model, lambda: planned(*step.inputs, *step.targets))


def measured(steps: Sequence[Step], rounds: int) -> list[list[float]]:
    """Run the steps in turn for ``rounds`` rounds; return the processor times of each in seconds."""
    for step in steps:
        step()
        step()
    gc.collect()
    times: list[list[float]] = [[] for _ in steps]
    for each in range(rounds):
        for k in range(len(steps)):
            at = (each + k) % len(steps)
            start = time.process_time()
            steps[at]()
            times[at].append(time.process_time() - start)
    return times


if __name__ == "__main__":
    main()
