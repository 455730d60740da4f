"""Read random recordings in PyTorch's format, and compare the result with the allocator that wrote them.

The allocator (``fuzzed_allocator``) shares no code with the reader. It knows after each event what is allocated,
reserved and lost to fragmentation. Each recording has one to three devices, and is written as a pickle or as JSON,
compressed or not. The table has a row for each kind of recording and figure. Columns:

  kind        "whole": the recording begins with an empty allocator. "from the middle": it begins later, or its ring
              buffer lost the oldest events. "not told": like "from the middle", but some blocks that existed before
              the recording began are larger than their rounded requests, and are freed later. A recording does not
              state the sizes of these blocks. The allocated bytes may therefore differ by the excess of these blocks,
              and the fragments are not compared
  compared    what is compared: at the end of the recording, after each event, or after some events
  devices     recordings of one device each
  values      numbers that were compared
  different   numbers that differ

    python -m recompviz.benchmarks.fuzzed_recordings --count 10000
"""

from __future__ import annotations

import argparse
import gzip
import json
import pickle
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recompviz.benchmarks.fuzzed_allocator import MIB, FuzzedAllocator, Options
from recompviz.core.snapshots.snapshot_report import SnapshotReport, load_snapshot

WHOLE, MIDDLE, UNKNOWN = "whole", "from the middle", "not told"


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, print the table, and return 1 if anything differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000, help="number of recordings (default: 10,000)")
    parser.add_argument("--seed", type=int, default=0, help="number of the first recording")
    options = parser.parse_args(arguments)
    began = time.process_time()
    counts = Counts()
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(options.seed, options.seed + options.count):
            compare(seed, Path(folder), counts)
    print(counts.table())
    print(f"{options.count:,} recordings, {counts.events:,} events, {time.process_time() - began:.0f} s processor time")
    return 1 if counts.different else 0


class Counts:
    """The number of figures that were compared, and the number that differ."""

    def __init__(self) -> None:
        self.rows: Counter[tuple[str, str, str]] = Counter()
        self.first: list[str] = []
        self.events = 0

    def add(
        self, kind: str, what: str, found: Sequence[Any], truth: Sequence[Any], where: str, within: int = 0
    ) -> None:
        """Compare figures with the true ones, and count those that differ by more than ``within``.

        ``kind`` and ``what`` choose the row of the table. ``where`` names the recording.
        """
        pairs = list(zip(found, truth, strict=True))
        wrong = [i for i, (a, b) in enumerate(pairs) if (abs(a - b) > within if within else a != b)]
        self.rows[kind, what, "devices"] += 1
        self.rows[kind, what, "values"] += len(pairs)
        self.rows[kind, what, "different"] += len(wrong)
        if wrong:
            i = wrong[0]
            self.first.append(f"{where}, {kind}, {what} {i}: {pairs[i][0]!r} instead of {pairs[i][1]!r}"[:400])

    @property
    def different(self) -> int:
        """The number of figures that differ."""
        return sum(count for (_, _, column), count in self.rows.items() if column == "different")

    def table(self) -> str:
        """Return a table, and below it the first differences, as text."""
        lines = [f"{'kind':<16} {'compared':<26} {'devices':>8} {'values':>10} {'different':>9}"]
        for kind, what in dict.fromkeys(key[:2] for key in sorted(self.rows)):
            cells = [self.rows[kind, what, column] for column in ("devices", "values", "different")]
            lines.append(f"{kind:<16} {what:<26} {cells[0]:>8,} {cells[1]:>10,} {cells[2]:>9,}")
        return "\n".join([*lines, *self.first[:10]])


def compare(seed: int, folder: Path, counts: Counts) -> None:
    """Write and read the random recording of a seed, and count the figures that differ."""
    drawn = random.Random(seed)
    legacy = drawn.random() < 0.1
    devices = [device(drawn, number, legacy) for number in range(drawn.choice([1, 1, 1, 2, 3]))]
    if len({one.options.expandable for one in devices}) > 1:
        devices = devices[:1]  # the settings of the file are those of all devices
    for one in devices[1:]:
        for name in ("max_split", "divisions", "expandable"):
            setattr(one.options, name, getattr(devices[0].options, name))
    stacks = [_stack(drawn) for _ in range(4)]
    for one in devices:
        one.run(stacks)
    host = FuzzedHost(drawn) if drawn.random() < 0.2 else None
    path = write(drawn, devices, host, legacy, folder)
    for number, one in enumerate(devices):
        counts.events += len(one.events)
        if not one.events and not one.reserved:
            continue
        _compare_device(load_snapshot(path, device=number), one, counts, f"recording {seed}, device {number}", drawn)
    if host is not None:
        report = load_snapshot(path, device="host")
        where = f"recording {seed}, host"
        counts.add("pinned memory", "allocated", report.allocated.tolist(), [a for a, _ in host.notes], where)
        counts.add("pinned memory", "reserved", report.reserved.tolist(), [r for _, r in host.notes], where)
        counts.add("pinned memory", "self-check", [report.check.holds], [True], where)


def _compare_device(
    report: SnapshotReport, one: FuzzedAllocator, counts: Counts, where: str, drawn: random.Random
) -> None:
    middle = one.options.start > 0 or one.options.ring is not None
    unknown = one.unknown
    kind = UNKNOWN if unknown else MIDDLE if middle else WHOLE
    notes = one.notes
    counts.add(kind, "allocated, each event", report.allocated.tolist(), [n.allocated for n in notes], where, unknown)
    counts.add(kind, "reserved, each event", report.reserved.tolist(), [n.reserved for n in notes], where)
    counts.add(kind, "self-check", [report.check.holds], [True], where)
    if kind == WHOLE and notes:
        counts.add(kind, "peak", [report.peak], [max(n.allocated for n in notes)], where)
    if unknown:
        return
    at = report.history.allocations.at.tolist()
    fragments = {i: count for i, count in zip(at, report.history.fragmentation, strict=True) if i >= 0}
    counts.add(
        kind, "fragments, each event", list(fragments.values()), [notes[i].fragmentation for i in fragments], where
    )
    failed = [(request.requested, request.cached, request.at) for request in report.history.out_of_memory]
    counts.add(kind, "failed requests", failed, one.failed, where) if len(failed) == len(one.failed) else counts.add(
        kind, "failed requests", [len(failed)], [len(one.failed)], where
    )
    for i in drawn.sample(range(len(notes)), min(3, len(notes))):
        found = tuple(block for segment in report.at(i).segments for block in segment.blocks)
        counts.add(kind, "map, some events", [found], [notes[i].map], where)


def device(drawn: random.Random, number: int, legacy: bool) -> FuzzedAllocator:
    """Return an allocator with random options; ``legacy`` says whether its recording has the older format."""
    expandable = drawn.random() < 0.3 and not legacy
    skip = drawn.choice(["", "", "", "free_requested", "free_completed"])
    kind = drawn.random()
    options = Options(
        expandable=expandable,
        max_split=drawn.choice([None, None, None, 24 * MIB]) if not expandable else None,
        divisions=drawn.choice([0, 0, 0, 4, 8]),
        limit=drawn.choice([None, 60 * MIB, 120 * MIB]),
        streams=drawn.choice([1, 1, 2, 3]),
        pools=1 if legacy else drawn.choice([1, 1, 2]),
        delayed=0.0 if skip == "free_completed" else drawn.choice([0, 0, 0.3]),
        skip=skip,
        start=drawn.randrange(1, 60) if 0.4 < kind < 0.7 else 0,
        ring=drawn.randrange(5, 60) if kind > 0.7 else None,
        steps=drawn.randrange(1, 70),
    )
    return FuzzedAllocator(random.Random(drawn.random()), options, (number + 1) << 44)


class FuzzedHost:
    """An allocator of pinned memory. Block sizes are powers of two, and blocks are never split."""

    def __init__(self, drawn: random.Random) -> None:
        self.events: list[dict[str, Any]] = []
        self.notes: list[tuple[int, int]] = []
        self._blocks: dict[int, list[Any]] = {}  # address → [bytes, used]
        for _ in range(drawn.randrange(1, 30)):
            used = [address for address, (_, is_used) in self._blocks.items() if is_used]
            if used and drawn.random() < 0.4:
                address = drawn.choice(used)
                self._blocks[address][1] = False
                self._event("free_requested", address)
                self._event("free_completed", address)
                continue
            size = 1 << drawn.randrange(23)
            free = [a for a, (n, is_used) in self._blocks.items() if n == size and not is_used]
            if not free:
                free = [max((a + n for a, (n, _) in self._blocks.items()), default=1 << 20)]
                self._blocks[free[0]] = [size, False]
                self._event("segment_alloc", free[0])
            self._blocks[free[0]][1] = True
            self._event("alloc", free[0])

    def _event(self, action: str, address: int) -> None:
        size = self._blocks[address][0]
        self.events.append({"action": action, "addr": address, "size": size, "stream": 0, "pool_id": (0, 0)})
        blocks = self._blocks.values()
        self.notes.append((sum(n for n, used in blocks if used), sum(n for n, _ in blocks)))

    def segments(self) -> list[dict[str, Any]]:
        """Return the field ``host_segments`` of the file."""
        return [
            {"address": address, "size": size, "allocated": used, "active": used, "segment_pool_id": (0, 0)}
            for address, (size, used) in self._blocks.items()
        ]


def write(
    drawn: random.Random, devices: Sequence[FuzzedAllocator], host: FuzzedHost | None, legacy: bool, folder: Path
) -> Path:
    """Write a snapshot file of some devices, and of pinned memory if ``host`` is given; return its path."""
    options = devices[0].options
    traces = []
    for one in devices:
        trace = one.events
        if legacy:
            trace = [{k: v for k, v in event.items() if k != "pool_id"} for event in trace]
        elif drawn.random() < 0.3:
            for event in drawn.sample(trace, len(trace) // 4):
                event["user_metadata"], event["compile_context"] = "label", "0/0"
        traces.append(trace)
    data: dict[str, Any] = {
        "segments": [segment for i, one in enumerate(devices) for segment in one.written(i, legacy)],
        "device_traces": traces,
    }
    drawn.shuffle(data["segments"])
    divisions = {str(1 << i): options.divisions for i in range(16)}
    if options.expandable or options.max_split or options.divisions or drawn.random() < 0.7:
        data["allocator_settings"] = {
            "PYTORCH_CUDA_ALLOC_CONF": "",
            "max_split_size": options.max_split or -1,
            "garbage_collection_threshold": 0.0,
            "expandable_segments": options.expandable,
            "roundup_power2_divisions": divisions,
        }
    if drawn.random() < 0.5:
        begins = [drawn.choice(trace)["time_us"] for trace in traces if trace for _ in range(2)]
        data["external_annotations"] = [
            {"stage": drawn.choice(["START", "END"]), "name": f"step {i % 2}", "device": 0, "time_us": begin}
            for i, begin in enumerate(sorted(begins))
        ]
    if host is not None:
        data |= {"host_segments": host.segments(), "host_traces": host.events}
    content = json.dumps(data).encode() if drawn.random() < 0.25 else pickle.dumps(data, drawn.randrange(2, 6))
    path = folder / "recording"
    path.write_bytes(gzip.compress(content, 1) if drawn.random() < 0.25 else content)
    return path


def _stack(drawn: random.Random) -> list[dict[str, Any]]:
    return [
        {"filename": "??", "line": 0, "name": "at::_ops::mm::call(x)"},
        {"filename": "/env/site-packages/torch/nn/modules/linear.py", "line": 9, "name": "forward"},
        {"filename": "/home/me/torch/train.py", "line": drawn.randrange(1, 500), "name": "step"},
    ]


if __name__ == "__main__":
    sys.exit(main())
