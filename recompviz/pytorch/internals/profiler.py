"""Allocations, frees and named ranges that PyTorch's profiler records.

Private PyTorch used here: ``torch._C._profiler`` (``_RecordFunctionFast``, ``_EventType``),
``profile.profiler.kineto_results``, ``extra_fields.inputs`` of its events, ``torch._C._autograd._disable_profiler``,
``torch.autograd.profiler._run_on_profiler_stop`` and ``torch.autograd.profiler._is_profiler_enabled``. Tried on torch
2.11.0, 2.12.1, 2.13.0 and 2.14.1, on the CPU.
"""

from __future__ import annotations

import contextlib
import os
from typing import Any

import torch

from recompviz.core.steps.allocations import AllocationEvent

__all__ = [
    "allocation_events",
    "named_range",
    "older_reads",
    "prepare_profiler",
    "profiler_runs",
    "quiet_profiler",
    "stop_profiler",
]


def named_range(name: str) -> contextlib.AbstractContextManager[None]:
    """Return a context manager that the profiler records as a named range. It takes a few hundred nanoseconds."""
    return torch._C._profiler._RecordFunctionFast(name)


def quiet_profiler() -> None:
    """Keep Kineto, the library of ``torch.profiler``, from writing to stderr, unless ``KINETO_LOG_LEVEL`` is set.

    Call this before the profiler's first use in the process.
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")


def prepare_profiler() -> None:
    """Load the profiler's library in the current thread, which should be the thread that imported torch.

    If another thread uses the profiler first, the library writes an error to stderr, and a notebook shows it under the
    cell. A call takes about a millisecond. It also calls :func:`quiet_profiler`. If a profiler already runs, the call
    does nothing else.
    """
    quiet_profiler()
    if not profiler_runs():
        with torch.autograd.profiler.profile(use_kineto=True):
            pass


def profiler_runs() -> bool:
    """Return whether a profiler is recording in any thread of this process."""
    return bool(torch.autograd.profiler._is_profiler_enabled)


def stop_profiler() -> None:
    """Stop the profiler that runs, whoever started it. If none runs, do nothing.

    Call this after an interrupt that came while the profiler was started or stopped.
    """
    if profiler_runs():
        torch._C._autograd._disable_profiler()
        torch.autograd.profiler._run_on_profiler_stop()


def allocation_events(
    profile: torch.profiler.profile, device_type: str, prefixes: tuple[str, ...] = ("rv:", "aten::")
) -> list[AllocationEvent]:
    """Return the allocations and frees of a finished profile, in the order in which they happened.

    Parameters
    ----------
    profile : torch.profiler.profile
        Recorded with ``profile_memory=True``.
    device_type : str
        The type of a device, for example ``"cpu"`` or ``"cuda"``. Events of other devices are omitted.
    prefixes : tuple of str
        Prefixes of the names of ranges that can be scopes. The scope of an event is the innermost enclosing range whose
        name starts with ``"rv:"``. Without such a range, it is the outermost enclosing range with one of these
        prefixes, and without that it is empty.

    Returns
    -------
    list of AllocationEvent
        ``at`` is the position in the list. An event of size 0 marks the start of a range named ``"rv:…"``.
    """
    kinds = torch._C._profiler._EventType
    profiler = profile.profiler
    assert profiler is not None
    assert profiler.kineto_results is not None
    found: list[tuple[int, int, int, int, str]] = []  # time, order, address, bytes, scope
    stack: list[tuple[Any, str]] = [(root, "") for root in profiler.kineto_results.experimental_event_tree()]
    while stack:
        event, scope = stack.pop()
        tag = event.tag
        if tag == kinds.Allocation:
            fields = event.extra_fields
            if str(fields.device).split(":")[0] == device_type:
                found.append((event.start_time_ns, len(found), fields.ptr, fields.alloc_size, scope))
        elif tag == kinds.TorchOp and event.name.startswith(("rv:",) if scope else prefixes):
            scope = event.name
            if scope.startswith("rv:"):
                found.append((event.start_time_ns, -1, 0, 0, scope))
        stack.extend((child, scope) for child in reversed(event.children))
    found.sort(key=lambda row: row[:2])
    return [AllocationEvent(at, *row[2:]) for at, row in enumerate(found)]


def older_reads(profile: torch.profiler.profile, device_type: str) -> dict[int, int]:
    """Return the storages that existed before the profile and that operators outside ranges named ``"rv:…"`` read.

    Parameters
    ----------
    profile : torch.profiler.profile
        Recorded with ``profile_memory=True`` and ``record_shapes=True``.
    device_type : str
        The type of a device, for example ``"cpu"`` or ``"cuda"``. Storages on other devices are left out.

    Returns
    -------
    dict of int to int
        Address of a storage → the bytes from the first to the last element of the largest tensor that was read from it.
    """
    kinds = torch._C._profiler._EventType
    profiler = profile.profiler
    assert profiler is not None
    assert profiler.kineto_results is not None
    rows: list[tuple[int, int, int, Any]] = []  # time, order, block or 0, bytes or what an operator reads
    stack: list[tuple[Any, bool]] = [(root, False) for root in profiler.kineto_results.experimental_event_tree()]
    while stack:
        event, inside = stack.pop()
        if event.tag == kinds.Allocation:
            rows.append((event.start_time_ns, len(rows), event.extra_fields.ptr, event.extra_fields.alloc_size))
        elif event.tag == kinds.TorchOp:
            inside = inside or event.name.startswith("rv:")
            if not inside:
                rows.append((event.start_time_ns, len(rows), 0, event.extra_fields.inputs))
        stack.extend((child, inside) for child in reversed(event.children))
    made: set[int] = set()
    found: dict[int, int] = {}
    for _, _, address, value in sorted(rows, key=lambda row: row[:2]):
        if address and value > 0:
            made.add(address)
        elif address:
            made.discard(address)
        else:
            for one in (part for given in value for part in (given if isinstance(given, list) else [given])):
                place = getattr(one, "storage_data_ptr", None)
                if place and place not in made and str(one.device).split(":")[0] == device_type:
                    found[place] = max(found.get(place, 0), _span(one))
    return found


def _span(tensor: Any) -> int:
    """The bytes from the first to the last element of a tensor, of which the profiler recorded sizes and strides."""
    if 0 in tensor.sizes:
        return 0
    last = sum((size - 1) * stride for size, stride in zip(tensor.sizes, tensor.strides, strict=False))
    return int(last + 1) * int(tensor.dtype.itemsize)
