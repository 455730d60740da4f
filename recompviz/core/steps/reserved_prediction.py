"""Predict the memory that PyTorch's caching allocator reserves for a training step, before the step runs.

A model of the allocator serves the allocations and frees of a simulated timeline, in the same order. The training step
is repeated, because the second step finds other free memory than the first step. The repetition ends when the reserved
memory no longer grows, or after four steps.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from recompviz.core.allocator.caching_allocator import CachingAllocator, DeviceFull
from recompviz.core.allocator.reserved_memory import ReservedMemory
from recompviz.core.allocator.settings import AllocatorSettings
from recompviz.core.steps.joint import Category, JointGraph

if TYPE_CHECKING:
    from recompviz.core.steps.timeline import Timeline

# largest number of simulated steps
MOST_STEPS = 4


def with_reserved(
    timeline: Timeline,
    joint: JointGraph,
    settings: AllocatorSettings | None = None,
    device_memory: int | None = None,
) -> Timeline:
    """Return a simulated timeline with a prediction of the memory that the caching allocator reserves.

    Parameters
    ----------
    timeline : Timeline
        The simulated timeline of a step.
    joint : JointGraph
        The joint graph of the step. The static storages of the joint graph are allocated before the first step, in
        their order. The optimizer's state is allocated after the first step only, because an optimizer makes it then.
    settings : AllocatorSettings, optional
        The settings of the allocator. If left out, PyTorch's defaults.
    device_memory : int, optional
        Bytes that can be reserved from the device. If left out, there is no limit.

    Returns
    -------
    Timeline
        The same timeline with the attributes ``reserved`` and ``reserved_peak``. If ``device_memory`` is too small for
        the step, ``reserved.failure`` says so.

    Examples
    --------
    >>> from recompviz.core.steps.examples import chain_step
    >>> from recompviz.core.steps.schedule import make_schedule
    >>> from recompviz.core.steps.simulation import simulate_schedule
    >>> _, joint = chain_step(sizes=[4 << 20, 9 << 20, 9 << 20])
    >>> with_reserved(simulate_schedule(make_schedule(joint, [True] * 3)), joint).reserved
    ReservedMemory(40.0 MiB reserved at the peak, of which 31.0 MiB are allocated; 2 segments)
    """
    static = [storage for storage in joint.storages if storage.maker < 0 and storage.category.static and storage.size]
    early = [storage.size for storage in static if storage.category is not Category.OPTIMIZER]
    late = [storage.size for storage in static if storage.category is Category.OPTIMIZER]
    allocator = CachingAllocator(settings, device_memory)
    reserved = _Steps(allocator, timeline).run(early, late)
    return replace(timeline, reserved=reserved, reserved_peak=reserved.peak)


def with_reserved_on_cuda(timeline: Timeline, joint: JointGraph) -> Timeline:
    """Return a timeline of a CUDA device with a prediction of the reserved memory.

    The settings of the allocator are read from environment variables such as ``PYTORCH_CUDA_ALLOC_CONF``. If they
    contain a setting that the model of the allocator does not know, nothing is predicted, and the timeline gets a note
    that says so. A timeline of another device is returned unchanged. ``joint`` is the joint graph of the step.
    """
    if not timeline.device.lower().startswith("cuda"):
        return timeline
    try:
        settings = AllocatorSettings.from_environment()
    except ValueError as error:
        return replace(timeline, notes=(*timeline.notes, f"reserved memory is not predicted: {error}"))
    return with_reserved(timeline, joint, settings)


class _Steps:
    def __init__(self, allocator: CachingAllocator, timeline: Timeline) -> None:
        self._allocator = allocator
        blocks = zip(timeline.storage.tolist(), timeline.category.tolist(), strict=True)
        self._events = list(zip(blocks, timeline.delta.tolist(), strict=True))
        self._reserved: list[int] = []
        self._allocated: list[int] = []
        self._peak = 0

    def run(self, early: Iterable[int], late: Iterable[int]) -> ReservedMemory:
        allocator = self._allocator
        steps, failed, failure = 0, None, ""
        try:
            for size in early:
                allocator.allocate(size)
            while steps < MOST_STEPS:
                before = self._peak
                steps += 1
                left = self._step()
                if steps == 1:
                    for size in late:  # an optimizer makes its state in its first step
                        allocator.allocate(size)
                    self._peak = max(self._peak, allocator.reserved)
                for address in left:
                    allocator.free(address)
                if steps > 1 and self._peak == before:
                    break
        except DeviceFull as error:
            failure = str(error)
            failed = len(self._reserved)
            missing = len(self._events) - failed
            self._reserved += [allocator.reserved] * missing
            self._allocated += [allocator.allocated] * missing
        return ReservedMemory(
            allocator.settings,
            np.array(self._reserved, np.int64),
            np.array(self._allocated, np.int64),
            max(self._peak, allocator.reserved),
            allocator.fragmentation,
            sum(1 for _ in allocator.segments()),
            steps,
            failed,
            failure,
        )

    def _step(self) -> list[int]:
        """Run the events of one step, and return the addresses of the blocks that are in use after it."""
        allocator, reserved, allocated = self._allocator, self._reserved, self._allocated
        reserved.clear()
        allocated.clear()
        open_blocks: dict[tuple[int, int], list[tuple[int, int]]] = {}  # (bytes, address), the oldest first
        for block, delta in self._events:
            if delta > 0:
                open_blocks.setdefault(block, []).append((delta, allocator.allocate(delta)))
            elif blocks := open_blocks.get(block):
                # a storage may have two blocks: the copy of a gradient, and the old block
                match = next((i for i, (size, _) in enumerate(blocks) if size == -delta), 0)
                allocator.free(blocks.pop(match)[1])
            self._peak = max(self._peak, allocator.reserved)
            reserved.append(allocator.reserved)
            allocated.append(allocator.allocated)
        return [address for blocks in open_blocks.values() for _, address in blocks]
