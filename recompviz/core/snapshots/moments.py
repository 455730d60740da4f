"""What a recording holds at one moment: the blocks alive, and the map of segments and blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from recompviz.core.allocator.blocks import SegmentState
from recompviz.core.base import palette
from recompviz.core.base.shortened_text import shortened
from recompviz.core.base.units import format_bytes
from recompviz.core.reports.findings import PeakRow
from recompviz.core.snapshots.replay import DeviceHistory
from recompviz.core.snapshots.reserved_parts import ReservedPart

# rows of the text and of the table; segments of the picture
ROWS, SEGMENTS = 30, 200


@dataclass(frozen=True)
class Moment:
    """The memory of one device right after one event of a recording; frozen.

    Attributes
    ----------
    at : int
        The position of the event in the trace; −1 for the beginning of the recording.
    allocated, reserved : int
        Bytes allocated, and bytes reserved from the device.
    rows : tuple of PeakRow
        The blocks alive, largest first. Their sizes add up to ``allocated``.
    segments : tuple of SegmentState
        The segments and their blocks, in the order of addresses. A block counts as in use if the program has released
        it but another stream still uses it.
    """

    at: int
    allocated: int
    reserved: int
    rows: tuple[PeakRow, ...]
    segments: tuple[SegmentState, ...]

    @property
    def text(self) -> str:
        """The moment as text, with at most 30 blocks."""
        lines = [
            f"after event {self.at:,}: {format_bytes(self.allocated)} allocated, {format_bytes(self.reserved)} "
            f"reserved in {len(self.segments):,} segments"
        ]
        for row in self.rows[:ROWS]:
            lines.append(f"{format_bytes(row.size):>10}  {row.value}  {row.why}")
        if len(self.rows) > ROWS:
            lines.append(f"{'':>12}showing {ROWS} of {len(self.rows):,} blocks")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return self.text

    def to_svg(self) -> str:
        """Draw the map of segments and blocks as SVG: a bar for each of the 200 largest segments.

        The text is empty if there are no segments.
        """
        shown = sorted(self.segments, key=lambda segment: -segment.size)[:SEGMENTS]
        if not shown:
            return ""
        width, height = 900.0, 9.0
        scale = width / shown[0].size
        parts = []
        for i, segment in enumerate(shown):
            y = i * (height + 2)
            kind = ("small" if segment.small else "large") + (", expandable" if segment.expandable else "")
            kind += f", private pool {segment.pool}" if segment.pool != (0, 0) else ""
            parts.append(
                f"<g><title>segment {segment.address:#x}: {format_bytes(segment.size)}, {kind}, stream "
                f"{segment.stream}; {format_bytes(segment.free)} free</title>"
                f'<rect x="0" y="{y:.0f}" width="{segment.size * scale:.2f}" height="{height:.0f}" fill="none" '
                f'stroke="{palette.GREY}" stroke-width="0.5"/>'
            )
            for address, size, used in segment.blocks:
                if used:
                    x = (address - segment.address) * scale
                    parts.append(
                        f'<rect x="{x:.2f}" y="{y:.0f}" width="{max(size * scale, 0.3):.2f}" '
                        f'height="{height:.0f}" fill="{palette.BLUE}"/>'
                    )
            parts.append("</g>")
        total = len(shown) * (height + 2)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {total:.0f}" width="100%" role="img" '
            f'aria-label="map of {len(shown):,} segments">{"".join(parts)}</svg>'
        )

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{format_bytes(row.size)}</td><td>{escape(shortened(row.value, 300))}</td>"
            f"<td>{escape(row.why)}</td></tr>"
            for row in self.rows[:ROWS]
        )
        return f"<div><p>{escape(self.text.splitlines()[0])}</p>{self.to_svg()}<table>{rows}</table></div>"


def segments_at(history: DeviceHistory, at: int) -> tuple[SegmentState, ...]:
    """Return the segments and blocks of a replay right after the event at a position of the trace."""
    allocations = history.allocations
    used: list[tuple[int, int]] = [(address, size) for address, size, done in history.waiting_before if done > at]
    if len(allocations.size):
        last = np.iinfo(np.int64).max
        died = np.where(allocations.death >= 0, allocations.at[allocations.death], last)
        died[list(history.completed)] = list(history.completed.values())
        alive = np.flatnonzero((allocations.at[allocations.birth] <= at) & (died > at))
        used += zip(allocations.address[alive].tolist(), allocations.size[alive].tolist(), strict=True)
    used.sort()
    parts = sorted(
        (part for part in history.parts if part.born <= at and (part.died is None or part.died > at)),
        key=lambda part: part.address,
    )
    found = []
    i = 0
    for group in _joined(parts):
        start, end = group[0].address, group[-1].address + group[-1].size
        while i < len(used) and used[i][0] < start:
            i += 1
        blocks: list[tuple[int, int, bool]] = []
        reached = start
        while i < len(used) and used[i][0] < end:
            address, size = used[i]
            i += 1
            if address < reached:
                continue  # the recording contradicts itself
            size = min(size, end - address)
            if address > reached:
                blocks.append((reached, address - reached, False))
            blocks.append((address, size, True))
            reached = address + size
        if reached < end:
            blocks.append((reached, end - reached, False))
        kind = group[0].kind
        found.append(
            SegmentState(start, end - start, kind.small, kind.stream, kind.pool, kind.expandable, tuple(blocks))
        )
    return tuple(found)


def _joined(parts: Sequence[ReservedPart]) -> list[list[ReservedPart]]:
    """Group the parts of one expandable segment that follow each other without a gap."""
    groups: list[list[ReservedPart]] = []
    for part in parts:
        last = groups[-1][-1] if groups else None
        joins = last is not None and last.address + last.size == part.address and last.kind == part.kind
        if joins and part.kind.expandable:
            groups[-1].append(part)
        else:
            groups.append([part])
    return groups
