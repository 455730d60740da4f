"""Compare plans of recompviz with PyTorch's activation memory budget, on a Llama of 32 layers and on a BERT.

    python -m recompviz.benchmarks.beside_pytorch                             # both models, hours on two CPU cores
    python -m recompviz.benchmarks.beside_pytorch llama --layers 4 --length 128 --budgets 5
    python -m recompviz.benchmarks.beside_pytorch --engines operators decomposed inductor --json beside.json
    python -m recompviz.benchmarks.beside_pytorch llama --layers 4 --length 256 --inductor

The first table has measured training steps under PyTorch's ``activation_memory_budget``, for values from 1 to 0. The
second table has measured training steps of recompviz under memory limits (*totals*). The largest total keeps every
value, and the smallest one is the least possible total. The third table compares each step of the first table with two
plans of recompviz. One is the plan of least recomputation whose peak is no higher than the peak of the step. The other
is the plan of least peak that recomputes no longer than the step.

"recompute" is the processor time of the operators that run twice. Each operator is timed once for each combination of
shapes and strides, and both sides use these times. Peaks are total bytes.

With ``--inductor`` there is one table instead: training steps that Inductor runs under totals of ``rv.Partitioner``,
each compiled anew. The loss is inside the model. Peaks are predicted before anything is measured. The times of
recomputation are estimates by a roofline.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from recompviz import networks
from recompviz.benchmarks.beside_pytorch.inductor import InductorStep, inductor_steps
from recompviz.benchmarks.beside_pytorch.models import MODELS
from recompviz.benchmarks.beside_pytorch.operator_times import OperatorTimes
from recompviz.benchmarks.beside_pytorch.steps import OurStep, OurSteps, Planned, TheirStep, first_step, their_step
from recompviz.benchmarks.side_by_side import about, write_json
from recompviz.pytorch.internals.memory_budget import Engine

ENGINES: tuple[Engine, ...] = ("operators", "decomposed", "inductor")


@dataclass(frozen=True)
class Beside:
    """A training step under PyTorch's memory budget, and the two plans of recompviz that it is compared with.

    Attributes
    ----------
    theirs : TheirStep
        The step under PyTorch's activation memory budget.
    within_peak : Planned or None
        The plan of least recomputation whose peak is at most that of ``theirs``; None if there is none.
    within_time : Planned or None
        The plan of least peak that recomputes at most as long as ``theirs``; None if there is none.
    """

    theirs: TheirStep
    within_peak: Planned | None
    within_time: Planned | None


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, run the comparison and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", help=f"some of {', '.join(MODELS)} (default: all)")
    parser.add_argument("--layers", type=int, help="number of layers (default: 32 and 12)")
    parser.add_argument("--length", type=int, help="tokens in a sequence (default: 1024 and 512)")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--budgets", type=int, default=15, help="number of budgets, and of PyTorch's ratios")
    parser.add_argument("--engines", nargs="*", choices=ENGINES, default=["operators", "decomposed"])
    parser.add_argument("--inductor", action="store_true", help="only the table of rv.Partitioner")
    parser.add_argument("--json", type=Path, help="write the rows as data to this file")
    options = parser.parse_args(arguments)
    print(", ".join(f"{key} {value}" for key, value in about("cpu").items()))
    data: dict[str, dict[str, object]] = {}
    for name in options.models or MODELS:
        build, layers, length = MODELS[name]
        torch.manual_seed(0)
        example = build(options.layers or layers, options.length or length, options.batch)
        parameters = sum(parameter.numel() for parameter in example.model.parameters())
        print(
            f"\n{name}: {options.layers or layers} layers, {tuple(example.inputs[0].shape)}, {parameters:,} parameters"
        )
        if options.inductor:
            data[name] = {"inductor": partition(example, options.budgets)}
        else:
            data[name] = compare(example, options.budgets, options.engines)
    if options.json:
        write_json(options.json, "cpu", **data)


def compare(example: networks.Example, count: int, engines: Sequence[Engine]) -> dict[str, object]:
    """Measure one model under PyTorch's memory budgets and under memory limits of recompviz, and print the tables.

    Parameters
    ----------
    example : networks.Example
        The model with a batch and a loss.
    count : int
        Number of PyTorch's budgets for each engine, and number of memory limits.
    engines : sequence of Engine
        The compiler settings for PyTorch's budget.

    Returns
    -------
    dict
        All results, for a JSON file.
    """
    start = time.process_time()
    times = OperatorTimes()
    # PyTorch's steps first: each compilation makes Dynamo forget the graphs before
    theirs = []
    for engine in engines:
        for ratio in np.linspace(1, 0, count).tolist():
            theirs.append(their_step(example, ratio, engine, times))
            print(_their_row(theirs[-1]), flush=True)
    print(f"PyTorch's steps: {time.process_time() - start:.0f} s of processor time")

    ours = OurSteps(example, times)
    print(
        f"\nours: all forward operators once take {_ms(ours.forward)}; three steps with compilation and plans took "
        f"{ours.seconds:.0f} s of processor time\n{'budget':>12} {'predicted':>12} {'measured':>12} {'recompute':>12}"
    )
    steps = []
    for total in np.linspace(ours.keep_all, ours.least, count).astype(int).tolist():
        steps.append(ours.at(total))
        print(_row(steps[-1]), flush=True)
    print(_verdict(steps))

    print(f"\n{'PyTorch':>16} {'peak':>11} {'recompute':>18} │ ours within its peak     │ with no more recomputation")
    rows = [Beside(step, ours.within_peak(step.measured), ours.within_time(step.recomputed)) for step in theirs]
    print("\n".join(map(_beside_row, rows)))
    best = []
    for engine in engines:
        row = min((row for row in rows if row.theirs.engine == engine), key=lambda row: row.theirs.measured)
        best.append(None if row.within_time is None else ours.at(row.within_time.peak))
        print(_best(row.theirs, best[-1]))
    print(_counts(rows))

    first = first_step(example, ours.least)
    text = "refused" if first is None else _mb(first)
    print(f"the first step, compiled anew for the least total {_mb(ours.least)}: {text}")
    print(f"processor time: {time.process_time() - start:.0f} s")
    return {
        "ours": [asdict(step) for step in steps],
        "best": [None if step is None else asdict(step) for step in best],
        "first_step": first,
        "beside": [asdict(row) for row in rows],
        "plans": [asdict(plan) for plan in ours.plans],
        "forward_seconds": ours.forward,
    }


def partition(example: networks.Example, count: int) -> list[dict[str, object]]:
    """Print a table of training steps in Inductor under ``count`` memory limits; return its rows as dictionaries."""
    print(f"{'total':>14} {'predicted':>12} {'measured':>12} {'split':>8} {'recompute':>12} {'compiled in':>12}")
    steps = []
    for step in inductor_steps(example, count):
        steps.append(step)
        print(_inductor_row(step), flush=True)
    within = sum(step.measured <= step.total for step in steps)
    furthest = max(abs(step.measured / step.predicted - 1) for step in steps)
    rises = sum(later.measured > earlier.measured for earlier, later in pairwise(steps))
    print(
        f"{within} of {len(steps)} within the total, predictions within {furthest:.2%}, the measured peak rises "
        f"{rises} times when the total falls"
    )
    return [asdict(step) for step in steps]


def _inductor_row(step: InductorStep) -> str:
    return (
        f"{_mb(step.total):>14} {_mb(step.predicted):>12} {_mb(step.measured):>12} {step.kind:>8} "
        f"{_ms(step.recomputed):>12} {step.seconds:>10.0f} s"
        f"{'' if step.measured <= step.total else '  ABOVE THE TOTAL'}"
    )


def _verdict(steps: Sequence[OurStep]) -> str:
    within = sum(step.measured <= step.budget for step in steps)
    exact = sum(step.measured == step.predicted for step in steps)
    falling = all(a.measured >= b.measured for a, b in pairwise(steps))
    return (
        f"{within} of {len(steps)} within the budget, {exact} as predicted to the byte, "
        f"peaks {'never rise' if falling else 'RISE'} when the budget falls"
    )


def _best(theirs: TheirStep, mine: OurStep | None) -> str:
    own = (
        "no plan of ours recomputes so little" if mine is None else f"{_mb(mine.measured)} with {_ms(mine.recomputed)}"
    )
    return (
        f"{theirs.engine}: the least peak of PyTorch's is {_mb(theirs.measured)} with {_ms(theirs.recomputed)}; "
        f"ours with no more recomputation, measured: {own}"
    )


def _counts(rows: Sequence[Beside]) -> str:
    cheaper = sum(row.within_peak is not None and row.within_peak.recomputed <= row.theirs.recomputed for row in rows)
    lower = sum(row.within_time is not None and row.within_time.peak <= row.theirs.measured for row in rows)
    rises = sum(b.theirs.measured > a.theirs.measured for a, b in pairwise(rows) if a.theirs.engine == b.theirs.engine)
    return (
        f"ours recomputes no more within the same peak in {cheaper} of {len(rows)} rows, and has no higher peak with "
        f"no more recomputation in {lower}; PyTorch's peak rises {rises} times when its budget falls"
    )


def _row(step: OurStep) -> str:
    return (
        f"{_mb(step.budget):>12} {_mb(step.predicted):>12} {_mb(step.measured):>12} {_ms(step.recomputed):>12}"
        f"{'' if step.measured == step.predicted else f'  differs by {step.measured - step.predicted:+,} bytes'}"
        f"{'' if step.measured <= step.budget else '  ABOVE THE BUDGET'}"
    )


def _their_row(step: TheirStep) -> str:
    return (
        f"{step.engine:>10} {step.ratio:>5.3f} {_mb(step.measured):>11} {_ms(step.recomputed):>11} {step.share:>6.1%}"
    )


def _beside_row(row: Beside) -> str:
    text = _their_row(row.theirs)
    for step in (row.within_peak, row.within_time):
        text += f" │ {'—':>24}" if step is None else f" │ {_mb(step.peak):>11} {_ms(step.recomputed):>12}"
    return text


def _mb(size: int) -> str:
    return f"{size / 1e6:.2f} MB"


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.2f} ms"


if __name__ == "__main__":
    main()
