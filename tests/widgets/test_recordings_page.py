"""The page of recordings: the page's script computes the same moments as Python, and the command writes the page."""

from __future__ import annotations

import base64
import gzip
import json
import pickle
import re
from pathlib import Path
from typing import Any

import pytest

import recompviz as rv
from recompviz import cli
from recompviz.core.allocator.settings import AllocatorSettings
from recompviz.core.snapshots.snapshot_report import SnapshotReport
from recompviz.widgets.recordings.recordings_page import recording_message, recordings_page
from tests.core.snapshot_writer import Allocator
from tests.core.test_recordings import recorded
from tests.widgets.test_javascript import run


def report_of(folder: Path, settings: AllocatorSettings, before: int) -> SnapshotReport:
    model, _ = recorded(3, settings, before, 120, 200 << 20)
    file = folder / "run.pickle"
    file.write_bytes(pickle.dumps(model.snapshot()))
    return rv.load_snapshot(file)


@pytest.mark.node
@pytest.mark.parametrize("before", [0, 60])
@pytest.mark.parametrize("expandable", [False, True])
def test_the_page_computes_the_moments_of_python(expandable: bool, before: int, tmp_path: Path) -> None:
    report = report_of(tmp_path, AllocatorSettings(expandable_segments=expandable), before)
    message = recording_message(report)
    base = int(message["base"])
    moments = [-1, 0, 40, report.peak_at, report.events - 1]
    found = run(
        "data/recording.js",
        "({allocated: m.levels(v.r.blocks, v.r.events), reserved: m.levels(v.r.parts, v.r.events),"
        " moments: v.moments.map((at) => [m.groupsAt(v.r, at), m.segmentsAt(v.r, at)])})",
        r=message,
        moments=moments,
    )
    assert found["allocated"][1:] == report.allocated.tolist()
    assert found["reserved"][1:] == report.reserved.tolist()
    for at, (groups, segments) in zip(moments, found["moments"], strict=True):
        moment = report.at(at)
        assert sum(group["bytes"] for group in groups) == moment.allocated
        assert sum(group["count"] for group in groups) == len(moment.rows)
        shown = {
            (one["address"], one["size"], tuple((b["address"], b["size"]) for b in one["blocks"])) for one in segments
        }
        assert shown == {
            (one.address - base, one.size, tuple((a - base, n) for a, n, used in one.blocks if used))
            for one in moment.segments
        }


def test_a_block_that_waits_for_another_stream_is_on_the_map_and_not_allocated(tmp_path: Path) -> None:
    free = {"address": 0, "size": 2 << 20, "state": "inactive"}
    segment = {"address": 0, "total_size": 2 << 20, "allocated_size": 0, "segment_type": "small", "blocks": [free]}
    events = [
        {"action": "alloc", "addr": 512, "size": 512},
        {"action": "free_requested", "addr": 512, "size": 512},
        {"action": "free_completed", "addr": 0, "size": 512},  # released before the recording began
        {"action": "free_completed", "addr": 512, "size": 512},
    ]
    file = tmp_path / "a.pickle"
    file.write_bytes(pickle.dumps({"segments": [segment], "device_traces": [events]}))
    blocks = recording_message(rv.load_snapshot(file))["blocks"]
    assert list(zip(blocks["address"], blocks["born"], blocks["died"], blocks["free"], strict=True)) == [
        (512, 0, 1, 3),
        (0, -1, -1, 2),
    ]


def data_of(page: str) -> Any:
    packed = re.search(r'octet-stream">([^<]+)<', page)
    assert packed is not None
    return json.loads(gzip.decompress(base64.b64decode(packed[1])))


def test_the_command_writes_a_page_of_several_ranks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = []
    for rank, size in enumerate((10 << 20, 30 << 20)):
        allocator = Allocator()
        allocator.alloc(size, line=rank)
        files.append(str(allocator.write(tmp_path / f"rank{rank}.pickle")))
    page = tmp_path / "page.html"
    assert cli.main(["snapshot", *files, "--out", str(page)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in said[1:3]] == ["rank1.pickle", "rank0.pickle"]  # the highest peak first
    data = data_of(page.read_text("utf-8"))
    assert [one["peak"] for one in data] == [10 << 20, 30 << 20]
    assert cli.main(["snapshot", files[0], "--out", str(page)]) == 0
    assert "self-check" in capsys.readouterr().out
    assert cli.main(["snapshot", str(tmp_path / "missing"), "--out", str(page)]) == 1
    assert "cannot read" in capsys.readouterr().err


def test_texts_of_a_file_cannot_leave_the_data_of_the_page(tmp_path: Path) -> None:
    allocator = Allocator()
    allocator.alloc(1000, file="/home/</script><script>alert(1)</script>.py")
    page = recordings_page([rv.load_snapshot(allocator.write(tmp_path / "</script>.pickle".replace("/", "_")))])
    assert page.count("<script") == 2
    assert "alert(1)" not in re.sub(r"<noscript>.*?</noscript>", "", page, flags=re.DOTALL)
