"""Fields of snapshots: stacks of every kind, containers, pinned memory, annotations, moments and the self-check."""

from __future__ import annotations

import gzip
import json
import pickle
from pathlib import Path
from typing import Any

import pytest

import recompviz as rv
from recompviz.core.allocator.settings import AllocatorSettings
from recompviz.core.snapshots import reader
from recompviz.core.snapshots.stacks import Stacks, is_library
from recompviz.core.steps.joint import Category
from tests.core.snapshot_writer import Allocator, RecordedAllocator

MIB = 1 << 20


def written(path: Path, data: dict[str, Any]) -> Path:
    path.write_bytes(pickle.dumps(data))
    return path


def frame(file: str, line: int = 1, name: str = "f", **more: str) -> dict[str, Any]:
    return {"filename": file, "line": line, "name": name, **more}


@pytest.mark.parametrize(
    "file",
    ["/home/me/torch/train.py", "/work/torch/models/unet.py", "/home/me/torch/utils/data.py", "torch/nn/blocks.py",
     "/home/me/lib/python3-project/a.py", "C:\\torch\\train.py"],
)  # fmt: skip
def test_a_project_in_a_folder_called_torch_is_the_user_s(file: str) -> None:
    assert not is_library(file)


@pytest.mark.parametrize(
    "file",
    ["/src/pytorch/torch/nn/modules/linear.py", "/src/torch/_tensor.py", "/src/torch/optim/adamw.py",
     "/env/lib64/python3.9/threading.py", "C:\\env\\Lib\\site-packages\\torch\\functional.py",
     "/src/torch/_inductor/utils.py", "/src/torch/autograd/__init__.py"],
)  # fmt: skip
def test_files_of_pytorch_s_source_tree_and_of_packages_are_libraries(file: str) -> None:
    assert is_library(file)


def test_a_user_s_function_called_forward_backward_is_no_backward_pass() -> None:
    stack = Stacks().of([frame("/me/model.py", 3, "forward"), frame("/me/train.py", 9, "forward_backward")])
    assert stack.category is Category.KEPT
    python_node = [frame("/me/ops.py", 4, "backward"), frame("??", 0, "torch::autograd::PyNode::apply(x)")]
    assert Stacks().of(python_node).category is Category.GRADIENT


def test_compiled_code_is_named_by_the_user_s_line_behind_it() -> None:
    generated = frame("/tmp/torchinductor_me/ab/cab.py", 88, "call")
    called = [generated, frame("/env/site-packages/torch/_inductor/x.py"), frame("/me/model.py", 12, "forward")]
    stack = Stacks().of(called)
    assert (stack.label, stack.compiled) == ("model.py:12", True)
    trace = 'File "/me/model.py", line 5, in forward\n    h = self.a(x)\nFile "/me/blocks.py", line 7, in inner\n    y'
    augmented = frame("/tmp/x_fx_codegen/a.py", 88, "forward", fx_original_trace=trace, fx_node_op="call_function")
    stack = Stacks().of([augmented])
    assert [line.place for line in stack.lines] == ["blocks.py:7", "model.py:5"]
    resumed = Stacks().of([frame("/me/model.py", 12, "torch_dynamo_resume_in_forward_at_57")])
    assert resumed.lines[0].function == "forward"


def test_a_backward_block_has_the_line_of_the_forward_pass_where_it_is_recorded(tmp_path: Path) -> None:
    node = frame("??", 0, "torch::autograd::generated::MmBackward0::apply(x)")
    forward = [
        '  File "/me/train.py", line 30, in main\n    step()\n',
        '  File "/me/net.py", line 8, in forward\n    x\n',
    ]
    event = {"action": "alloc", "addr": 0, "size": 512, "frames": [node], "forward_frames": forward}
    report = rv.load_snapshot(written(tmp_path / "a.pickle", {"segments": [], "device_traces": [[event]]}))
    [row] = report.rows
    assert row.line is not None
    assert (row.line.place, row.category) == ("net.py:8", Category.GRADIENT)
    assert "MmBackward0" in row.why
    assert "forward pass" in row.why


def test_labels_that_the_program_attaches_are_shown(tmp_path: Path) -> None:
    events: list[dict[str, Any]] = [
        {"action": "alloc", "addr": 0, "size": 1024, "user_metadata": "batch 7"},
        {"action": "alloc", "addr": 1024, "size": 512},
        {"action": "annotate", "addr": 1024, "size": 512, "user_metadata": "mask"},
    ]
    report = rv.load_snapshot(written(tmp_path / "a.pickle", {"segments": [], "device_traces": [events]}))
    assert ['"batch 7"' in report.rows[0].why, '"mask"' in report.rows[1].why] == [True, True]


@pytest.mark.parametrize("container", ["json", "pickle.gz", "json.gz", "two members.gz"])
def test_json_and_gzip_give_the_same_report(container: str, tmp_path: Path) -> None:
    allocator = Allocator()
    allocator.free(allocator.alloc(4 * MIB))
    allocator.alloc(30 * MIB, line=9)
    plain = rv.load_snapshot(allocator.write(tmp_path / "a.pickle"))
    data = json.dumps(allocator.snapshot()).encode() if "json" in container else pickle.dumps(allocator.snapshot())
    if container == "two members.gz":
        data = gzip.compress(data[:1000]) + gzip.compress(data[1000:])
    elif container.endswith("gz"):
        data = gzip.compress(data)
    file = tmp_path / container
    file.write_bytes(data)
    report = rv.load_snapshot(file)
    assert (report.peak, report.rows, report.check) == (plain.peak, plain.rows, plain.check)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (gzip.compress(pickle.dumps({"segments": []}))[:-9], "truncated"),
        (gzip.compress(b"x" * 100)[:10] + b"\xff\xff\xff", "truncated"),
        (gzip.compress(b"\0" * (2 << 20)), "too large"),
        (b'{"segments": [', "not a pickle"),
        (b"[" * 100_000, "too large"),
        (b'{"segments": [], "host_traces": 3}', "wrong field"),
        (b'{"segments": [], "host_segments": [{"address": 1}]}', "wrong field"),
    ],
    ids=range(7),
)
def test_damaged_containers_are_refused(
    data: bytes, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "_MOST_DECOMPRESSED", 1 << 20)
    file = tmp_path / "damaged"
    file.write_bytes(data)
    with pytest.raises(rv.SnapshotError) as error:
        rv.load_snapshot(file)
    assert error.value.reason == reason


def host_snapshot() -> dict[str, Any]:
    def event(action: str, address: int, size: int) -> dict[str, Any]:
        return {"action": action, "addr": address, "size": size, "stream": 0, "frames": [frame("/me/load.py", 4)]}

    return {
        "segments": [],
        "device_traces": [[]],
        "host_traces": [
            event("segment_alloc", 64, 4), event("alloc", 64, 4), event("segment_alloc", 128, 64),
            event("alloc", 128, 64), event("free_requested", 64, 4), event("free_completed", 64, 4),
        ],
        "host_segments": [
            {"address": 64, "size": 4, "allocated": False, "active": False},
            {"address": 128, "size": 64, "allocated": True, "active": True},
        ],
    }  # fmt: skip


def test_pinned_host_memory_is_a_device_of_its_own(tmp_path: Path) -> None:
    alone = rv.load_snapshot(written(tmp_path / "host.pickle", host_snapshot()))
    assert (alone.device, alone.peak, alone.timeline.reserved_peak) == ("pinned host memory", 68, 68)
    assert alone.check.holds
    allocator = Allocator()
    allocator.alloc(100)
    both = written(tmp_path / "both.pickle", host_snapshot() | allocator.snapshot())
    assert rv.load_snapshot(both).device == "cuda:0"
    assert any("pinned host memory" in note for note in rv.load_snapshot(both).notes)
    assert rv.load_snapshot(both, device="host").peak == 68


def test_annotations_are_marks_on_the_events(tmp_path: Path) -> None:
    events: list[dict[str, Any]] = [
        {"action": "alloc", "addr": 512 * i, "size": 512, "time_us": 100 + 10 * i} for i in range(6)
    ]
    events.append({"action": "oom", "size": 1, "device_free": 0, "time_us": 200})
    annotations = [
        {"name": "ProfilerStep#1", "stage": "START", "device": 0, "time_us": 105},
        {"name": "ProfilerStep#1", "stage": "END", "device": 0, "time_us": 125},
        {"name": "began before", "stage": "END", "device": 0, "time_us": 131},
        {"name": "other device", "stage": "START", "device": 1, "time_us": 131},
    ]
    data = {"segments": [], "device_traces": [events], "external_annotations": annotations}
    report = rv.load_snapshot(written(tmp_path / "a.pickle", data))
    assert [(mark.name, mark.first, mark.last, mark.kind) for mark in report.marks] == [
        ("began before", 0, 4, "annotation"),
        ("ProfilerStep#1", 1, 3, "annotation"),
        ("oom", 6, 6, "out of memory"),
    ]
    assert any("ProfilerStep#1" in note for note in report.notes)
    assert "ProfilerStep#1" in str(report.figure().layout.annotations)


@pytest.mark.parametrize("expandable", [False, True])
def test_every_moment_has_its_blocks_and_its_map(expandable: bool, tmp_path: Path) -> None:
    model = RecordedAllocator(AllocatorSettings(expandable_segments=expandable))
    truth = []
    blocks = []
    for size in (3 * MIB, 700, 12 * MIB, 5000, 18 * MIB, 2 * MIB):
        blocks.append(model.allocate(size))
        truth.append((len(model.trace) - 1, model.allocated, model.reserved, list(model.segments())))
    for block in blocks[::2]:
        model.free(block)
        truth.append((len(model.trace) - 1, model.allocated, model.reserved, list(model.segments())))
    model.empty_cache()
    truth.append((len(model.trace) - 1, model.allocated, model.reserved, list(model.segments())))
    report = rv.load_snapshot(written(tmp_path / "a.pickle", model.snapshot()))
    for at, allocated, reserved, segments in truth:
        moment = report.at(at)
        assert (moment.allocated, moment.reserved) == (allocated, reserved)
        assert list(moment.segments) == segments
        assert (int(report.allocated[at]), int(report.reserved[at])) == (allocated, reserved)
    assert report.at(-1).segments == ()
    assert "<svg" in report.at(3)._repr_html_()
    with pytest.raises(ValueError, match="expected a number from -1"):
        report.at(len(model.trace))


def test_a_released_block_that_another_stream_uses_is_not_allocated_and_not_free(tmp_path: Path) -> None:
    events = [
        {"action": "segment_alloc", "addr": 0, "size": 2 * MIB, "stream": 0},
        {"action": "alloc", "addr": 0, "size": 512, "stream": 0},
        {"action": "free_requested", "addr": 0, "size": 512, "stream": 0},
    ]
    blocks = [
        {"address": 0, "size": 512, "state": "active_pending_free"},
        {"address": 512, "size": 2 * MIB - 512, "state": "inactive"},
    ]
    at_end = {"address": 0, "total_size": 2 * MIB, "allocated_size": 0, "segment_type": "small", "blocks": blocks}
    free = {"address": 0, "size": 2 * MIB, "state": "inactive"}
    completed = [{"action": "free_completed", "addr": 0, "size": 512, "stream": 0}]
    other = [
        {"action": "alloc", "addr": 512, "size": 512, "stream": 0},
        {"action": "free_requested", "addr": 512, "size": 512, "stream": 0},
        {"action": "free_completed", "addr": 512, "size": 512, "stream": 0},
    ]
    for trace, segment, until in (
        (events, at_end, len(events)),
        ([*other], at_end, 3),  # released before the recording began
        ([*completed, *other], at_end | {"blocks": [free]}, 0),  # and completed in it
    ):
        report = rv.load_snapshot(written(tmp_path / "a.pickle", {"segments": [segment], "device_traces": [trace]}))
        assert report.check.holds
        assert report.peak == 512
        for at in range(-1, len(trace)):
            if at >= (2 if trace is events else -1):
                [found] = report.at(at).segments
                assert ((0, 512, True) in found.blocks) is (at < until)


def test_the_first_line_says_where_the_file_does_not_agree_with_the_replay(tmp_path: Path) -> None:
    allocator = Allocator()
    allocator.alloc(1000)
    allocator.alloc(30 * MIB)
    good, bad = allocator.snapshot(), allocator.snapshot()
    report = rv.load_snapshot(written(tmp_path / "good.pickle", good))
    assert report.check.holds
    assert "self-check: the replay ends with 30.0 MiB allocated" in report.text
    assert not report.text.startswith("this recording")
    bad["segments"][0]["allocated_size"] += 512
    report = rv.load_snapshot(written(tmp_path / "bad.pickle", bad))
    first = "this recording is not reliable: the replay ends with"
    assert report.text.splitlines()[0].startswith(first)
    assert report._repr_html_().startswith(f"<p><b>{first}")


def test_recordings_are_drawn_over_each_other(tmp_path: Path) -> None:
    small, large = Allocator(), Allocator()
    small.alloc(1000)
    large.alloc(30 * MIB)
    a, b = (rv.load_snapshot(one.write(tmp_path / f"{i}.pickle")) for i, one in enumerate((small, large)))
    with pytest.raises(TypeError, match="a recording is 5, expected a SnapshotReport"):
        a.overlay(5)
    figure = a.overlay(b)
    assert [trace.name.split(": ")[1] for trace in figure.data] == ["allocated", "reserved"] * 2
    assert max(figure.data[2].y) == 30
