"""``load_snapshot``: make a memory report from a file of ``torch.cuda.memory._dump_snapshot``.

The trace is replayed from the blocks that existed when the recording began. The peak of the report is therefore the
peak of all allocated memory during the recording. Each block alive at the peak has the stack that allocated it, if the
snapshot has this stack. The end of the replay is compared with the bytes that the file states. Neither a GPU nor torch
is needed, and nothing in the file is executed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any, Literal

import numpy as np

from recompviz.core.allocator.settings import AllocatorSettings
from recompviz.core.base.arguments import expect
from recompviz.core.base.rendering import render
from recompviz.core.base.shortened_text import shortened
from recompviz.core.base.units import format_bytes
from recompviz.core.reports.findings import Finding, PeakRow
from recompviz.core.reports.memory_report import MemoryReport
from recompviz.core.reports.ranking import ranked
from recompviz.core.reports.source_line import SourceLine
from recompviz.core.snapshots.fragmentation import unused_memory_finding
from recompviz.core.snapshots.host_memory import HOST, host_records
from recompviz.core.snapshots.marks import Mark, marks_of
from recompviz.core.snapshots.moments import Moment, segments_at
from recompviz.core.snapshots.out_of_memory import out_of_memory_finding
from recompviz.core.snapshots.prediction import reserved_with
from recompviz.core.snapshots.reader import SnapshotError, no_collection, read_snapshot
from recompviz.core.snapshots.replay import DeviceHistory, replay
from recompviz.core.snapshots.reserved_parts import reserved_bytes
from recompviz.core.snapshots.self_check import SelfCheck, check_replay
from recompviz.core.snapshots.stacks import Stack, Stacks, shown_text
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
NO_CHECK = SelfCheck(0, 0, 0, 0, 0, 0)


def load_snapshot(path: str | Path, *, device: int | Literal["host"] | None = None) -> SnapshotReport:
    """Make a memory report from a memory snapshot of PyTorch's CUDA allocator. Nothing in the file is executed.

    Parameters
    ----------
    path : str or Path
        A file written by ``torch.cuda.memory._dump_snapshot`` after ``torch.cuda.memory._record_memory_history()``. It
        may also be JSON with the same fields, and it may be compressed with gzip.
    device : int or "host", optional
        The number of the GPU, or ``"host"`` for pinned host memory. Default: the GPU with the highest peak, or the host
        if the snapshot has nothing else.

    Returns
    -------
    SnapshotReport
        The blocks alive at the peak of allocated memory during the recording. ``.peak`` is in bytes, as
        ``torch.cuda.max_memory_allocated`` counts them. If the snapshot has no history, the report shows the memory at
        the time of the snapshot. ``.at(event)`` returns what was alive at another moment.

    Raises
    ------
    FileError
        If the file cannot be read. For a missing file, the error is also a FileNotFoundError.
    SnapshotError
        If the file is not a memory snapshot, is truncated, refers to a class or function, or has no data for
        ``device``.
    TypeError
        If ``path`` is not the path of a file, or ``device`` is neither an integer nor ``"host"``.

    Examples
    --------
    >>> import pickle, tempfile, os
    >>> frames = [{"filename": "train.py", "line": 7, "name": "step"}]
    >>> events = [{"action": "segment_alloc", "addr": 0, "size": 2 << 20, "frames": frames},
    ...           {"action": "alloc", "addr": 0, "size": 1000, "frames": frames},
    ...           {"action": "free_requested", "addr": 0, "size": 1000, "frames": frames},
    ...           {"action": "free_completed", "addr": 0, "size": 1000, "frames": frames}]
    >>> segments = [{"address": 0, "total_size": 2 << 20, "allocated_size": 0, "stream": 0, "blocks": []}]
    >>> path = os.path.join(tempfile.mkdtemp(), "snapshot.pickle")
    >>> with open(path, "wb") as file:
    ...     pickle.dump({"segments": segments, "device_traces": [events]}, file)
    >>> report = load_snapshot(path)
    >>> report.peak, report.rows[0].line.place, report.check.holds
    (1024, 'train.py:7', True)
    >>> report.at(0).allocated, report.at(0).reserved
    (0, 2097152)
    """
    if device not in (None, HOST) and (isinstance(device, bool) or not isinstance(device, int)):
        raise TypeError(f"device is {device!r}, expected the number of a GPU, for example 0, 'host', or None")
    with no_collection():
        return _report(read_snapshot(path), os.path.basename(path), device)


def _report(data: dict[str, Any], name: str, device: int | str | None) -> SnapshotReport:
    segments: dict[int | str, list[Any]] = {}
    for segment in data["segments"]:
        segments.setdefault(segment.get("device") or 0, []).append(segment)
    traces: dict[int | str, list[Any]] = {i: trace for i, trace in enumerate(data["device_traces"]) if trace}
    numbers: list[int | str] = sorted(segments.keys() | traces.keys(), key=int)
    host = host_records(data)
    if host is not None:
        segments[HOST], traces[HOST] = host
        numbers.append(HOST)
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
    chosen: list[int | str] = [device] if device is not None else [one for one in numbers if one != HOST] or [HOST]
    annotations = data.get("external_annotations")
    makers = [
        _DeviceReport(
            segments.get(number, []),
            traces.get(number, []),
            AllocatorSettings(block=1) if number == HOST else settings,
            number,
            name,
            () if number == HOST else marks_of(traces.get(number, []), annotations, int(number)),
        )
        for number in chosen
    ]
    best = max(makers, key=lambda maker: maker.allocations.peak)
    others = [f"{one.device_name}: {format_bytes(one.allocations.peak)}" for one in makers if one is not best]
    if others:
        best.others = f"peaks of the other devices in the snapshot: {', '.join(others[:16])}"
    elif HOST in numbers and best.device != HOST:
        best.others = f"the snapshot also has pinned host memory: load_snapshot({name!r}, device='host')"
    return best.report()


def _settings(recorded: Any) -> AllocatorSettings:
    try:
        return AllocatorSettings.from_snapshot(recorded)
    except (TypeError, ValueError) as error:
        raise SnapshotError(
            f"'allocator_settings' has {error}; expected the settings of PyTorch's native allocator",
            reason="wrong field",
            field="allocator_settings",
        ) from error


@dataclass(frozen=True, eq=False, repr=False)
class SnapshotReport(MemoryReport):
    """The memory report of a recording, which can also tell the state of the memory at other moments; frozen.

    Attributes
    ----------
    check : SelfCheck
        The comparison of the replay with the bytes that the file states. If ``check.holds`` is False, the first line of
        the report says so.
    marks : tuple of Mark
        Annotations, snapshots and failed requests, as ranges of events.
    history : DeviceHistory
        The replayed events.
    events : int
        The number of events in the trace.
    """

    check: SelfCheck = NO_CHECK
    marks: tuple[Mark, ...] = ()
    history: DeviceHistory = None  # type: ignore[assignment]  # always given; inherited fields have defaults
    events: int = 0
    maker: Any = None

    def at(self, event: int) -> Moment:
        """Return what is alive right after an event, and the map of segments and blocks at this moment.

        Parameters
        ----------
        event : int
            The position of the event in the trace, counted from 0; −1 is the beginning of the recording.

        Raises
        ------
        ValueError
            If ``event`` is not an int, or if there is no such event.
        """
        if isinstance(event, bool) or not isinstance(event, int) or not -1 <= event < max(self.events, 1):
            raise ValueError(f"event is {event!r}, expected a number from -1 to {self.events - 1:,}")
        moment: Moment = self.maker.moment(event)
        return moment

    @property
    def peak_at(self) -> int:
        """The position in the trace of the event that reaches the peak; −1 for the beginning of the recording."""
        allocations = self.history.allocations
        return max(int(allocations.at[allocations.peak_event]), -1) if len(allocations.at) else -1

    @cached_property
    def reserved(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Bytes reserved from the device after each event of the trace, shape (#events,)."""
        change = np.zeros(self.events + 2, np.int64)
        for part in self.history.parts:
            change[part.born + 1] += part.size
            if part.died is not None:
                change[part.died + 1] -= part.size
        return np.cumsum(change)[1 : self.events + 1]

    @cached_property
    def allocated(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Bytes allocated after each event of the trace, shape (#events,)."""
        change = np.zeros(self.events + 1, np.int64)
        np.add.at(change, np.maximum(self.history.allocations.at, -1) + 1, self.history.allocations.delta)
        return np.cumsum(change)[1:]

    def stacks(self) -> list[tuple[Stack, str]]:
        """Return for each block of the recording its stack, and a name to show if the stack has no lines."""
        return [self.maker.named_stack(block) for block in range(len(self.history.allocations.size))]

    @property
    def warning(self) -> str:
        """What is wrong with the recording, as one line; empty if the self-check holds."""
        return "" if self.check.holds else f"this recording is not reliable: {self.check.text}"

    @property
    def sentence(self) -> str:
        """The most important fact of the recording, as one sentence.

        If a request failed, the sentence is about this request. Otherwise, if much reserved memory is not used, it is
        about this memory. Otherwise it names the line that holds the most memory at the peak. If nothing is allocated,
        it says so.
        """
        top = self.top
        if top is None:
            return "Nothing is allocated in this recording."
        place = f" at {top.line.place}" if top.line is not None else ""
        if self.history.out_of_memory:
            return f"Out of memory{place}: {top.why}."
        if top.matters(self.peak):
            return f"{format_bytes(top.size)} are reserved and not used: {top.advice or top.why}."
        line = self.groups[0]
        where = line.line.place if line.line is not None else line.value
        return f"{where} holds the most at the peak: {format_bytes(line.size)} of {format_bytes(self.peak)}."

    @property
    def text(self) -> str:
        """The report as plain text. If the self-check does not hold, the first line says so."""
        return "\n".join(filter(None, (self.warning, super().text)))

    def _repr_html_(self) -> str:
        banner = f"<p><b>{escape(self.warning)}</b></p>" if self.warning else ""
        return banner + super()._repr_html_()

    def figure(self) -> Any:
        """Draw the allocated memory of each category and the reserved memory over the events of the recording.

        The first 40 marks are drawn, too: annotations (ranges of ``record_function`` and steps of the optimizer) as
        ranges, snapshots and failed requests as lines.

        Returns
        -------
        plotly.graph_objects.Figure
        """
        return render("recording_figure", self, super().figure())

    def overlay(self, *others: SnapshotReport) -> Any:
        """Draw the allocated and the reserved memory of this recording and of other recordings in one figure.

        Returns
        -------
        plotly.graph_objects.Figure

        Raises
        ------
        TypeError
            If one of the others is not a SnapshotReport.
        """
        for other in others:
            expect(other, SnapshotReport, "a recording", "a SnapshotReport", "write rv.load_snapshot(path)")
        return render("overlay_figure", [self, *others])


class _DeviceReport:
    """Makes the report of one device from its segments and its trace."""

    def __init__(
        self,
        segments: list[Any],
        trace: list[Any],
        settings: AllocatorSettings,
        device: int | str,
        name: str,
        marks: tuple[Mark, ...] = (),
    ) -> None:
        self.segments, self.trace, self.settings, self.device, self.name = segments, trace, settings, device, name
        self.marks, self.others = marks, ""
        self.device_name = "pinned host memory" if device == HOST else f"cuda:{device}"
        self.stacks = Stacks()
        self.history = replay(segments, trace, settings)
        self.allocations = self.history.allocations
        if self.allocations.peak >= MOST_BYTES:
            raise SnapshotError(
                f"the blocks of device {device} add up to {format_bytes(self.allocations.peak)}, which no device has; "
                "expected a snapshot as PyTorch wrote it",
                reason="too large",
            )

    def report(self) -> SnapshotReport:
        allocations, history = self.allocations, self.history
        at, peak = allocations.peak_event, allocations.peak
        rows = self._rows(at)
        reserved, fragmentation = (history.reserved[at], history.fragmentation[at]) if at >= 0 else (0, 0)
        # the allocator of host memory does not split blocks, so it has no fragments
        fragmentation = 0 if self.device == HOST else fragmentation
        expandable = self._reserved_if_expandable() if reserved > peak and fragmentation else None
        unused = unused_memory_finding(peak, reserved, fragmentation, history.out_of_memory, expandable)
        findings = [*self._lines(rows, peak), *([unused] if unused is not None and unused.surprising else [])]
        ordered = ranked(findings, peak)
        if unused is not None and not unused.surprising:
            ordered = *ordered, unused  # it is not part of the peak
        if history.out_of_memory:
            ordered = self._out_of_memory(), *ordered
        check = check_replay(history, self.segments, self.trace)
        return SnapshotReport(
            self.name,
            self._timeline(),
            rows,
            ordered,
            notes=tuple(self._notes(check)),
            check=check,
            marks=self.marks,
            history=history,
            events=len(self.trace),
            maker=self,
        )

    def _rows(self, event: int, until: str = "the peak") -> tuple[PeakRow, ...]:
        """Return a row for each block alive after an event of the replay, largest first."""
        blocks = self.allocations.alive_after(event).tolist()
        return tuple(sorted((self._row(block, until) for block in blocks), key=lambda row: -row.size))

    def moment(self, at: int) -> Moment:
        """Return the moment after the event at a position of the trace."""
        before = len(self.history.records_before)
        positions = self.allocations.at[before:]
        event = before - 1 + int(np.searchsorted(positions, at, side="right"))
        rows = self._rows(event, "this moment") if event >= 0 else ()
        allocated = sum(row.size for row in rows)
        return Moment(at, allocated, reserved_bytes(self.history.parts, at), rows, segments_at(self.history, at))

    def _out_of_memory(self) -> Finding:
        """Return the finding about the last request that failed."""
        last = self.history.out_of_memory[-1]
        moment = self.moment(last.at)
        largest = max(self._lines(moment.rows, moment.allocated), key=lambda found: found.size, default=None)
        stack = self.stacks.of_record(last.record or {})
        return out_of_memory_finding(last, stack, moment, largest, len(self.history.out_of_memory))

    def _reserved_if_expandable(self) -> int | None:
        """Return the most bytes that the recorded requests would reserve with expandable segments.

        None if the recording has them, or if it would reserve no less.
        """
        if self.settings.expandable_segments:
            return None
        start = starting_state(self.segments, self.trace, self.settings)
        predicted = reserved_with(start, self.trace, replace(self.settings, expandable_segments=True))
        return predicted if predicted < max(self.history.reserved) else None

    def _notes(self, check: SelfCheck) -> Iterator[str]:
        if not self.trace:
            yield "the snapshot has no history: the report shows the time of the snapshot, not a peak"
        actions = {event["action"] for event in self.trace}
        if "alloc" not in actions and actions & {"free_requested", "free_completed"}:
            yield "the recording leaves out allocations: the report knows only blocks that existed at its start or end"
        if "alloc" in actions and not actions & {"free_requested", "free_completed"} and self.history.contradictions:
            yield "the recording leaves out all frees: a block counts until its address is allocated again"
        if self.others:
            yield self.others
        steps = [mark for mark in self.marks if mark.kind == "annotation"]
        if steps:
            names = list(dict.fromkeys(mark.name for mark in steps))
            shown = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
            yield f"{len(steps):,} annotations: {shown}"
        if check.holds:
            yield check.text

    def _stack(self, block: int) -> Stack:
        """Return where a block was allocated. A block that existed before and has a stack is taken for a parameter."""
        at = int(self.allocations.at[self.allocations.birth[block]])
        if at < 0:
            stack = self.stacks.of_record(self.history.records_before[at] or {})
            return replace(stack, category=Category.PARAMETER) if stack.lines else Stack()
        return self.stacks.of_record(self.trace[at])

    def named_stack(self, block: int) -> tuple[Stack, str]:
        """Return where a block was allocated, and a name for it without lines."""
        before = self.allocations.at[self.allocations.birth[block]] < 0
        return self._stack(block), BEFORE if before else NO_STACK

    def _metadata(self, at: int) -> str:
        """Return the text that the program attached to a block; empty if there is none."""
        if at < 0:
            record = self.history.records_before[at] or {}
            return shown_text(record.get("user_metadata"))
        return self._annotated.get(at) or shown_text(self.trace[at].get("user_metadata"))

    @cached_property
    def _annotated(self) -> dict[int, str]:
        """The texts of the events 'annotate', by the position of the allocation that they are about."""
        found: dict[int, str] = {}
        last: dict[int, int] = {}
        for i, event in enumerate(self.trace):
            if event["action"] == "alloc":
                last[event["addr"]] = i
            elif event["action"] == "annotate" and event.get("addr") in last:
                found[last[event["addr"]]] = shown_text(event.get("user_metadata"))
        return found

    def _row(self, block: int, until: str) -> PeakRow:
        at, size = int(self.allocations.at[self.allocations.birth[block]]), int(self.allocations.size[block])
        stack = self._stack(block)
        line = stack.lines[0] if stack.lines else None
        if at < 0:
            why = f"{BEFORE} began"
        elif stack.category is Category.GRADIENT:
            why = "allocated in a backward pass" + (f" by {stack.operator}" if stack.operator else "")
            why += "; the line is that of the forward pass" if stack.forward else ""
        elif stack.category is Category.OPTIMIZER:
            why = "allocated by the optimizer"
        else:
            why = f"allocated, and not freed before {until}"
        why += ", in compiled code" if stack.compiled else ""
        why += f', labelled "{metadata}"' if (metadata := shortened(self._metadata(at), 100)) else ""
        unnamed = BEFORE if at < 0 else stack.label or NO_STACK
        name = f"{line.function or 'line'} ({line.place})" if line else unnamed
        born = f"event {at:,}" if at >= 0 else BEFORE
        return PeakRow(
            name,
            size,
            stack.category,
            why,
            line=line,
            stack=stack.lines,
            born=born,
            attributed=line is not None,
            event=int(self.allocations.birth[block]),
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
            device=self.device_name,
            reserved_peak=max(self.history.reserved, default=0),
        )


_PHASES = {Category.GRADIENT: Phase.BACKWARD, Category.OPTIMIZER: Phase.OPTIMIZER}
