"""Predict the largest batch that fits into a device: the paper's figure of step time against batch size.

Two traces of a network at different batch sizes have the same calls and storages, and every size is a linear function
of the batch size. Two traces are therefore enough to simulate any batch size. Each batch size uses the plan of least
recomputation that fits into the memory of the paper's K40c. The time of a training step is a lower bound, from the
K40c's roofline for all operator calls, recomputed ones included.

Source: Kusumoto et al. 2019, section 5.2.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from typing import Any

import numpy as np

import recompviz as rv
from recompviz import networks
from recompviz.benchmarks.paper.methods import CHECKPOINT, CHEN, KEEP_ALL, LIVE, Say, least_memory_chen
from recompviz.benchmarks.paper.reported import K40C
from recompviz.core.live.model import LiveModel
from recompviz.core.steps.joint import JointGraph
from recompviz.pytorch.tracing.costs import Roofline, bytes_moved, flops

SHOWN = ("resnet152", "densenet161", "pspnet")
# NVIDIA's data sheet: 4.29 TFLOP/s in single precision, 288 GB/s
K40C_ROOFLINE = Roofline(flops_per_second=4.29e12, bytes_per_second=288e9)
# The memory limit for small variants, as a multiple of keep-all's peak. The memory of the device would fit any batch.
SMALL_ROOM = 3


def joint_at(first: JointGraph, second: JointGraph, batches: tuple[int, int], batch: int) -> JointGraph:
    """Return the joint graph at another batch size: sizes are extrapolated linearly from two batch sizes.

    Parameters
    ----------
    first, second : JointGraph
        The joint graphs of the same network at two batch sizes.
    batches : (int, int)
        The batch sizes of ``first`` and ``second``.
    batch : int
        The batch size of the result.

    Raises
    ------
    ValueError
        If the two joint graphs have different calls.
    """
    if [(c.reads, c.makes) for c in first.calls] != [(c.reads, c.makes) for c in second.calls]:
        raise ValueError(
            "the two traces have different calls, so sizes cannot be extrapolated; trace the same model twice"
        )
    a, b = batches

    def at(x: int, y: int) -> int:
        return x + (y - x) * (batch - a) // (b - a)

    storages = tuple(replace(s, size=at(s.size, t.size)) for s, t in zip(first.storages, second.storages, strict=True))
    clones = tuple((s, at(size, other)) for (s, size), (_, other) in zip(first.clones, second.clones, strict=True))
    return replace(first, storages=storages, clones=clones)


def traced(name: str, batch: int, small: bool) -> rv.Trace:
    """Return the trace of a training step on the meta device, with the sizes that CUDA's allocator uses."""
    step = networks.example(name, batch, small=small, device="meta")
    return rv.trace(step.model, *step.inputs, targets=step.targets, loss=step.loss, device="cuda", costs="paper")


def batch_sizes(name: str, small: bool, say: Say) -> dict[str, Any]:
    """Return the data of one network: the largest batch of each method, and one curve for each method.

    A curve is a list of [batch size, milliseconds per sample, simulated peak in total bytes]. ``small`` chooses the
    small variant of the network, and ``say`` prints progress.
    """
    base = traced(name, networks.example(name, small=small, device="meta").inputs[0].shape[0], small)
    b = len(base.arguments[0][0])
    other = traced(name, 2 * b, small)
    memory = SMALL_ROOM * rv.simulate(base).peak if small else K40C
    say(f"traced at batch {b} and {2 * b}")
    costs = [
        [1000 * K40C_ROOFLINE.seconds(flops(node), bytes_moved(node)) for node in t.folded.call_node]
        for t in (base, other)
    ]
    live = [plan.keep_mask for plan in base.plans("live").plans]
    masks = {
        KEEP_ALL: [np.ones(len(base.graph), np.bool_)],
        CHECKPOINT: [base.baseline("per-module").keep_mask],
        CHEN: [least_memory_chen(base).keep_mask],
        LIVE: live,
    }
    twice = {method: [sorted(base.schedule(plan_of(base, kept)).recomputed) for kept in found]
             for method, found in masks.items()}  # fmt: skip
    curves: dict[str, list[list[float]]] = {method: [] for method in masks}
    largest: dict[str, int] = dict.fromkeys(masks, 0)
    for batch in _rising(b):
        model = LiveModel(base.graph, joint_at(base.joint, other.joint, (b, 2 * b), batch))
        static = sum(model.joint.static.values())
        share = (batch - b) / b
        calls = [max(0.0, x + (y - x) * share) for x, y in zip(*costs, strict=True)]
        fits = False
        for method, found in masks.items():
            if batch > b and largest[method] < _before(batch, b):
                continue  # did not fit at the previous batch
            peaks = [model.peak(kept) + static for kept in found]
            again = [sum(calls[c] for c in some) for some in twice[method]]
            best = min((k for k in range(len(found)) if peaks[k] <= memory), key=lambda k: again[k], default=None)
            if best is not None:
                fits, largest[method] = True, batch
                curves[method].append([batch, (sum(calls) + again[best]) / batch, peaks[best]])
        if not fits:
            break
    say(f"largest batches in {memory / 1e9:g} GB: {largest}")
    return {"memory": memory, "roofline": [4.29e12, 288e9], "curves": curves, "largest": largest}


def plan_of(trace: rv.Trace, kept: Any) -> rv.Plan:
    """Return the plan for a keep mask."""
    return rv.Plan.from_keep_mask(trace.graph, kept, "batch")


def _step(batch: int) -> int:
    return max(1, batch // 4)


def _rising(batch: int) -> Iterator[int]:
    """Iterate over the batch sizes to try: multiples of a quarter of ``batch``."""
    return (k * _step(batch) for k in count(1))


def _before(batch: int, first: int) -> int:
    return batch - _step(first)
