"""What else can be had: the same model by the same measurement, and ours at no more memory than each.

Keep-all (eager), ``torch.utils.checkpoint`` around each repeated block, a plan that does the same, Chen's √n, and
what PyTorch's min-cut partitioner saves at several memory budgets, run by our executor. Beside each stands the
plan of least recomputation found whose measured peak is no larger.

    python -m recompviz.benchmarks.neighbours                 # ResNet-50, batch 4, 96²
    python -m recompviz.benchmarks.neighbours gpt2 --small
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import platform
import statistics
import time
from collections.abc import Callable, Iterator

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import recompviz as rv
from recompviz import networks
from recompviz.benchmarks.accuracy import seconds_of
from recompviz.benchmarks.devices import device_name
from recompviz.core.plan import Plan
from recompviz.core.units import format_bytes

RATIOS = (1.0, 0.7, 0.5, 0.3, 0.1, 0.0)
TIMED_STEPS = 5


def main() -> None:
    """Parse the command line, run, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", nargs="?", default="resnet50")
    parser.add_argument("--small", action="store_true", help="the small variant of recompviz.networks")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--pixels", type=int, default=96, help="height and width, where the inputs are images")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.manual_seed(0)
    step = networks.example(options.network, options.batch, options.small, options.device)
    inputs = step.inputs
    if not options.small and inputs[0].dim() == 4 and options.network.startswith("resnet"):
        inputs = (inputs[0][..., : options.pixels, : options.pixels].contiguous(),)
    print(f"{options.network}, batch {len(inputs[0])}, {device_name(options.device)}, torch {torch.__version__}, "
          f"Python {platform.python_version()}")  # fmt: skip
    compare(step, inputs)


def compare(step: networks.Example, inputs: tuple[torch.Tensor, ...]) -> None:
    """Measure every contender and print each beside ours."""
    trace = rv.calibrate(rv.trace(step.model, *inputs, targets=step.targets, loss=step.loss, costs="measured"))
    table = trace.plans("live")
    everything = seconds_of(trace, Plan.keep_all(trace.graph))
    names = ["per-module", "chen", *(f"min-cut {ratio:g}" for ratio in RATIOS)]
    plans = [(name, trace.baseline(name)) for name in names]
    print(f"{'':>22} {'peak (total)':>12} {'step':>8} {'recomputed':>11} │ {'ours: peak':>10} {'step':>8} "
          f"{'recomputed':>11}  verdict")  # fmt: skip
    rows: list[tuple[str, int, float | None, float]] = []
    eager = rv.measure(step.model, *inputs, targets=step.targets, loss=step.loss)
    rows.append(("eager (keep-all)", eager.peak, 0.0, seconds(step.model, inputs, step.targets, step.loss)))
    with checkpointed(step.model) as count:
        peak = rv.measure(step.model, *inputs, targets=step.targets, loss=step.loss).peak
        name = f"checkpoint, {count} blocks"
        rows.append((name, peak, None, seconds(step.model, inputs, step.targets, step.loss)))
    for name, plan in plans:
        module = rv.apply(trace, plan)
        peak = rv.measure(module, *inputs, targets=step.targets).peak
        extra = seconds_of(trace, plan) - everything
        rows.append((name, peak, extra, seconds(module, inputs, step.targets)))
    for name, peak, again, took in rows:
        if peak < table.least_total:
            print(f"{name:>22} {format_bytes(peak):>12} {_ms(took)} {_ms(again)} │ no plan of ours is as small")
            continue
        ours = table.plan(peak)
        module = rv.apply(trace, ours)
        our_peak = rv.measure(module, *inputs, targets=step.targets).peak
        our_again = seconds_of(trace, ours) - everything
        our_took = seconds(module, inputs, step.targets)
        verdict = "—" if again is None else "less" if our_again < again else "equal" if our_again == again else "MORE"
        print(f"{name:>22} {format_bytes(peak):>12} {_ms(took)} {_ms(again)} │ {format_bytes(our_peak):>10} "
              f"{_ms(our_took)} {_ms(our_again)}  {verdict}", flush=True)  # fmt: skip


def seconds(
    module: nn.Module,
    inputs: tuple[torch.Tensor, ...],
    targets: tuple[torch.Tensor, ...],
    loss: Callable[..., torch.Tensor] | None = None,
) -> float:
    """The median time of a training step."""
    times = []
    for _ in range(1 + TIMED_STEPS):
        module.zero_grad()
        start = time.perf_counter()
        value = module(*inputs, *targets) if loss is None else loss(module(*inputs), *targets)
        value.backward()
        if inputs[0].is_cuda:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


@contextlib.contextmanager
def checkpointed(model: nn.Module) -> Iterator[int]:
    """Run each repeated block of a model under ``torch.utils.checkpoint``; yields how many there are."""
    blocks = [
        module
        for name, module in model.named_modules()
        if name.rpartition(".")[2].isdigit() and any(True for _ in module.children())
    ] or [module for module in model.children() if any(True for _ in module.parameters())]
    originals = [block.forward for block in blocks]
    try:
        for block, original in zip(blocks, originals, strict=True):
            block.forward = functools.partial(checkpoint, original, use_reentrant=False)
        yield len(blocks)
    finally:
        for block in blocks:
            del block.forward


def _ms(value: float | None) -> str:
    return f"{'—':>8}   " if value is None else f"{1000 * value:>8.1f} ms"


if __name__ == "__main__":
    main()
