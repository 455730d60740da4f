"""A caching allocator that writes snapshots like ``torch.cuda.memory._dump_snapshot`` and knows its own peak.

It reimplements PyTorch's allocator with lists of blocks: best fit by (size, address); a block is split unless the rest
is too small; free neighbours are merged. It counts block sizes, as ``max_memory_allocated`` does, and traces requested
sizes, as PyTorch does.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recompviz.core.allocator.blocks import DEFAULT_POOL
from recompviz.core.allocator.caching_allocator import CachingAllocator
from recompviz.core.allocator.settings import AllocatorSettings


@dataclass
class Piece:
    address: int
    size: int
    requested: int = 0
    used: bool = False
    frames: Any = None


@dataclass
class Allocator:
    segments: list[tuple[int, int, str, list[Piece]]] = field(default_factory=list)
    trace: list[dict[str, Any]] = field(default_factory=list)
    allocated: int = 0
    max_allocated: int = 0
    recording: bool = True
    next_address: int = 0x7F0000000000

    def event(self, action: str, address: int, size: int, frames: Any) -> None:
        if self.recording:
            self.trace.append({"action": action, "addr": address, "size": size, "stream": 0, "frames": frames})

    def alloc(self, requested: int, line: int = 1, file: str = "/home/me/train.py") -> int:
        frames = [
            {"filename": "CUDACachingAllocator.cpp", "line": 0, "name": "c10::cuda::malloc"},
            {
                "filename": "/env/lib/python3.11/site-packages/torch/nn/modules/linear.py",
                "line": 134,
                "name": "forward",
            },
            {"filename": file, "line": line, "name": "train"},
        ]
        size = max(512, -(-requested // 512) * 512)
        small = size <= 1 << 20
        kind = "small" if small else "large"
        fits = [
            (piece.size, piece.address, pieces, i)
            for _, _, segment_kind, pieces in self.segments
            if segment_kind == kind
            for i, piece in enumerate(pieces)
            if not piece.used and piece.size >= size
        ]
        if not fits:
            total = 2 << 20 if small else 20 << 20 if size < 10 << 20 else -(-size // (2 << 20)) * (2 << 20)
            self.next_address -= total  # CUDA's driver mostly gives lower addresses to later segments
            pieces = [Piece(self.next_address, total)]
            self.segments.append((self.next_address, total, kind, pieces))
            self.event("segment_alloc", self.next_address, total, frames)
            fits = [(total, pieces[0].address, pieces, 0)]
        _, _, pieces, i = min(fits, key=lambda fit: fit[:2])
        piece = pieces[i]
        rest = piece.size - size
        if rest >= 512 if small else rest > 1 << 20:
            pieces.insert(i + 1, Piece(piece.address + size, rest))
            piece.size = size
        piece.used, piece.requested, piece.frames = True, requested, frames
        self.allocated += piece.size
        self.max_allocated = max(self.max_allocated, self.allocated)
        self.event("alloc", piece.address, requested, frames)
        return piece.address

    def free(self, address: int) -> None:
        for _, _, _, pieces in self.segments:
            for i, piece in enumerate(pieces):
                if piece.address == address and piece.used:
                    self.event("free_requested", address, piece.requested, [])
                    self.event("free_completed", address, piece.requested, [])
                    self.allocated -= piece.size
                    piece.used = False
                    if i + 1 < len(pieces) and not pieces[i + 1].used:
                        piece.size += pieces.pop(i + 1).size
                    if i and not pieces[i - 1].used:
                        pieces[i - 1].size += pieces.pop(i).size
                    return
        raise KeyError(address)

    def start_recording(self) -> None:
        """As ``_record_memory_history`` and ``reset_peak_memory_stats``."""
        self.recording, self.trace, self.max_allocated = True, [], self.allocated

    def snapshot(self) -> dict[str, Any]:
        return {
            "segments": [
                {
                    "device": 0,
                    "address": address,
                    "total_size": total,
                    "stream": 0,
                    "segment_type": kind,
                    "allocated_size": sum(p.size for p in pieces if p.used),
                    "active_size": sum(p.size for p in pieces if p.used),
                    "blocks": [
                        {
                            "address": p.address,
                            "size": p.size,
                            "requested_size": p.requested,
                            "state": "active_allocated" if p.used else "inactive",
                            "frames": p.frames if p.used else [],
                        }
                        for p in pieces
                    ],
                }
                for address, total, kind, pieces in self.segments
            ],
            "device_traces": [self.trace],
            "allocator_settings": {"PYTORCH_CUDA_ALLOC_CONF": ""},
            "external_annotations": [],
        }

    def write(self, path: Path) -> Path:
        path.write_bytes(pickle.dumps(self.snapshot()))
        return path


class RecordedAllocator(CachingAllocator):
    """The model of the allocator, which also writes snapshots. Its events have the addresses that the model chooses."""

    def __init__(self, settings: AllocatorSettings | None = None, device_memory: int | None = None) -> None:
        super().__init__(settings, device_memory)
        self.trace: list[dict[str, Any]] = []
        self.requested: dict[int, int] = {}

    def allocate(self, size: int, stream: int = 0, pool: tuple[int, int] = DEFAULT_POOL) -> int:
        address = super().allocate(size, stream, pool)
        self.requested[address] = size
        self.trace.append({"action": "alloc", "addr": address, "size": size, "stream": stream, "pool_id": pool})
        return address

    def free(self, address: int) -> None:
        size = self.requested.pop(address)
        for action in ("free_requested", "free_completed"):
            self.trace.append({"action": action, "addr": address, "size": size, "stream": 0})
        super().free(address)

    def _change_reserved(self, block: Any, size: int) -> None:
        super()._change_reserved(block, size)
        actions = ("segment_map", "segment_unmap") if block.expandable else ("segment_alloc", "segment_free")
        owner = {"stream": block.pool.stream, "pool_id": block.pool.private}
        self.trace.append({"action": actions[size < 0], "addr": block.address, "size": abs(size), **owner})

    def snapshot_segments(self) -> list[dict[str, Any]]:
        return [
            {
                "device": 0,
                "address": one.address,
                "total_size": one.size,
                "stream": one.stream,
                "segment_type": "small" if one.small else "large",
                "segment_pool_id": one.pool,
                "is_expandable": one.expandable,
                "allocated_size": one.size - one.free,
                "blocks": [
                    {"address": address, "size": size, "state": "active_allocated" if used else "inactive"}
                    for address, size, used in one.blocks
                ],
            }
            for one in self.segments()
        ]

    def snapshot(self) -> dict[str, Any]:
        settings = self.settings
        return {
            "segments": self.snapshot_segments(),
            "device_traces": [self.trace],
            "allocator_settings": {
                "PYTORCH_CUDA_ALLOC_CONF": "",
                "max_split_size": settings.max_split_size or -1,
                "garbage_collection_threshold": settings.garbage_collection_threshold,
                "expandable_segments": settings.expandable_segments,
                "roundup_power2_divisions": {
                    str(1 << i): count for i, count in enumerate(settings.roundup_power2_divisions)
                },
            },
        }
