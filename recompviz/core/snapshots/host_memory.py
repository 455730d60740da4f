"""Pinned host memory in a memory snapshot: ``host_segments`` and ``host_traces`` of PyTorch 2.14.

The allocator of pinned memory never splits a block, so each of its segments is one block. This module gives a segment
the fields that a segment of a GPU has. The events have the same fields as the events of a GPU.
"""

from __future__ import annotations

from typing import Any

HOST = "host"


def host_records(data: dict[str, Any]) -> tuple[list[Any], list[Any]] | None:
    """Return the segments and the events of pinned host memory in a snapshot; None if the snapshot has no such memory.

    Examples
    --------
    >>> segments, trace = host_records({"host_segments": [{"address": 0, "size": 8, "allocated": True}]})
    >>> segments[0]["total_size"], segments[0]["blocks"][0]["state"], trace
    (8, 'active_allocated', [])
    """
    segments, trace = data.get("host_segments") or [], data.get("host_traces") or []
    if not segments and not trace:
        return None
    return [_segment(one) for one in segments], trace


def _segment(record: dict[str, Any]) -> dict[str, Any]:
    size = record["total_size"] if record.get("size") is None else record["size"]
    allocated, active = bool(record.get("allocated")), bool(record.get("active"))
    state = "active_allocated" if allocated else "active_awaiting_free" if active else "inactive"
    block = {"address": record["address"], "size": size, "state": state, "frames": record.get("frames") or []}
    return {**record, "total_size": size, "stream": 0, "segment_type": "large", "blocks": [block]}
