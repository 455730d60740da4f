"""The allocator's events and named ranges, as PyTorch's profiler records them.

Private PyTorch used here: ``torch._C._profiler`` (``_RecordFunctionFast``, ``_EventType``),
``profile.profiler.kineto_results`` and ``torch.autograd.profiler._is_profiler_enabled``. Tried on torch 2.10.0, 2.11.0,
2.12.1, 2.13.0 and 2.14.1, on the CPU.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import torch

__all__ = ["memory_events", "named_range", "operator_ranges", "profiler_runs", "quiet_profiler"]


def named_range(name: str) -> contextlib.AbstractContextManager[None]:
    """A range that the profiler records under a name; costs a few hundred nanoseconds."""
    return torch._C._profiler._RecordFunctionFast(name)


def quiet_profiler() -> None:
    """Keep the profiler's library from writing to stderr; call before its first use, when it reads the log level."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")


def profiler_runs() -> bool:
    """Whether a profiler records in any thread of this process."""
    return bool(torch.autograd.profiler._is_profiler_enabled)


def memory_events(profile: torch.profiler.profile, device_type: str) -> Iterator[tuple[int, int, str]]:
    """Allocations and frees of a finished profile in the order they happened.

    Yields
    ------
    (address, bytes, range)
        Bytes are negative for a free. ``range`` is the innermost enclosing range whose name starts with ``"rv:"``,
        otherwise the outermost operator's name, otherwise empty.
    """
    return _memory_rows(profile, device_type, outermost=("rv:", "aten::"), starts=False)


def operator_ranges(profile: torch.profiler.profile, device_type: str) -> Iterator[tuple[int, int, str]]:
    """Like :func:`memory_events` with only the ranges named ``"rv:…"``, and a row (0, 0, range) where each starts."""
    return _memory_rows(profile, device_type, outermost=("rv:",), starts=True)


def _memory_rows(
    profile: torch.profiler.profile, device_type: str, outermost: tuple[str, ...], starts: bool
) -> Iterator[tuple[int, int, str]]:
    """Allocations and frees by enclosing range; the outermost range has one of the prefixes ``outermost``."""
    kinds = torch._C._profiler._EventType
    profiler = profile.profiler
    assert profiler is not None
    assert profiler.kineto_results is not None
    found: list[tuple[int, int, int, int, str]] = []
    stack: list[tuple[Any, str]] = [(root, "") for root in profiler.kineto_results.experimental_event_tree()]
    while stack:
        event, inside = stack.pop()
        tag = event.tag
        if tag == kinds.Allocation:
            fields = event.extra_fields
            if str(fields.device).split(":")[0] == device_type:
                found.append((event.start_time_ns, len(found), fields.ptr, fields.alloc_size, inside))
        elif tag == kinds.TorchOp and event.name.startswith(("rv:",) if inside else outermost):
            inside = event.name
            if starts:
                found.append((event.start_time_ns, -1, 0, 0, inside))
        stack.extend((child, inside) for child in reversed(event.children))
    found.sort(key=lambda row: row[:2])
    return ((address, size, inside) for _, _, address, size, inside in found)
