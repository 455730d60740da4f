"""The finding about a request that failed because the device's memory was used up."""

from __future__ import annotations

from recompviz.core.base.units import format_bytes
from recompviz.core.reports.findings import Finding
from recompviz.core.snapshots.fragmentation import FIX
from recompviz.core.snapshots.moments import Moment
from recompviz.core.snapshots.replay import OutOfMemory
from recompviz.core.snapshots.stacks import Stack

CAUSE = "out of memory"


def out_of_memory_finding(
    request: OutOfMemory, stack: Stack, moment: Moment, largest: Finding | None, count: int
) -> Finding:
    """Return the finding about a failed request, with the line that made it and the line that holds the most bytes.

    Parameters
    ----------
    request : OutOfMemory
        The failed request.
    stack : Stack
        The stack trace of the request.
    moment : Moment
        The memory when the request failed.
    largest : Finding or None
        The finding about the line that holds the most bytes at that moment; None if nothing is allocated.
    count : int
        The number of requests that failed in the recording.
    """
    asked = format_bytes(request.requested)
    line = stack.lines[0] if stack.lines else None
    who = f"{line.function or 'line'} ({line.place})" if line else stack.label or "a line that is not recorded"
    why = (
        f"a request of {asked} failed: {format_bytes(request.device_free)} were free on the device; "
        f"{format_bytes(moment.allocated)} of {format_bytes(moment.reserved)} reserved were allocated"
    )
    if request.fragmented:
        why += f", and {format_bytes(request.cached)} were free in smaller pieces"
    if largest is not None:
        place = largest.line.place if largest.line else largest.value
        why += f"; the most bytes then, {format_bytes(largest.size)}, were held by blocks of {place}"
    if count > 1:
        why += f"; it is the last of {count:,} requests that failed"
    fix = FIX if request.fragmented else ""
    avoidable = request.cached if request.fragmented else 0
    return Finding(CAUSE, who, line, request.requested, avoidable, why, fix, surprising=True)
