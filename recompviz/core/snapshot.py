"""``load_snapshot``: what ``torch.cuda.memory._dump_snapshot`` wrote, as a memory report.

The trace of requests and frees is replayed from what was there when recording began, so that the peak is that of
``max_memory_allocated`` and each block alive at it has the stack that asked for it. Reading needs neither a GPU nor
torch, and executes nothing of the file.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from recompviz.core.attribution import Finding, MemoryReport, PeakRow, SourceLine, ranked
from recompviz.core.caching_allocator import Replay
from recompviz.core.joint import Category
from recompviz.core.schedule import Phase
from recompviz.core.snapshot_reader import SnapshotError, no_collection, read_snapshot
from recompviz.core.snapshot_stacks import Stack, Stacks
from recompviz.core.timeline import Timeline
from recompviz.core.units import format_bytes

# so many steps has the timeline at most, each a stretch of events
MOST_STEPS = 2000
BEFORE = "there before the recording"


@dataclass(frozen=True)
class _Event:
    """An allocation (positive) or a free (negative), with the position of the request in the trace."""

    at: int
    address: int
    delta: int
    birth: int


def load_snapshot(path: str | Path, *, device: int | None = None) -> MemoryReport:
    """Open a memory snapshot of PyTorch's CUDA allocator.

    Parameters
    ----------
    path : str or Path
        A file of ``torch.cuda.memory._dump_snapshot``, recorded after ``torch.cuda.memory._record_memory_history()``.
    device : int, optional
        Which GPU's trace; left out: the one with the highest peak.

    Returns
    -------
    MemoryReport
        ``.peak`` is the most that was allocated while it was recorded (what ``max_memory_allocated`` says), bytes.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    SnapshotError
        If the file is no snapshot, is cut short, or tries to run something, which is refused.

    Examples
    --------
    >>> import pickle, tempfile, os
    >>> frames = [{"filename": "train.py", "line": 7, "name": "step"}]
    >>> events = [{"action": "segment_alloc", "addr": 0, "size": 2 << 20, "frames": frames},
    ...           {"action": "alloc", "addr": 0, "size": 1000, "frames": frames},
    ...           {"action": "free_requested", "addr": 0, "size": 1000, "frames": frames},
    ...           {"action": "free_completed", "addr": 0, "size": 1000, "frames": frames}]
    >>> path = os.path.join(tempfile.mkdtemp(), "snapshot.pickle")
    >>> with open(path, "wb") as file:
    ...     pickle.dump({"segments": [], "device_traces": [events]}, file)
    >>> report = load_snapshot(path)
    >>> report.peak, report.rows[0].line.place
    (1024, 'train.py:7')
    """
    with no_collection():
        return _report(read_snapshot(path), os.path.basename(path), device)


def _report(data: dict[str, Any], name: str, device: int | None) -> MemoryReport:
    traces = data["device_traces"]
    count = max(len(traces), 1 + max((s.get("device", 0) for s in data["segments"]), default=0))
    if device is not None and not 0 <= device < count:
        raise SnapshotError(f"device {device} is not in the snapshot; it has {count} devices, 0 to {count - 1}")
    reports = []
    for number in range(count) if device is None else [device]:
        segments = [s for s in data["segments"] if s.get("device", 0) == number]
        trace = traces[number] if number < len(traces) else []
        if segments or trace:
            reports.append(_Reader(segments, trace, number, name).report())
    if not reports:
        raise SnapshotError("the snapshot is empty: call torch.cuda.memory._record_memory_history() before the step")
    return max(reports, key=lambda report: report.peak)


class _Reader:
    """One device's segments and trace."""

    def __init__(self, segments: list[Any], trace: list[Any], device: int, name: str) -> None:
        self.segments, self.trace, self.device, self.name = segments, trace, device, name
        self.stacks = Stacks()
        self.before: dict[int, Stack] = {}  # of the blocks that were there, by number
        self.replay = Replay()
        self.opened: dict[int, tuple[int, int]] = {}  # address → (size, position of the request)
        self.initial: list[tuple[int, int, Any]] = []  # (address, size, frames)
        self.events: list[_Event] = []
        self.reserved: list[int] = []  # after each event
        self.ooms: list[Any] = []

    def report(self) -> MemoryReport:
        self._begin()
        self._run()
        live = np.cumsum([event.delta for event in self.events]) if self.events else np.zeros(0, np.int64)
        at = int(live.argmax()) if len(live) else -1
        alive: dict[int, _Event] = {}
        for event in self.events[: at + 1]:
            if event.delta > 0:
                alive[event.address] = event
            else:
                alive.pop(event.address, None)
        rows = tuple(sorted((self._row(event) for event in alive.values()), key=lambda row: -row.size))
        peak = sum(row.size for row in rows)
        notes = [
            f"out of memory: {format_bytes(e.get('size', 0))} more were asked for, "
            f"{format_bytes(e.get('device_free', 0))} were free on the device"
            for e in self.ooms[:3]
        ]
        if not self.trace:
            notes.append("the snapshot has no history: what is shown is the moment it was taken, not a peak")
        timeline = self._timeline()
        findings = self._findings(rows, peak, self.reserved[at] if at >= 0 else 0)
        return MemoryReport(f"{self.name}", timeline, rows, ranked(findings, peak), notes=tuple(notes))

    def _begin(self) -> None:
        """What was there when recording began: the end, less what the trace allocates, plus what it frees unseen."""
        allocated: set[int] = set()
        segments = {s["address"]: s["total_size"] for s in self.segments}
        came: set[int] = set()
        early: list[tuple[int, int, Any]] = []
        gone: dict[int, int] = {}
        for event in self.trace:
            action = event["action"]
            if action == "alloc":
                allocated.add(event["addr"])
            elif action == "free_requested" and event["addr"] not in allocated:
                early.append((event["addr"], event["size"], []))
                allocated.add(event["addr"])
            elif action in ("segment_alloc", "segment_map"):
                came.add(event["addr"])
            elif action in ("segment_free", "segment_unmap") and event["addr"] not in came:
                gone.setdefault(event["addr"], event["size"])
        for address, size in {**segments, **gone}.items():
            if address not in came:
                self.replay.add_segment(address, size)
        for segment in self.segments:
            address = segment["address"]
            for block in segment["blocks"]:
                here = block.get("address", address)
                if block["state"] == "active_allocated" and here not in allocated:
                    frames = block.get("frames") or (block.get("history") or [{}])[-1].get("frames", [])
                    self.initial.append((here, block["size"], frames))
                address = here + block["size"]
        for here, size, frames in self.initial:
            self.replay.occupy(here, size)
            self._open(here, size, -1 - len(self.opened))
            known = self.stacks.of(frames)
            self.before[-len(self.opened)] = replace(known, category=Category.PARAMETER) if known.lines else Stack()
        for here, size, _ in early:
            block_size = self.replay.allocate(here, size)
            self._open(here, block_size, -1 - len(self.opened))
            self.before[-len(self.opened)] = Stack()

    def _open(self, address: int, size: int, birth: int) -> None:
        self.opened[address] = size, birth
        self.events.append(_Event(max(birth, 0), address, size, birth))
        self.reserved.append(self.replay.reserved)

    def _run(self) -> None:
        waiting: dict[int, int] = {}  # address → size of blocks that are asked to be freed
        for i, event in enumerate(self.trace):
            action = event["action"]
            if action == "alloc":
                self._open(event["addr"], self.replay.allocate(event["addr"], event["size"]), i)
            elif action == "free_requested" and event["addr"] in self.opened:
                size, birth = self.opened.pop(event["addr"])
                waiting[event["addr"]] = size
                self.events.append(_Event(i, event["addr"], -size, birth))
                self.reserved.append(self.replay.reserved)
            elif action == "free_completed" and event["addr"] in waiting:
                self.replay.free(event["addr"], waiting.pop(event["addr"]))
            elif action in ("segment_alloc", "segment_map"):
                self.replay.add_segment(event["addr"], event["size"])
            elif action in ("segment_free", "segment_unmap"):
                self.replay.drop_segment(event["addr"], event["size"])
            elif action == "oom":
                self.ooms.append(event)

    def _stack(self, birth: int) -> Stack:
        """Where a block was asked for; one that was there before is a parameter if that is known, as most are."""
        if birth < 0:
            return self.before[birth]
        return self.stacks.of(self.trace[birth].get("frames"))

    def _row(self, event: _Event) -> PeakRow:
        stack, category = self._stack(event.birth).lines, self._stack(event.birth).category
        line = stack[0] if stack else None
        if event.birth < 0:
            why = f"{BEFORE} began"
        elif category is Category.GRADIENT:
            why = "allocated in a backward pass"
        elif category is Category.OPTIMIZER:
            why = "allocated by the optimiser"
        else:
            why = "allocated, and not freed before the peak"
        name = (
            f"{line.function or 'line'} ({line.place})" if line else BEFORE if event.birth < 0 else "no stack recorded"
        )
        born = f"event {event.birth:,}" if event.birth >= 0 else BEFORE
        return PeakRow(name, event.delta, category, why, line=line, stack=stack, born=born, attributed=line is not None)

    # ---------------------------------------------------------------- report

    def _findings(self, rows: tuple[PeakRow, ...], peak: int, reserved: int) -> list[Finding]:
        groups: dict[tuple[SourceLine | None, str], list[int]] = {}
        for i, row in enumerate(rows):
            groups.setdefault((row.line, row.why), []).append(i)
        found = []
        for (line, why), members in groups.items():
            size = sum(rows[i].size for i in members)
            said = f"{len(members):,} block{'s' if len(members) > 1 else ''}, {size / peak:.0%} of the peak; {why}"
            found.append(
                Finding("allocated at one line", rows[members[0]].value, line, size, 0, said, "", tuple(members))
            )
        if reserved > peak:
            free = reserved - peak
            found.append(
                Finding(
                    "reserved but not allocated",
                    "the allocator's cache",
                    None,
                    free,
                    free,
                    f"at the peak {format_bytes(reserved)} are reserved from the device and {format_bytes(free)} of "
                    "them are not handed out: fragments too small for what is asked, or left over from before",
                    "set PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True, or keep sizes alike from step to step",
                    surprising=free > peak / 4,
                )
            )
        return found

    def _timeline(self) -> Timeline:
        stretch = max(1, -(-len(self.events) // MOST_STEPS))
        numbers: dict[str, int] = {}
        events = []
        steps = -(-len(self.events) // stretch)
        largest: list[tuple[int, str]] = [(0, "frees")] * steps
        phases = [int(Phase.FORWARD)] * steps
        for i, event in enumerate(self.events):
            step = i // stretch
            stack = self._stack(event.birth)
            label = stack.label or (BEFORE if event.birth < 0 else "no stack recorded")
            number = numbers.setdefault(label, len(numbers))
            events.append((step, number, int(stack.category), event.delta))
            if event.delta > largest[step][0]:
                largest[step] = event.delta, label
                phases[step] = int(_PHASES.get(stack.category, Phase.FORWARD))
        return Timeline.of_events(
            events,
            [label for _, label in largest],
            phases,
            storage_labels=tuple(numbers),
            static_bytes={},
            kind="measured",
            device=f"cuda:{self.device}",
            reserved_peak=max(self.reserved, default=0),
        )


_PHASES = {Category.GRADIENT: Phase.BACKWARD, Category.OPTIMIZER: Phase.OPTIMIZER}
