"""Measure training steps of one network: the peak and the step time of each method.

On the CPU, the batch, the images and the number of channels are smaller than in the paper; on CUDA they are the same.
Operators are calibrated first. Peaks are measured at the allocator. Step times are measured in rounds, with one step of
each method in a round. The time of recomputation is the calibrated time of the operator calls that run twice. Eager
PyTorch and ``torch.utils.checkpoint`` run directly; all other methods run as plans. Checkpoints, PyTorch's memory
budget and Chen's plan are compared with the plan of recompviz that recomputes least within the method's peak.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

import recompviz as rv
from recompviz import networks
from recompviz.benchmarks.checkpointed import Checkpointed, block_paths
from recompviz.benchmarks.neighbours import Contender
from recompviz.benchmarks.paper.methods import CHECKPOINT, CHEN, KEEP_ALL, LIVE, NEIGHBOURS, Say, methods
from recompviz.benchmarks.paper.predicted import really_recomputed
from recompviz.benchmarks.side_by_side import about, recompute_seconds, step_seconds

# batch and image size on the CPU; with all layers and a quarter of the channels, intermediate values take more memory
# than parameters, and a step takes less than a second
REDUCED: dict[str, tuple[int, int]] = {
    "pspnet": (2, 73),
    "unet": (2, 188),
    "resnet50": (4, 96),
    "resnet152": (4, 64),
    "vgg19": (4, 96),
    "densenet161": (4, 64),
    "googlenet": (8, 96),
}
# U-Net's convolutions are not padded: its output has this number of pixels less than its input, in each direction.
UNET_BORDER = 184
EAGER = "eager"
# The methods of a quick run.
QUICK = (KEEP_ALL, CHEN, "exact, memory-centric", CHECKPOINT, "memory budget 0.5", LIVE)


def example(name: str, small: bool, device: str, batch: int | None) -> networks.Example:
    """Return the network with a batch and a loss; on the CPU, sizes are smaller than in the paper."""
    torch.manual_seed(0)
    if small or device != "cpu":
        return networks.example(name, batch or (4 if small else None), small=small, device=device)
    usual, size = REDUCED[name]
    count = batch or usual
    published = networks.example(name, 1, device="meta")
    models: dict[str, Callable[[], nn.Module]] = {
        "pspnet": lambda: networks.pspnet(width=16),
        "unet": lambda: networks.unet(width=16),
        "resnet50": lambda: networks.resnet((3, 4, 6, 3), width=16),
        "resnet152": lambda: networks.resnet((3, 8, 36, 3), width=16),
        "vgg19": lambda: networks.vgg(width=16, hidden=1024, image_size=size),
        "densenet161": lambda: networks.densenet((6, 12, 36, 24), growth=12, width=24),
        "googlenet": lambda: networks.googlenet(narrow=4, image_size=size),
    }
    out = (size - UNET_BORDER if name == "unet" else size,) * (published.targets[0].dim() - 1)
    classes = {"pspnet": 17, "unet": 2}.get(name, 1000)
    inputs = (torch.randn(count, published.inputs[0].shape[1], size, size),)
    return networks.Example(models[name](), inputs, (torch.randint(0, classes, (count, *out)),), published.loss, name)


def run(name: str, small: bool, device: str, batch: int | None, rounds: int, quick: bool, say: Say) -> dict[str, Any]:
    """Measure one network on one device and return the data, as stored in ``results/data``.

    Parameters
    ----------
    name : str
        Name in :mod:`recompviz.networks`.
    small : bool
        Whether to use the small variant.
    device : str
        ``"cpu"`` or ``"cuda"``.
    batch : int or None
        Batch size; None for the paper's on CUDA, and for a smaller fixed one on the CPU or with ``small``.
    rounds : int
        Number of timed training steps of each method.
    quick : bool
        Whether to run the methods of ``QUICK`` only.
    say : callable
        Prints progress.
    """
    step = example(name, small, device, batch)
    trace = rv.calibrate(
        rv.trace(step.model, *step.inputs, targets=step.targets, loss=step.loss, costs="paper"), fresh=True
    )
    say(f"calibrated: {trace.graph}, all calls once {sum(trace.joint.seconds):.2f} s")
    plans = methods(trace, say)
    if quick:
        plans = {method: plan for method, plan in plans.items() if method in QUICK}
    timed = trace.with_costs("measured")
    alike = {EAGER: plans[KEEP_ALL], **plans}
    runners = contenders(trace, step, alike)
    first = {method: firsts(runners)[identity(contender)] for method, contender in runners.items()}
    runners = {method: contender for method, contender in runners.items() if first[method] == method}
    peaks = measured_peaks(runners, first, say)
    table = timed.plans("live")
    within = {
        method: table.row(peaks[method])
        for method in NEIGHBOURS
        if method in peaks and peaks[method] >= table.least_total
    }
    ours = {row: planned(timed, step, table.plans[row]) for row in sorted(set(within.values()))}
    our_peaks = {row: contender.measure().peak for row, contender in ours.items()}
    say(f"measured: ours within {len(within)} peaks; timing {len(runners) + len(ours)} steps in turn")
    took = step_seconds([contender.step for contender in (*runners.values(), *ours.values())], rounds)
    seconds = dict(zip(runners, took[: len(runners)], strict=True))
    our_seconds = dict(zip(ours, took[len(runners) :], strict=True))
    rows = {
        method: row_of(trace, method, plan, peaks[method], seconds[first[method]]) for method, plan in alike.items()
    }
    our_rows = {
        row: {
            "ours_measured": our_peaks[row],
            "ours_seconds": our_seconds[row],
            "ours_recompute_seconds": recompute_seconds(timed, table.plans[row]),
        }
        for row in ours
    }
    return data_of(step, trace, device) | {
        "rows": list(rows.values()),
        "at_equal_peak": [beside(rows[m], our_rows.get(within.get(m, -1))) for m in NEIGHBOURS if m in rows],
        "curve": [
            [sum(trace.joint.seconds) + recompute_seconds(timed, plan), int(peak)]
            for plan, peak in zip(table.plans, table.total_peaks.tolist(), strict=True)
        ],
    }


def measured_peaks(runners: dict[str, Contender], first: dict[str, str], say: Say) -> dict[str, int]:
    """Return the measured peak of each method in total bytes.

    ``first`` maps each method to the first method that runs the same plan. Such methods share one measurement.
    """
    peaks: dict[str, int] = {}
    for method, same in first.items():
        peaks[method] = peaks[same] if same in peaks else runners[method].measure().peak
        say(f"measured: {method} {peaks[method] / 1e6:,.0f} MB")
    return peaks


def row_of(trace: rv.Trace, method: str, plan: rv.Plan, peak: int, seconds: float) -> dict[str, Any]:
    """Return the row of a method; ``peak`` is its measured peak in total bytes, ``seconds`` the time of a step."""
    return {
        "method": method,
        "formula": plan.peak,
        "simulated": rv.simulate(trace, plan).peak,
        "measured": peak,
        "seconds": seconds,
        "overhead": really_recomputed(trace, plan),
        "recompute_seconds": recompute_seconds(trace, plan),
    }


def beside(row: dict[str, Any], ours: dict[str, Any] | None) -> dict[str, Any]:
    """Return one row from the row of a method and ``ours``: the row of a plan of recompviz, or None."""
    missing = dict.fromkeys(("ours_measured", "ours_seconds", "ours_recompute_seconds"))
    return {name: row[name] for name in ("method", "measured", "seconds", "recompute_seconds")} | (ours or missing)


def data_of(step: networks.Example, trace: rv.Trace, device: str) -> dict[str, Any]:
    """Return the data of one measurement: machine, batch, memory and time."""
    return {
        **about(device),
        "batch": len(step.inputs[0]),
        "image": "×".join(map(str, step.inputs[0].shape[1:])),
        "load": round(os.getloadavg()[1], 1) if hasattr(os, "getloadavg") else None,
        "static": rv.simulate(trace).static,
        "call_seconds": sum(trace.joint.seconds),
    }


def identity(contender: Contender) -> object:
    """Return a value that is equal for methods that run the same plan."""
    return contender.alike.keep_mask.tobytes() if isinstance(contender.module, rv.PlannedModule) else contender.name


def firsts(runners: dict[str, Contender]) -> dict[object, str]:
    """Return for each distinct :func:`identity` the name of the first method that has it."""
    return {identity(contender): method for method, contender in reversed(runners.items())}


def planned(trace: rv.Trace, step: networks.Example, plan: rv.Plan) -> Contender:
    """Return a method of the comparison that runs a plan of recompviz."""
    return Contender(plan.kind, rv.apply(trace, plan), step.inputs, step.targets, None, plan)


def contenders(trace: rv.Trace, step: networks.Example, plans: dict[str, rv.Plan]) -> dict[str, Contender]:
    """Return each method of the comparison by its name."""
    found: dict[str, Contender] = {}
    for method, plan in plans.items():
        if method == EAGER:
            found[method] = Contender(method, step.model, step.inputs, step.targets, step.loss, plan)
        elif method == CHECKPOINT:
            module = Checkpointed(step.model, block_paths(trace))
            found[method] = Contender(method, module, step.inputs, step.targets, step.loss, plan)
        else:
            found[method] = planned(trace, step, plan)
    return found
