"""Measure the memory of one rank: record the allocations and frees of one training step in this process."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.utils import _pytree as pytree

from recompviz.core.base.arguments import expect, shown
from recompviz.core.steps.joint import Category
from recompviz.core.steps.timeline import Timeline
from recompviz.pytorch.internals.collective_buffers import CollectiveBuffers
from recompviz.pytorch.internals.devices.runtimes import runtime
from recompviz.pytorch.internals.memory_window import memory_window
from recompviz.pytorch.internals.profiler import allocation_events
from recompviz.pytorch.internals.sharded_parameters import local_part
from recompviz.pytorch.internals.tensors import storage_key
from recompviz.pytorch.measuring.measured_timeline import measured_timeline
from recompviz.pytorch.measuring.measurement_run import Reading

# names of profiler ranges that say where a block was allocated
_SCOPES = ("rv:", "FSDP::", "DistributedDataParallel", "gloo:", "c10d::", "aten::")


def measure_rank(
    step: Callable[[], Any],
    parameters: Iterable[torch.Tensor],
    *,
    buffers: Iterable[torch.Tensor] = (),
    inputs: Any = (),
    targets: Any = (),
    optimizer: torch.optim.Optimizer | None = None,
    device: str = "cpu",
) -> Timeline:
    """Run one training step of this rank, and record every allocation and free.

    All ranks must call this function at the same time, because the step runs collectives. Run a few training steps
    before, so that the optimizer's state and the buffers of FSDP or DDP exist.

    Parameters
    ----------
    step : callable () → result
        Runs the forward and the backward pass. Clear the gradients before you call this function.
    parameters, buffers, inputs, targets
        The tensors that exist before the step. They count as static memory. Of a sharded tensor, only this rank's part
        counts.
    optimizer : torch.optim.Optimizer, optional
        Its state is counted as static memory.
    device : str
        The device of the rank, for example ``"cuda:0"``.

    Returns
    -------
    Timeline
        A measured timeline. Its ``peak`` is the peak of this rank in total bytes, to compare with the peak of
        :meth:`RankStep.simulate`. The buckets of DistributedDataParallel are missing, because PyTorch does not show
        them. They have as many bytes as all trained parameters; give a tensor of this size in ``buffers``. On the CPU,
        a thread of gloo sometimes holds a buffer for a moment longer than the training step needs it. If the peak
        differs between measurements, take the least one.

    Raises
    ------
    TypeError
        If ``step`` is not callable, or ``parameters`` or ``buffers`` is no iterable of tensors.

    Examples
    --------
    >>> import torch, recompviz as rv
    >>> model, x = torch.nn.Linear(8, 1), torch.zeros(4, 8)
    >>> def step():
    ...     loss = model(x).sum()
    ...     loss.backward()
    ...     return loss
    >>> _ = step()  # warm up
    >>> model.zero_grad()
    >>> rv.measure_rank(step, model.parameters(), inputs=(x,)).static
    164
    """
    if not callable(step):
        raise TypeError(f"step is {shown(step)}, expected a function that runs the forward and the backward pass")
    parameters, buffers = _tensors(parameters, "parameters"), _tensors(buffers, "buffers")
    place = torch.device(device)
    static = {
        category: size
        for category, values in (
            (Category.PARAMETER, parameters),
            (Category.BUFFER, buffers),
            (Category.INPUT, inputs),
            (Category.TARGET, targets),
            (Category.OPTIMIZER, [] if optimizer is None else [dict(state) for state in optimizer.state.values()]),
        )
        if (size := _bytes(values, place))
    }
    gc.collect()
    with memory_window(place) as window, CollectiveBuffers():
        result = step()
    events = [event for event in allocation_events(window.profiled, place.type, _SCOPES) if event.size]
    del result
    return measured_timeline(Reading(events, window.seconds, window.reserved), None, static, device)


def _tensors(values: Any, name: str) -> list[torch.Tensor]:
    then = f"write for example model.{name}()"
    expect(values, Iterable, name, "an iterable of tensors", then)
    found = list(values)
    for value in found:
        expect(value, torch.Tensor, f"an element of {name}", "a tensor", then)
    return found


def _bytes(values: Any, device: torch.device) -> int:
    """Return the bytes of the storages of all tensors in a structure, each once, as the allocator rounds them."""
    sizes: dict[int, int] = {}
    for leaf in pytree.tree_leaves(values):
        if isinstance(leaf, torch.Tensor):
            local = local_part(leaf)
            if local.device.type == device.type:
                sizes[storage_key(local)] = runtime(device).rounded(local.untyped_storage().nbytes())
    return sum(sizes.values())
