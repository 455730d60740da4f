"""Snapshots of PyTorch's allocator: the peak equals the allocator's, and nothing in a file is executed."""

from __future__ import annotations

import os
import pickle
import random
from pathlib import Path
from typing import Any

import pytest

import recompviz as rv
from recompviz.core.reports.memory_report import MOST_SHOWN
from recompviz.core.snapshots import reader
from recompviz.core.snapshots.reader import read_plain
from tests.core.snapshot_writer import Allocator


def random_run(seed: int, before: int, during: int) -> Allocator:
    """Random allocations and frees, some of them before the recording."""
    drawn = random.Random(seed)
    allocator = Allocator(recording=False)
    live: list[int] = []
    for i in range(before + during):
        if i == before:
            allocator.start_recording()
        if live and drawn.random() < 0.45:
            allocator.free(live.pop(drawn.randrange(len(live))))
        else:
            size = drawn.choice([drawn.randint(1, 5000), drawn.randint(1, 1 << 20), drawn.randint(1, 30 << 20)])
            live.append(allocator.alloc(size, line=1 + i % 7))
    return allocator


@pytest.mark.parametrize("seed", range(20))
def test_the_peak_is_max_memory_allocated_if_everything_was_recorded(seed: int, tmp_path: Path) -> None:
    allocator = random_run(seed, 0, 400)
    report = rv.load_snapshot(allocator.write(tmp_path / "snapshot.pickle"))
    assert report.peak == allocator.max_allocated
    assert report.timeline.peak == allocator.max_allocated
    assert report.coverage == 1


@pytest.mark.parametrize("seed", range(10))
def test_the_peak_counts_blocks_that_existed_before_the_recording(seed: int, tmp_path: Path) -> None:
    allocator = random_run(seed, 60, 400)
    report = rv.load_snapshot(allocator.write(tmp_path / "snapshot.pickle"))
    # for a block allocated before and freed during the recording, only the requested size is known
    assert abs(report.peak - allocator.max_allocated) <= 0.1 * allocator.max_allocated
    assert report.timeline.peak == report.peak


def test_a_block_alive_at_the_peak_has_the_line_of_the_user_not_of_a_library(tmp_path: Path) -> None:
    allocator = Allocator()
    a = allocator.alloc(4 << 20, line=3)
    allocator.alloc(30 << 20, line=9)
    allocator.free(a)
    report = rv.load_snapshot(allocator.write(tmp_path / "snapshot.pickle"))
    assert [(row.line.place if row.line else "", row.size) for row in report.rows] == [
        ("train.py:9", 30 << 20),
        ("train.py:3", 4 << 20),
    ]
    assert report.timeline.reserved_peak == 50 << 20
    # 16 MiB of the first segment are free, too few for the second block: ordinary cache, reported last
    assert (report.findings[-1].cause, report.findings[-1].size) == ("cached by the allocator", 16 << 20)
    assert not any(f.surprising for f in report.findings)
    assert "train.py:9" in report.text
    assert report.figure().data


def test_a_long_history_makes_a_bounded_page_that_says_how_many_rows_there_are(tmp_path: Path) -> None:
    allocator = Allocator()
    for i in range(2300):
        allocator.alloc(1000 + i, line=i)
    report = rv.load_snapshot(allocator.write(tmp_path / "snapshot.pickle"))
    page = report._repr_html_()
    assert f"showing {MOST_SHOWN} of 2,300" in page
    assert len(page) < 100_000
    assert len(report.timeline.phases) <= 2000


class Hostile:
    """Executes a command when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)


def test_a_file_that_would_execute_code_is_refused_and_executes_nothing(tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    file = tmp_path / "hostile.pickle"
    file.write_bytes(pickle.dumps({"segments": [Hostile(mark)], "device_traces": []}))
    with pytest.raises(rv.SnapshotError) as error:
        rv.load_snapshot(file)
    assert error.value.reason == "executes code"
    assert not mark.exists()


@pytest.mark.parametrize("protocol", range(6))
def test_no_class_or_function_is_looked_up_in_any_protocol(protocol: int, tmp_path: Path) -> None:
    file = tmp_path / "names.pickle"
    for value in (print, Path("x"), {"segments": [set]}, complex(1, 2)):
        file.write_bytes(pickle.dumps(value, protocol))
        with pytest.raises(rv.SnapshotError):
            rv.load_snapshot(file)


def test_every_truncation_of_a_snapshot_is_refused(tmp_path: Path) -> None:
    allocator = Allocator()
    allocator.alloc(1000)
    whole = pickle.dumps(allocator.snapshot())
    file = tmp_path / "cut.pickle"
    for length in range(0, len(whole), 7):
        file.write_bytes(whole[:length])
        with pytest.raises(rv.SnapshotError):
            rv.load_snapshot(file)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"not a pickle at all", "not a pickle"),
        (b"", "empty"),
        (b"PK\x03\x04 and so on", "zip archive"),
        (pickle.dumps(0x1950A86A20F9469CFC6C), "checkpoint"),
        (pickle.dumps(7), "wrong type"),
        (pickle.dumps({"weights": 1}), "wrong type"),
        (pickle.dumps({"segments": [], "device_traces": [[{"action": "alloc", "addr": 1}]]}), "wrong field"),
        (pickle.dumps({"segments": [3], "device_traces": []}), "wrong type"),
        (pickle.dumps({"segments": [], "device_traces": []}), "empty"),
        (pickle.dumps({"segments": [], "device_traces": []})[:20], "truncated"),
    ],
)
def test_a_file_that_is_not_a_snapshot_is_refused_with_the_reason(data: bytes, reason: str, tmp_path: Path) -> None:
    file = tmp_path / "other.pickle"
    file.write_bytes(data)
    with pytest.raises(rv.SnapshotError) as error:
        rv.load_snapshot(file)
    assert error.value.reason == reason


HEAD = b"\x80\x04"
SHARED = HEAD + b"(" + b")\x94" + b"".join(b"h%ch%c\x86\x94" % (i, i) for i in range(40)) + b"\x91."


@pytest.mark.parametrize(
    ("data", "opcode"),
    [
        (SHARED, "TUPLE2"),  # 2^40 leaves, if it were hashed
        (HEAD + b"\x8f(" + b")" + b"\x85" * 300_000 + b"\x90.", "EMPTY_SET"),  # a hash that overflows the stack
        (HEAD + b")" + b"\x85" * 300_000 + b".", "TUPLE1"),
        (HEAD + b"(" + b"K\x00" * 17 + b"t.", "TUPLE"),
        (HEAD + b"Nr" + (1 << 27).to_bytes(4, "little") + b".", "LONG_BINPUT"),  # a gigabyte of memo
        (HEAD + b"](" + (b"\x8a\x0a" + b"\x01" * 10) * 1001 + b"e.", "LONG1"),
        (HEAD + b"\x96" + (1 << 40).to_bytes(8, "little") + b".", "BYTEARRAY8"),
        (HEAD + b"B" + (1 << 31).to_bytes(4, "little") + b".", "BINBYTES"),
        (HEAD + b"N0.", "POP"),
        (HEAD + b"\xff.", "0xff"),
    ],
)  # fmt: skip
def test_opcodes_that_take_more_than_their_bytes_are_refused_and_named(
    data: bytes, opcode: str, tmp_path: Path
) -> None:
    file = tmp_path / "small.pickle"
    file.write_bytes(data)
    with pytest.raises(rv.SnapshotError, match=f"the opcode {opcode} at byte"):
        rv.load_snapshot(file)


@pytest.mark.parametrize("code", [b"R", b"b", b"o", b"\x81", b"\x92", b"\x82\x01", b"P1\n", b"Q"])
def test_opcodes_that_may_call_something_are_refused_as_such(code: bytes, tmp_path: Path) -> None:
    file = tmp_path / "calls.pickle"
    file.write_bytes(HEAD + b"N)" + code + b".")
    with pytest.raises(rv.SnapshotError) as error:
        rv.load_snapshot(file)
    assert error.value.reason == "executes code"


@pytest.mark.parametrize("protocol", range(2, 6))
def test_plain_data_passes_the_check_of_opcodes(protocol: int) -> None:
    texts = ["", "a", "é" * 100, "x" * 255, "x" * 256, "x" * 70_000]
    numbers = [0, 255, 256, 65535, 65536, -1, 2**31, -(2**31), 2**63, -(2**63), 10**30, 1.5]
    data = {
        "flat": [(), (1,), (1, 2**40), (1, 2, None), (True, 2, 3.5, -1), tuple(range(16))],
        "more": [texts, numbers, [None, True, False], {}, [], dict(zip(texts, numbers, strict=False))],
        "many": [{"addr": i, "frames": texts} for i in range(70_000)],
    }
    assert read_plain(pickle.dumps(data, protocol)) == data


def test_a_long_list_that_a_short_file_refers_to_many_times_is_refused(tmp_path: Path) -> None:
    blocks = [{"address": i, "size": 1, "state": "inactive"} for i in range(100)]
    history = [{"frames": []}] * 100
    for segments, traces in (
        ([segment() | {"blocks": blocks}] * 100, []),
        ([segment({"history": history}) for _ in range(100)], []),
        ([], [[alloc()]] * 100),
    ):
        file = tmp_path / "shared.pickle"
        file.write_bytes(pickle.dumps({"segments": segments, "device_traces": traces}))
        with pytest.raises(rv.SnapshotError, match="twice, expected each of them once"):
            rv.load_snapshot(file)


def test_lone_surrogates_of_a_file_are_not_shown(tmp_path: Path) -> None:
    event = alloc(frames=[{"filename": "\ud800.py", "line": 3, "name": "\udfff"}])
    report = rv.load_snapshot(snapshot_file(tmp_path / "surrogates.pickle", [], [event]))
    (report.text + report._repr_html_()).encode("utf-8")


def test_an_interrupt_ends_the_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = []

    def interrupted(part: Any, count: int) -> bytes:
        parts.append(count)
        if len(parts) > 5:
            raise KeyboardInterrupt
        return peek(part, count)

    peek = reader._Part.peek
    monkeypatch.setattr(reader._Part, "peek", interrupted)
    allocator = Allocator()
    for i in range(3000):
        allocator.alloc(1000, line=i)
    file = allocator.write(tmp_path / "long.pickle")
    with pytest.raises(KeyboardInterrupt):
        rv.load_snapshot(file)
    assert len(parts) == 6


@pytest.mark.parametrize("path", ["missing.pickle", ".", "a\0b", ""])
def test_a_path_that_cannot_be_read_is_one_type_of_error(path: str) -> None:
    with pytest.raises(rv.RecompvizError, match="cannot read") as error:
        rv.load_snapshot(path)
    assert isinstance(error.value, OSError)


def snapshot_file(path: Path, segments: Any = (), events: Any = ()) -> Path:
    path.write_bytes(pickle.dumps({"segments": list(segments), "device_traces": [list(events)]}))
    return path


def alloc(address: int = 0, size: Any = 5, **more: Any) -> dict[str, Any]:
    return {"action": "alloc", "addr": address, "size": size, "frames": [], **more}


def segment(block: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    blocks = [] if block is None else [{"size": 10, "state": "active_allocated", **block}]
    return {"address": 0, "total_size": 10, "blocks": blocks, **more}


@pytest.mark.parametrize(
    ("segments", "events", "field", "said"),
    [
        ([], [alloc(size=-5)], "size", "-5, expected 0 or more"),
        ([], [alloc(size=1 << 70)], "size", r"about 2\*\*70, expected less than"),
        ([], [alloc(size=10**5000)], "size", r"about 2\*\*16609"),
        ([], [alloc(size=True)], "size", "bool True, expected int"),
        ([], [alloc(frames=7)], "frames", "int 7, expected list"),
        ([], [alloc(stream="x")], "stream", "str 'x', expected int"),
        ([], [{"action": ["alloc"]}], "action", "a list of 1, expected str"),
        ([], [{"action": "oom", "size": "x"}], "size", "an event 'oom' has size = str 'x'"),
        ([segment(device="cuda")], [], "device", "str 'cuda', expected int"),
        ([segment(device=-1)], [], "device", "-1, expected 0 or more"),
        ([segment({"address": "x"})], [], "address", "str 'x'"),
        ([segment({"history": "abc"})], [], "history", "str 'abc', expected list"),
    ],
)
def test_a_wrong_field_is_named_with_its_value(
    segments: Any, events: Any, field: str, said: str, tmp_path: Path
) -> None:
    with pytest.raises(rv.SnapshotError, match=said) as error:
        rv.load_snapshot(snapshot_file(tmp_path / "wrong.pickle", segments, events))
    assert (error.value.reason, error.value.field) == ("wrong field", field)


def test_an_entry_of_a_history_that_is_not_a_dictionary_is_refused(tmp_path: Path) -> None:
    with pytest.raises(rv.SnapshotError) as error:
        rv.load_snapshot(snapshot_file(tmp_path / "wrong.pickle", [segment({"history": [3]})]))
    assert error.value.reason == "wrong type"


@pytest.mark.parametrize("blocks", [2, 8])
def test_blocks_that_no_device_could_hold_are_refused_whatever_their_sum(blocks: int, tmp_path: Path) -> None:
    events = [alloc(i << 58, (1 << 61) + i) for i in range(blocks)]  # the sum of eight does not fit in 64 bits
    with pytest.raises(rv.SnapshotError) as error:
        rv.load_snapshot(snapshot_file(tmp_path / "huge.pickle", [], events))
    assert error.value.reason == "too large"


def test_only_devices_that_occur_in_the_file_can_be_asked_for(tmp_path: Path) -> None:
    file = snapshot_file(tmp_path / "far.pickle", [segment({}, device=10**9)], [alloc()])
    assert rv.load_snapshot(file, device=10**9).rows[0].size == 10
    assert rv.load_snapshot(file).device == "cuda:0"  # 5 bytes are a block of 512
    with pytest.raises(rv.SnapshotError, match="expected one of 0, 1000000000") as error:
        rv.load_snapshot(file, device=3)
    assert error.value.reason == "unknown device"
    with pytest.raises(TypeError, match="device is '0'"):
        rv.load_snapshot(file, device="0")  # type: ignore[arg-type]


def test_frames_of_unbounded_depth_are_not_shown(tmp_path: Path) -> None:
    nested: Any = ["x"]
    for _ in range(60):
        nested = [nested, nested]
    frame = {"filename": "train.py", "line": 10**5000, "name": nested}
    report = rv.load_snapshot(snapshot_file(tmp_path / "deep.pickle", [], [alloc(frames=[frame])]))
    assert report.peak == 512
    assert report.rows[0].line is None


def test_a_block_without_python_lines_is_named_by_autograd_s_node_or_by_the_operator(tmp_path: Path) -> None:
    def stack(*names: str) -> list[dict[str, Any]]:
        return [{"filename": "??", "line": 0, "name": name} for name in names]

    inside = ("at::_ops::empty::call(int)", "at::_ops::mm::redispatch(x)", "at::_ops::mm::call(x)")
    backward = stack(*inside, "torch::autograd::generated::MmBackward0::apply(x)", "torch::autograd::Engine::run()")
    slices = stack(*inside, "torch::autograd::CopySlices::apply(x)")
    events = [alloc(512 * i, 500 + i, frames=frames) for i, frames in enumerate((backward, slices, stack(*inside), []))]
    report = rv.load_snapshot(snapshot_file(tmp_path / "names.pickle", [], events))
    assert sorted(row.value for row in report.rows) == ["CopySlices", "MmBackward0", "mm", "no stack recorded"]
    assert report.coverage == 0  # no line of the user's code is known
    assert sorted(f.cause for f in report.findings) == ["allocated at one line"] + ["allocated by one operator"] * 3


def test_a_block_allocated_twice_counts_once_and_the_report_says_so(tmp_path: Path) -> None:
    report = rv.load_snapshot(snapshot_file(tmp_path / "twice.pickle", [], [alloc(), alloc(), alloc()]))
    assert report.peak == report.timeline.peak == 512
    assert "contradicts itself: 2 blocks" in report.text.splitlines()[0]


def test_a_trace_that_lost_its_oldest_events_opens_without_contradictions(tmp_path: Path) -> None:
    for seed in range(5):
        whole = random_run(seed, 0, 400)
        whole.trace = whole.trace[150:]
        report = rv.load_snapshot(whole.write(tmp_path / "wrapped.pickle"))
        assert report.timeline.peak == report.peak
        assert report.check.contradictions == report.check.outside == 0


def fragmented() -> Allocator:
    """Four blocks of 10 MiB, of which two are freed: 20 MiB are free, in pieces smaller than 16 MiB."""
    allocator = Allocator()
    blocks = [allocator.alloc(10 << 20, line=i) for i in range(4)]
    for block in blocks[::2]:
        allocator.free(block)
    return allocator


def test_a_request_that_needed_a_new_segment_although_enough_was_free_is_fragmentation(tmp_path: Path) -> None:
    allocator = fragmented()
    allocator.alloc(16 << 20, line=9)
    allocator.alloc(5 << 20, line=10)
    top = rv.load_snapshot(allocator.write(tmp_path / "fragments.pickle")).top
    assert top is not None
    assert (top.cause, top.surprising) == ("reserved but not allocated", True)
    assert top.size == top.avoidable == 15 << 20  # 56 MiB are reserved, 41 MiB allocated
    # 40 MiB for the four blocks, then 16 MiB at the end of the same range: 60 MiB in pages of 20 MiB
    assert "would reserve" not in top.why


def test_the_report_says_what_expandable_segments_would_reserve(tmp_path: Path) -> None:
    allocator = Allocator()
    blocks = [allocator.alloc(6 << 20) for _ in range(12)]  # 3 in each segment of 20 MiB
    for block in blocks:
        allocator.free(block)
    allocator.alloc(75 << 20)
    report = rv.load_snapshot(allocator.write(tmp_path / "pieces.pickle"))
    top = report.top
    assert top is not None
    assert "with expandable segments the same requests would reserve 80.0 MiB" in top.why
    assert report.timeline.reserved_peak == 156 << 20


def test_a_failed_request_with_enough_bytes_in_fragments_says_so(tmp_path: Path) -> None:
    allocator = fragmented()
    for size, in_pieces in ((16 << 20, True), (24 << 20, False)):
        trace = allocator.trace
        allocator.trace = [*trace, {"action": "oom", "size": size, "device_free": 1, "stream": 0, "frames": []}]
        report = rv.load_snapshot(allocator.write(tmp_path / "oom.pickle"))
        allocator.trace = trace
        assert report.top is not None
        assert report.top.cause == "out of memory"
        assert ("free in smaller pieces" in report.top.why) is in_pieces
        assert ("reserved but not allocated" in [found.cause for found in report.findings]) is in_pieces


def test_text_from_a_file_is_escaped_in_the_page(tmp_path: Path) -> None:
    allocator = Allocator()
    allocator.alloc(1000, file="/home/<script>alert(1)</script>.py")
    page = rv.load_snapshot(allocator.write(tmp_path / "snapshot.pickle"))._repr_html_()
    assert "<script>" not in page


def test_two_snapshots_are_compared_by_line(tmp_path: Path) -> None:
    small, large = Allocator(), Allocator()
    small.alloc(1000, line=3)
    large.alloc(1000, line=3)
    large.alloc(5000, line=4)
    changed = rv.compare_runs(
        rv.load_snapshot(small.write(tmp_path / "a.pickle")), rv.load_snapshot(large.write(tmp_path / "b.pickle"))
    )
    assert [(row.value, row.change) for row in changed.grew] == [("train (train.py:4)", 5120)]
    assert changed.shrank == ()
    assert changed.peak_change == 5120
