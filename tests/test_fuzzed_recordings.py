"""Random recordings over all fields are read to the byte; a reader that loses bytes is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from recompviz.benchmarks import fuzzed_recordings
from recompviz.core.snapshots.allocator_model import AllocatorModel


def test_random_recordings_are_read_to_the_byte(tmp_path: Path) -> None:
    counts = fuzzed_recordings.Counts()
    for seed in range(150):
        fuzzed_recordings.compare(seed, tmp_path, counts)
    assert counts.first == []
    assert {"whole", "from the middle", "not told", "pinned memory"} == {kind for kind, _, _ in counts.rows}
    assert all(counts.rows[kind, what, "values"] for kind, what, _ in counts.rows if what != "failed requests")


def test_a_fault_of_the_reader_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AllocatorModel, "_splits", lambda *_: True)  # the rest of every block is split off
    counts = fuzzed_recordings.Counts()
    for seed in range(40):
        fuzzed_recordings.compare(seed, tmp_path, counts)
    assert counts.different
    assert "instead of" in counts.table()
