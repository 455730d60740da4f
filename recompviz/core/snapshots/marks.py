"""Annotations of a recording as marks on its time axis.

PyTorch records annotations (``record_function``, optimizer steps, profiler steps) with the time at which they began and
ended. Events of the trace have times, too. A mark is the range of events between the beginning and the end of an
annotation.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from recompviz.core.base.shortened_text import shortened
from recompviz.core.snapshots.stacks import shown_text

# annotations beyond this number are left out
MOST_MARKS = 2000


@dataclass(frozen=True)
class Mark:
    """A named range of the events of a recording; frozen.

    Attributes
    ----------
    name : str
        The name of the annotation, for example ``"ProfilerStep#3"``. For other kinds of marks, ``"snapshot"`` or
        ``"oom"``.
    first : int
        The position in the trace of the first event at or after the beginning of the annotation; 0 if the annotation
        began before the recording. The length of the trace if there is no such event.
    last : int
        The position of the first event at or after the end of the annotation; the length of the trace if there is none.
        For other kinds of marks, ``first`` and ``last`` are the position of the event.
    kind : str
        ``"annotation"``, ``"snapshot"`` or ``"out of memory"``.
    """

    name: str
    first: int
    last: int
    kind: str = "annotation"


def marks_of(trace: Sequence[Any], annotations: Any, device: int) -> tuple[Mark, ...]:
    """Return the marks of one device in the order of their beginnings. There are at most 2,000 marks.

    Parameters
    ----------
    trace : sequence of dict
        The events of the device.
    annotations : list of dict
        The entry ``"external_annotations"`` of the snapshot, for all devices. If it is not a list, there are no
        annotations.
    device : int
        The number of the device.

    Examples
    --------
    >>> trace = [{"action": "alloc", "time_us": 10}, {"action": "alloc", "time_us": 20}, {"action": "snapshot"}]
    >>> ends = [{"name": "step", "stage": "START", "time_us": 5}, {"name": "step", "stage": "END", "time_us": 15}]
    >>> [(mark.name, mark.first, mark.last) for mark in marks_of(trace, ends, 0)]
    [('step', 0, 1), ('snapshot', 2, 2)]
    """
    found = [
        Mark(event["action"], i, i, "out of memory" if event["action"] == "oom" else "snapshot")
        for i, event in enumerate(trace)
        if event["action"] in ("oom", "snapshot")
    ]
    times = _times(trace)
    if times and isinstance(annotations, list):
        found += _ranges(times, annotations, device)
    return tuple(sorted(found[:MOST_MARKS], key=lambda mark: (mark.first, -mark.last)))


def _times(trace: Sequence[Any]) -> list[int]:
    """Return a rising time for each event; empty if no event has one."""
    times: list[int] = []
    any_time = False
    for event in trace:
        time = event.get("time_us")
        good = isinstance(time, int) and not isinstance(time, bool)
        any_time |= good
        before = times[-1] if times else 0
        times.append(max(time, before) if good else before)
    return times if any_time else []


def _ranges(times: Sequence[int], annotations: Sequence[Any], device: int) -> list[Mark]:
    found: list[Mark] = []
    open_: dict[str, list[int]] = {}
    for entry in annotations:
        if not isinstance(entry, dict) or entry.get("device", device) not in (device, -1):
            continue
        name, time = shown_text(entry.get("name")), entry.get("time_us")
        if not name or not isinstance(time, int):
            continue
        name = shortened(name, 200)
        at = bisect_left(times, time)
        stage = entry.get("stage")
        if stage == "START":
            open_.setdefault(name, []).append(at)
        elif stage == "END":  # without a beginning, it began before the recording
            found.append(Mark(name, open_[name].pop() if open_.get(name) else 0, at))
        else:
            found.append(Mark(name, at, at))
    found += [Mark(name, first, len(times)) for name, firsts in open_.items() for first in firsts]
    return found
