"""What is reserved from the device and not handed out at the peak: a cache as it should be, or fragments.

The allocator keeps what is freed for the next request; that costs nothing, as it goes back before memory runs out.
It is trouble only where a request found no piece large enough though there was enough in all.
"""

from __future__ import annotations

from collections.abc import Sequence

from recompviz.core.base.units import format_bytes
from recompviz.core.reports.memory_report import Finding
from recompviz.core.snapshots.replay import OutOfMemory

# fragments of less than this share of the peak are no surprise
SHARE = 0.25
FIX = "set PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True, or keep sizes alike from step to step"


def cache_finding(peak: int, reserved: int, forced: int, ooms: Sequence[OutOfMemory]) -> Finding | None:
    """The finding on what is reserved and free, if there is any.

    Parameters
    ----------
    peak, reserved : int
        Bytes handed out, and bytes reserved from the device then.
    forced : int
        Bytes of segments asked from the device until then though enough was free, in pieces.
    ooms : sequence of OutOfMemory

    Examples
    --------
    >>> cache_finding(100, 150, 0, []).cause, cache_finding(100, 150, 40, []).avoidable
    ('cached by the allocator', 40)
    """
    broken = [oom for oom in ooms if oom.fragmented]
    if broken:
        worst = max(broken, key=lambda oom: oom.cached)
        said = (
            f"{format_bytes(worst.asked)} were asked for and not to be had, while {format_bytes(worst.cached)} of what "
            "is reserved from the device were free, in fragments too small for it"
        )
        return _fragments(worst.cached, worst.cached, said, True)
    free = max(reserved - peak, 0)
    if not free:
        return None
    said = (
        f"at the peak {format_bytes(reserved)} are reserved from the device and {format_bytes(free)} of them are free"
    )
    lost = min(free, forced)
    if lost:
        said += (
            f": fragments; {format_bytes(forced)} had to be reserved anew though enough was free, in pieces too small"
        )
        return _fragments(free, lost, said, lost > SHARE * peak)
    said += ", kept for the next request; no request had to ask the device for more while enough was free"
    return Finding("cached by the allocator", "the allocator's cache", None, free, 0, said)


def _fragments(size: int, avoidable: int, said: str, surprising: bool) -> Finding:
    return Finding("reserved but not allocated", "fragments", None, size, avoidable, said, FIX, surprising=surprising)
