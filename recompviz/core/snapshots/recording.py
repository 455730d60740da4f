"""``load_snapshot``: what ``torch.cuda.memory._dump_snapshot`` wrote, as a memory report.

The trace of requests and frees is replayed from what was there when recording began, so that the peak is that of
``max_memory_allocated`` and each block alive at it has the stack that asked for it. Reading needs neither a GPU nor
torch, and executes nothing of the file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import Any

from recompviz.core.base.units import format_bytes
from recompviz.core.reports.memory_report import Finding, MemoryReport, PeakRow, SourceLine, ranked
from recompviz.core.snapshots.cache import cache_finding
from recompviz.core.snapshots.reader import SnapshotError, no_collection, read_snapshot
from recompviz.core.snapshots.replay import Event, History
from recompviz.core.snapshots.stacks import Stack, Stacks
from recompviz.core.steps.joint import Category
from recompviz.core.steps.schedule import Phase
from recompviz.core.steps.timeline import Timeline

# so many steps has the timeline at most, each a stretch of events
MOST_STEPS = 2000
# of one device; sums of so many stay exact in 64 bits
MOST_BYTES = 1 << 60
BEFORE = "there before the recording"


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
        If the file is no snapshot, is cut short, or tries to run something, which is refused; or ``device`` is not in
        it.
    TypeError
        If ``device`` is no whole number.

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
    if device is not None and (isinstance(device, bool) or not isinstance(device, int)):
        raise TypeError(f"device is {device!r}, expected the number of a GPU, for example 0, or None")
    with no_collection():
        return _report(read_snapshot(path), os.path.basename(path), device)


def _report(data: dict[str, Any], name: str, device: int | None) -> MemoryReport:
    segments: dict[int, list[Any]] = {}
    for segment in data["segments"]:
        segments.setdefault(segment.get("device") or 0, []).append(segment)
    traces = {number: trace for number, trace in enumerate(data["device_traces"]) if trace}
    numbers = sorted(segments.keys() | traces.keys())
    if not numbers:
        raise SnapshotError("the snapshot is empty: call torch.cuda.memory._record_memory_history() before the step")
    if device is not None and device not in numbers:
        raise SnapshotError(
            f"device {device} has nothing in the snapshot; expected one of {', '.join(map(str, numbers[:16]))}"
        )
    reports = [
        _Reader(segments.get(number, []), traces.get(number, []), number, name).report()
        for number in (numbers if device is None else [device])
    ]
    return max(reports, key=lambda report: report.peak)


class _Reader:
    """The report on one device's segments and trace."""

    def __init__(self, segments: list[Any], trace: list[Any], device: int, name: str) -> None:
        self.trace, self.device, self.name = trace, device, name
        self.stacks = Stacks()
        self.history = History(segments, trace)
        self.events = self.history.events

    def report(self) -> MemoryReport:
        live = list(accumulate(event.delta for event in self.events))
        peak = max(live, default=0)
        if peak >= MOST_BYTES:
            raise SnapshotError(
                f"the blocks of device {self.device} add up to {format_bytes(peak)}, which no device has; "
                "expected a snapshot as PyTorch wrote it"
            )
        at = live.index(peak) if live else -1
        alive: dict[int, Event] = {}
        for event in self.events[: at + 1]:
            if event.delta > 0:
                alive[event.address] = event
            else:
                alive.pop(event.address, None)
        rows = tuple(sorted((self._row(event) for event in alive.values()), key=lambda row: -row.size))
        history = self.history
        reserved, forced = (history.reserved[at], history.forced[at]) if live else (0, 0)
        cached = cache_finding(peak, reserved, forced, history.ooms)
        findings = [*self._lines(rows, peak), *([cached] if cached is not None and cached.surprising else [])]
        ordered = ranked(findings, peak)
        if cached is not None and not cached.surprising:
            ordered = *ordered, cached  # it is no part of the peak
        return MemoryReport(self.name, self._timeline(), rows, ordered, notes=tuple(self._notes()))

    def _notes(self) -> Iterator[str]:
        for oom in self.history.ooms[:3]:
            yield (
                f"out of memory: {format_bytes(oom.asked)} more were asked for, "
                f"{format_bytes(oom.device_free)} were free on the device"
            )
        if not self.trace:
            yield "the snapshot has no history: what is shown is the moment it was taken, not a peak"
        if self.history.contradictions:
            yield (
                f"the trace contradicts itself: {self.history.contradictions:,} blocks are handed out while they are "
                "in use, as where recording was paused; each is counted as freed unseen just before"
            )

    def _stack(self, birth: int) -> Stack:
        """Where a block was asked for; one that was there before is a parameter if that is known, as most are."""
        if birth < 0:
            known = self.stacks.of(self.history.frames_before[birth])
            return replace(known, category=Category.PARAMETER) if known.lines else Stack()
        return self.stacks.of(self.trace[birth].get("frames"))

    def _row(self, event: Event) -> PeakRow:
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

    @staticmethod
    def _lines(rows: tuple[PeakRow, ...], peak: int) -> list[Finding]:
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
            reserved_peak=max(self.history.reserved, default=0),
        )


_PHASES = {Category.GRADIENT: Phase.BACKWARD, Category.OPTIMIZER: Phase.OPTIMIZER}
