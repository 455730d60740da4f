"""Compare plans of recompviz with other methods (*neighbours*), with the same model and the same measurement.

The neighbours are eager PyTorch, ``torch.utils.checkpoint`` around each repeated block, PyTorch's activation memory
budget, and the √n algorithm of Chen et al. 2016. The memory budget runs twice: through ``torch.compile`` (without
Inductor, so that the same kernels run), and as a plan that keeps the values that PyTorch's partitioner saves. Each
neighbour is compared with one plan of recompviz ("ours"): the plan of least recomputation that fits into the measured
peak of the neighbour. All training steps are timed in turn, round by round.

    python -m recompviz.benchmarks.neighbours                   # a narrow ResNet-50, batch 4, 96×96
    python -m recompviz.benchmarks.neighbours vit --batch 8     # a small variant
    python -m recompviz.benchmarks.neighbours resnet50 --full --device cuda --batch 64 --json neighbours.json

"recompute" is the calibrated time of the operator calls that run twice. For a neighbour that runs outside recompviz, it
is the time for the plan that keeps the same values.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

import recompviz as rv
from recompviz import networks
from recompviz.benchmarks.checkpointed import Checkpointed, block_paths
from recompviz.benchmarks.side_by_side import about, recompute_seconds, step_seconds, training_step, write_json
from recompviz.core.base.units import format_bytes
from recompviz.pytorch.internals.memory_budget import compiled_in_memory_budget
from recompviz.pytorch.tracing.step import Loss, Step

RATIOS = (1.0, 0.7, 0.5, 0.3, 0.1, 0.0)

HEADER = (
    f"{'neighbour':>22} {'peak (total)':>12} {'step':>9} {'recompute':>10} │ {'ours: peak':>10} {'step':>9}  verdict"
)


@dataclass(frozen=True, eq=False)
class Contender:
    """A method of the comparison.

    Attributes
    ----------
    name : str
        Name of the method.
    module : torch.nn.Module
        The module to call.
    inputs, targets : tuple
        The arguments of the module, and the further arguments of the loss.
    loss : callable or None
        The loss; None if the module returns the loss itself.
    alike : Plan
        The plan of recompviz that keeps the same values as the method.
    """

    name: str
    module: nn.Module
    inputs: tuple[Any, ...]
    targets: tuple[Any, ...]
    loss: Loss | None
    alike: rv.Plan

    def measure(self) -> rv.Timeline:
        """Run one training step and return its measured timeline."""
        return rv.measure(self.module, *self.inputs, targets=self.targets, loss=self.loss)

    @property
    def step(self) -> Callable[[], None]:
        """A function without arguments that runs one training step, for timing."""
        return training_step(self.module, self.inputs, self.targets, self.loss)


@dataclass(frozen=True)
class Row:
    """A neighbour, and the plan of recompviz of least recomputation that fits into the neighbour's measured peak.

    Attributes
    ----------
    neighbour : str
        Name of the method.
    peak : int
        Measured peak of the neighbour, total bytes.
    seconds : float
        Median wall-clock time of a training step of the neighbour, in seconds.
    recompute : float
        Calibrated time of the neighbour's recomputation in a training step, in seconds.
    our_peak, our_seconds, our_recompute : int, float, float, or None
        The same figures for the plan of recompviz; None if no plan fits.
    """

    neighbour: str
    peak: int
    seconds: float
    recompute: float
    our_peak: int | None = None
    our_seconds: float | None = None
    our_recompute: float | None = None

    @property
    def verdict(self) -> str:
        """The ratio of both recomputation times in a few words."""
        if self.our_recompute is None:
            return "no plan of ours fits that peak"
        ours, theirs = 1000 * self.our_recompute, 1000 * self.recompute
        return f"ours at ≤ that peak: recompute {ours:.2f} ms vs theirs {theirs:.2f} ms"

    @property
    def text(self) -> str:
        """The row of the printed table, as one line of text."""
        ours = f"{'—':>10} {'—':>9}"
        if self.our_peak is not None and self.our_seconds is not None:
            ours = f"{format_bytes(self.our_peak):>10} {1000 * self.our_seconds:>6.1f} ms"
        return (
            f"{self.neighbour:>22} {format_bytes(self.peak):>12} {1000 * self.seconds:>6.1f} ms "
            f"{1000 * self.recompute:>7.2f} ms │ {ours}  {self.verdict}"
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, run the benchmark and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", help="a name in recompviz.networks (default: a narrow ResNet-50)")
    parser.add_argument("--full", action="store_true", help="the published size instead of a small one")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=9, help="number of timed steps of each; the median is shown")
    parser.add_argument("--json", type=Path, help="write the rows as data to this file")
    options = parser.parse_args(arguments)
    torch.manual_seed(0)
    if options.name is None:
        step = narrow_resnet50(options.batch, options.device)
    else:
        step = networks.example(options.name, options.batch, small=not options.full, device=options.device)
    print(", ".join(f"{key} {value}" for key, value in about(options.device).items()))
    trace = rv.calibrate(rv.trace(step.model, *step.inputs, targets=step.targets, loss=step.loss), fresh=True)
    trace = trace.with_costs("measured")
    calls = 1000 * sum(trace.joint.seconds)
    print(f"{step.name}, batch {options.batch}: {trace.graph}, all calls once {calls:.1f} ms\n{HEADER}", flush=True)
    rows = compare(trace, list(neighbours(trace, step)), options.rounds)
    print("\n".join(row.text for row in rows))
    met = [row for row in rows if row.our_recompute is not None]
    least = sum((row.our_recompute or 0) <= row.recompute for row in met)
    print(f"a plan of ours fits {len(met)} of {len(rows)} peaks; it recomputes no more than the neighbour in {least}")
    if options.json:
        data = [{**asdict(row), "verdict": row.verdict} for row in rows]
        write_json(options.json, options.device, network=step.name, batch=options.batch, full=options.full, rows=data)


def narrow_resnet50(batch: int = 4, device: str = "cpu", size: int = 96) -> networks.Example:
    """Return a ResNet-50 with a quarter of the channels, and a batch of images of ``size`` × ``size`` pixels."""
    with torch.device(device):
        x, y = torch.randn(batch, 3, size, size), torch.randint(0, 1000, (batch,))
        model = networks.resnet((3, 4, 6, 3), width=16)
        return networks.Example(model, (x,), (y,), networks.classification, f"narrow resnet50, {size}×{size}")


def neighbours(trace: rv.Trace, step: networks.Example) -> Iterator[Contender]:
    """Yield all neighbours, eager PyTorch first."""

    def planned(plan: rv.Plan) -> Contender:
        return Contender(plan.kind, rv.apply(trace, plan), step.inputs, step.targets, None, plan)

    yield Contender("eager", step.model, step.inputs, step.targets, step.loss, trace.baseline("keep-all"))
    checkpointed = Checkpointed(step.model, block_paths(trace))
    yield Contender(
        "checkpoint per block", checkpointed, step.inputs, step.targets, step.loss, trace.baseline("per-module")
    )
    for ratio in RATIOS:
        try:
            plan = trace.baseline(f"min-cut {ratio:g}")
        except rv.PartitionerError as error:
            print(f"left out: {error}")
            continue
        compiled = compiled_in_memory_budget(Step(step.model, step.loss), ratio)
        yield Contender(f"torch.compile {ratio:g}", compiled, (step.inputs, {}, step.targets), (), None, plan)
        yield planned(plan)
    yield planned(trace.baseline("chen"))


def compare(trace: rv.Trace, found: Sequence[Contender], rounds: int) -> list[Row]:
    """Measure each neighbour, and the plan that fits in the neighbour's peak; return a row for each neighbour.

    Parameters
    ----------
    trace : Trace
        A calibrated trace.
    found : sequence of Contender
        The neighbours.
    rounds : int
        Number of timed training steps of each method.
    """
    peaks = [contender.measure().peak for contender in found]
    table = trace.plans("live")
    fitting = [table.row(peak) if peak >= table.least_total else None for peak in peaks]
    distinct = sorted({row for row in fitting if row is not None})
    inputs, _, targets = trace.arguments
    ours = {row: Contender("ours", rv.apply(trace, table.plans[row]), inputs, targets, None, table.plans[row])
            for row in distinct}  # fmt: skip
    took = step_seconds([contender.step for contender in (*found, *ours.values())], rounds)
    our_seconds = dict(zip(distinct, took[len(found) :], strict=True))
    our_peaks = {row: contender.measure().peak for row, contender in ours.items()}
    return [
        Row(contender.name, peak, seconds, recompute_seconds(trace, contender.alike))
        if row is None
        else Row(
            contender.name,
            peak,
            seconds,
            recompute_seconds(trace, contender.alike),
            our_peaks[row],
            our_seconds[row],
            recompute_seconds(trace, table.plans[row]),
        )
        for contender, peak, seconds, row in zip(found, peaks, took[: len(found)], fitting, strict=True)
    ]


if __name__ == "__main__":
    main()
