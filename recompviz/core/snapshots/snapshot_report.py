"""``load_snapshot``: make a memory report from a file of ``torch.cuda.memory._dump_snapshot``.

The trace is replayed from the blocks that existed when the recording began. The peak of the report is therefore the
peak of all allocated memory during the recording. Each block alive at the peak has the stack that allocated it, if the
snapshot has this stack. Neither a GPU nor torch is needed, and nothing in the file is executed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from recompviz.core.allocator.settings import AllocatorSettings
from recompviz.core.base.units import format_bytes
from recompviz.core.reports.findings import Finding, PeakRow
from recompviz.core.reports.memory_report import MemoryReport
from recompviz.core.reports.ranking import ranked
from recompviz.core.reports.source_line import SourceLine
from recompviz.core.snapshots.fragmentation import unused_memory_finding
from recompviz.core.snapshots.prediction import reserved_with
from recompviz.core.snapshots.reader import SnapshotError, no_collection, read_snapshot
from recompviz.core.snapshots.replay import replay
from recompviz.core.snapshots.stacks import Stack, Stacks
from recompviz.core.snapshots.starting_state import starting_state
from recompviz.core.steps.joint import Category
from recompviz.core.steps.schedule import Phase
from recompviz.core.steps.timeline import Timeline

# largest number of steps of the timeline
MOST_STEPS = 2000
# limit for one device; sums stay exact in 64 bits
MOST_BYTES = 1 << 60
BEFORE = "allocated before the recording"
NO_STACK = "no stack recorded"


def load_snapshot(path: str | Path, *, device: int | None = None) -> MemoryReport:
    """Make a memory report from a memory snapshot of PyTorch's CUDA allocator. Nothing in the file is executed.

    Parameters
    ----------
    path : str or Path
        A file written by ``torch.cuda.memory._dump_snapshot`` after ``torch.cuda.memory._record_memory_history()``.
    device : int, optional
        The number of the GPU. Default: the GPU with the highest peak.

    Returns
    -------
    MemoryReport
        The blocks alive at the peak of allocated memory during the recording. ``.peak`` is in bytes, as
        ``torch.cuda.max_memory_allocated`` counts them. If the snapshot has no history, the report shows the memory at
        the time of the snapshot.

    Raises
    ------
    FileError
        If the file cannot be read. For a missing file, the error is also a FileNotFoundError.
    SnapshotError
        If the file is not a memory snapshot, is truncated, refers to a class or function, or has no data for
        ``device``.
    TypeError
        If ``path`` is not the path of a file, or ``device`` is not an integer.

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
        raise SnapshotError(
            "the snapshot is empty: call torch.cuda.memory._record_memory_history() before the step", reason="empty"
        )
    if device is not None and device not in numbers:
        raise SnapshotError(
            f"device {device} has nothing in the snapshot; expected one of {', '.join(map(str, numbers[:16]))}",
            reason="unknown device",
        )
    settings = _settings(data.get("allocator_settings"))
    reports = [
        _DeviceReport(segments.get(number, []), traces.get(number, []), settings, number, name).report()
        for number in (numbers if device is None else [device])
    ]
    return max(reports, key=lambda report: report.peak)


def _settings(recorded: Any) -> AllocatorSettings:
    try:
        return AllocatorSettings.from_snapshot(recorded)
    except (TypeError, ValueError) as error:
        raise SnapshotError(
            f"'allocator_settings' has {error}; expected the settings of PyTorch's native allocator",
            reason="wrong field",
            field="allocator_settings",
        ) from error


class _DeviceReport:
    """Makes the report of one device from its segments and its trace."""

    def __init__(
        self, segments: list[Any], trace: list[Any], settings: AllocatorSettings, device: int, name: str
    ) -> None:
        self.segments, self.trace, self.settings, self.device, self.name = segments, trace, settings, device, name
        self.stacks = Stacks()
        self.history = replay(segments, trace, settings)
        self.allocations = self.history.allocations
        if self.allocations.peak >= MOST_BYTES:
            raise SnapshotError(
                f"the blocks of device {device} add up to {format_bytes(self.allocations.peak)}, which no device has; "
                "expected a snapshot as PyTorch wrote it",
                reason="too large",
            )

    def report(self) -> MemoryReport:
        allocations, history = self.allocations, self.history
        at, peak = allocations.peak_event, allocations.peak
        rows = tuple(sorted(map(self._row, allocations.alive_after(at).tolist()), key=lambda row: -row.size))
        reserved, fragmentation = (history.reserved[at], history.fragmentation[at]) if at >= 0 else (0, 0)
        expandable = self._reserved_if_expandable() if reserved > peak and fragmentation else None
        unused = unused_memory_finding(peak, reserved, fragmentation, history.out_of_memory, expandable)
        findings = [*self._lines(rows, peak), *([unused] if unused is not None and unused.surprising else [])]
        ordered = ranked(findings, peak)
        if unused is not None and not unused.surprising:
            ordered = *ordered, unused  # it is not part of the peak
        return MemoryReport(self.name, self._timeline(), rows, ordered, notes=tuple(self._notes()))

    def _reserved_if_expandable(self) -> int | None:
        """Return the most bytes that the recorded requests would reserve with expandable segments.

        None if the recording has them, or if it would reserve no less.
        """
        if self.settings.expandable_segments:
            return None
        start = starting_state(self.segments, self.trace, self.settings)
        predicted = reserved_with(start, self.trace, replace(self.settings, expandable_segments=True))
        return predicted if predicted < max(self.history.reserved) else None

    def _notes(self) -> Iterator[str]:
        for request in self.history.out_of_memory[:3]:
            lines = self.stacks.of(request.frames).lines
            yield (
                f"out of memory: a request of {format_bytes(request.requested)}"
                f"{f' at {lines[0].place}' if lines else ''} failed, "
                f"{format_bytes(request.device_free)} were free on the device"
            )
        if not self.trace:
            yield "the snapshot has no history: the report shows the time of the snapshot, not a peak"
        if self.history.contradictions:
            yield (
                f"the trace contradicts itself: {self.history.contradictions:,} blocks are allocated while they are "
                "in use, for example because recording was paused; the report assumes that each was freed just before"
            )

    def _stack(self, block: int) -> Stack:
        """Return where a block was allocated. A block that existed before and has a stack is taken for a parameter."""
        at = int(self.allocations.at[self.allocations.birth[block]])
        if at < 0:
            stack = self.stacks.of(self.history.frames_before[at])
            return replace(stack, category=Category.PARAMETER) if stack.lines else Stack()
        return self.stacks.of(self.trace[at].get("frames"))

    def _row(self, block: int) -> PeakRow:
        at, size = int(self.allocations.at[self.allocations.birth[block]]), int(self.allocations.size[block])
        stack = self._stack(block)
        line = stack.lines[0] if stack.lines else None
        if at < 0:
            why = f"{BEFORE} began"
        elif stack.category is Category.GRADIENT:
            why = "allocated in a backward pass"
        elif stack.category is Category.OPTIMIZER:
            why = "allocated by the optimizer"
        else:
            why = "allocated, and not freed before the peak"
        name = f"{line.function or 'line'} ({line.place})" if line else BEFORE if at < 0 else stack.label or NO_STACK
        born = f"event {at:,}" if at >= 0 else BEFORE
        return PeakRow(
            name, size, stack.category, why, line=line, stack=stack.lines, born=born, attributed=line is not None
        )

    @staticmethod
    def _lines(rows: tuple[PeakRow, ...], peak: int) -> list[Finding]:
        groups: dict[tuple[SourceLine | str, str], list[int]] = {}
        for i, row in enumerate(rows):
            groups.setdefault((row.line or row.value, row.why), []).append(i)
        found = []
        for (place, why), members in groups.items():
            line = place if isinstance(place, SourceLine) else None
            size = sum(rows[i].size for i in members)
            text = f"{len(members):,} block{'s' if len(members) > 1 else ''}, {size / peak:.0%} of the peak; {why}"
            value = rows[members[0]].value
            named = line is None and value not in (BEFORE, NO_STACK)
            cause = "allocated by one operator" if named else "allocated at one line"
            found.append(Finding(cause, value, line, size, 0, text, "", tuple(members)))
        return found

    def _timeline(self) -> Timeline:
        """Return the timeline. If there are more than ``MOST_STEPS`` events, each step has several of them."""
        blocks, deltas = self.allocations.block.tolist(), self.allocations.delta.tolist()
        events_per_step = max(1, -(-len(blocks) // MOST_STEPS))
        steps = -(-len(blocks) // events_per_step)
        numbers: dict[str, int] = {}
        events = []
        largest: list[tuple[int, str]] = [(0, "frees")] * steps
        phases = [int(Phase.FORWARD)] * steps
        for i, (block, delta) in enumerate(zip(blocks, deltas, strict=True)):
            step = i // events_per_step
            stack = self._stack(block)
            before = self.allocations.at[self.allocations.birth[block]] < 0
            label = stack.label or (BEFORE if before else NO_STACK)
            number = numbers.setdefault(label, len(numbers))
            events.append((step, number, int(stack.category), delta))
            if delta > largest[step][0]:
                largest[step] = delta, label
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
