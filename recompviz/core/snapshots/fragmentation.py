"""Judge whether memory that is reserved but not allocated at the peak is ordinary cache or fragmentation.

The allocator keeps freed memory for later requests. This cache does no harm, because the allocator returns it to the
device before memory runs out. The memory is fragmented if no free piece was large enough for a request, although all
free pieces together were large enough.
"""

from __future__ import annotations

from collections.abc import Sequence

from recompviz.core.base.units import format_bytes
from recompviz.core.reports.findings import Finding
from recompviz.core.snapshots.replay import OutOfMemory

# fragmentation above this share of the peak is reported first
SURPRISING_SHARE = 0.25
FIX = "set PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True, or keep tensor sizes the same from step to step"


def unused_memory_finding(
    peak: int,
    reserved: int,
    fragmentation: int,
    out_of_memory: Sequence[OutOfMemory],
    reserved_if_expandable: int | None = None,
) -> Finding | None:
    """Return the finding about memory that is reserved but not allocated, or None if there is no such memory.

    If requests failed because of fragmentation, the finding is about one of them: the one for which the most bytes were
    free. Otherwise the finding says how many reserved bytes are free at the peak, and how many bytes were reserved
    because of fragmentation.

    Parameters
    ----------
    peak, reserved : int
        Bytes allocated at the peak, and bytes reserved from the device at that moment.
    fragmentation : int
        Bytes of all segments that the allocator reserved before the peak although enough bytes were free, in smaller
        pieces. A segment is memory that the allocator reserves from the device at once.
    out_of_memory : sequence of OutOfMemory
        The requests that failed.
    reserved_if_expandable : int, optional
        The prediction of the largest number of bytes that the same requests would reserve with expandable segments. If
        None, the finding does not mention expandable segments.

    Examples
    --------
    >>> unused_memory_finding(100, 150, 0, []).cause, unused_memory_finding(100, 150, 40, []).avoidable
    ('cached by the allocator', 40)
    """
    fragmented = [request for request in out_of_memory if request.fragmented]
    if fragmented:
        worst = max(fragmented, key=lambda request: request.cached)
        why = (
            f"a request of {format_bytes(worst.requested)} failed although {format_bytes(worst.cached)} were reserved "
            "and free, in smaller pieces"
        )
        return _fragments(worst.cached, worst.cached, why, True)
    free = max(reserved - peak, 0)
    if not free:
        return None
    why = (
        f"at the peak {format_bytes(reserved)} are reserved from the device, and {format_bytes(free)} of them are free"
    )
    lost = min(free, fragmentation)
    if lost:
        why += (
            f"; {format_bytes(fragmentation)} were reserved because of fragmentation: enough bytes were free, but in "
            "smaller pieces"
        )
        if reserved_if_expandable is not None:
            why += f"; with expandable segments the same requests would reserve {format_bytes(reserved_if_expandable)}"
        return _fragments(free, lost, why, lost > SURPRISING_SHARE * peak)
    why += " and kept for the next request; no segment was reserved because of fragmentation"
    return Finding("cached by the allocator", "the allocator's cache", None, free, 0, why)


def _fragments(size: int, avoidable: int, why: str, surprising: bool) -> Finding:
    return Finding("reserved but not allocated", "fragments", None, size, avoidable, why, FIX, surprising=surprising)
