"""Real steps: each method's simulated and measured peak, measured step time, and ours at each neighbour's peak.

On the CPU at a reduced batch, and U-Net and PSPNet on smaller images, so that a step takes seconds; on CUDA at the
paper's. Operators are calibrated afresh. The measured peak is the allocator's; steps are timed in turn, round by
round; recomputation is the calibrated time of the calls that a plan's schedule runs twice. Eager PyTorch and
``torch.utils.checkpoint`` run by themselves, everything else as a plan.
"""

from __future__ import annotations

from typing import Any

import torch

import recompviz as rv
from recompviz import networks
from recompviz.benchmarks.checkpointed import Checkpointed, block_paths
from recompviz.benchmarks.neighbours import Contender
from recompviz.benchmarks.paper.methods import CHECKPOINT, KEEP_ALL, NEIGHBOURS, Say, methods
from recompviz.benchmarks.paper.predicted import really_recomputed
from recompviz.benchmarks.side_by_side import about, recompute_seconds, step_seconds

# on the CPU: the batch, and the size of images that are not the paper's
REDUCED: dict[str, tuple[int, int | None]] = {
    "pspnet": (2, 121),
    "unet": (1, 252),
    "resnet50": (2, None),
    "resnet152": (2, None),
    "vgg19": (1, None),
    "densenet161": (2, None),
    "googlenet": (4, None),
}
# U-Net's convolutions are not padded: what comes out is so much smaller
UNET_BORDER = 184
EAGER = "eager"


def example(name: str, small: bool, device: str, batch: int | None) -> networks.Example:
    """The step to run: the paper's on CUDA, reduced on the CPU, unless a batch is given."""
    torch.manual_seed(0)
    reduced, size = REDUCED[name] if device == "cpu" and not small else (None, None)
    step = networks.example(name, batch or reduced or (4 if small else None), small=small, device=device)
    if size is None:
        return step
    count, channels = step.inputs[0].shape[:2]
    out = size - UNET_BORDER if name == "unet" else size
    inputs = (torch.randn(count, channels, size, size),)
    targets = (torch.randint(0, int(step.targets[0].max()) + 1, (count, out, out)),)
    return networks.Example(step.model, inputs, targets, step.loss, step.name)


def run(name: str, small: bool, device: str, batch: int | None, rounds: int, say: Say) -> dict[str, Any]:
    """One network's figures on one device, as data."""
    step = example(name, small, device, batch)
    trace = rv.calibrate(rv.trace(step.model, *step.inputs, targets=step.targets, loss=step.loss), fresh=True)
    say(f"calibrated: {trace.graph}, all calls once {sum(trace.joint.seconds):.2f} s")
    plans = methods(trace, say)
    timed = trace.with_costs("measured")
    alike = {EAGER: plans[KEEP_ALL], **plans}
    peaks = {}
    runners = contenders(trace, step, alike)
    for method, contender in runners.items():
        peaks[method] = contender.measure().peak
        say(f"measured: {method} {peaks[method] / 1e6:,.0f} MB")
    table = timed.plans("live")
    fitting = {
        method: table.row(peaks[method])
        for method in NEIGHBOURS
        if method in peaks and peaks[method] >= table.least_total
    }
    ours = {row: planned(timed, step, table.plans[row]) for row in sorted(set(fitting.values()))}
    our_peaks = {row: contender.measure().peak for row, contender in ours.items()}
    say(f"measured: ours within {len(fitting)} peaks; timing {len(runners) + len(ours)} steps in turn")
    took = step_seconds([contender.step for contender in (*runners.values(), *ours.values())], rounds)
    seconds = dict(zip([*runners, *ours], took, strict=True))
    rows = [
        {
            "method": method,
            "formula": plan.peak,
            "simulated": rv.simulate(trace, plan).peak,
            "measured": peaks[method],
            "seconds": seconds[method],
            "overhead": really_recomputed(trace, plan),
            "recompute_seconds": recompute_seconds(trace, plan),
        }
        for method, plan in alike.items()
    ]
    against = [
        {
            "method": method,
            "measured": peaks[method],
            "seconds": seconds[method],
            "recompute_seconds": recompute_seconds(trace, alike[method]),
            "ours_measured": our_peaks.get(row) if (row := fitting.get(method)) is not None else None,
            "ours_seconds": seconds[row] if row is not None else None,
            "ours_recompute_seconds": recompute_seconds(timed, table.plans[row]) if row is not None else None,
        }
        for method in NEIGHBOURS
        if method in peaks
    ]
    return {
        **about(device),
        "batch": len(step.inputs[0]),
        "image": "×".join(map(str, step.inputs[0].shape[1:])),
        "static": rv.simulate(trace).static,
        "call_seconds": sum(trace.joint.seconds),
        "rows": rows,
        "at_equal_peak": against,
        "curve": [
            [sum(trace.joint.seconds) + recompute_seconds(timed, plan), int(peak)]
            for plan, peak in zip(table.plans, table.total_peaks.tolist(), strict=True)
        ],
    }


def planned(trace: rv.Trace, step: networks.Example, plan: rv.Plan) -> Contender:
    """A plan, ready to run."""
    return Contender(plan.kind, rv.apply(trace, plan), step.inputs, step.targets, None, plan)


def contenders(trace: rv.Trace, step: networks.Example, plans: dict[str, rv.Plan]) -> dict[str, Contender]:
    """What runs each method."""
    found = {}
    for method, plan in plans.items():
        if method == EAGER:
            found[method] = Contender(method, step.model, step.inputs, step.targets, step.loss, plan)
        elif method == CHECKPOINT:
            module = Checkpointed(step.model, block_paths(trace))
            found[method] = Contender(method, module, step.inputs, step.targets, step.loss, plan)
        else:
            found[method] = planned(trace, step, plan)
    return found
