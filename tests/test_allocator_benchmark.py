"""The benchmark of the allocator's model prints one row for each recording and setting."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from recompviz.benchmarks.allocator import main
from tests.core.test_recordings import SETTINGS, recorded


def test_the_table_has_a_row_for_each_recording_and_setting(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, _ = recorded(3, SETTINGS["default"], 0, 120)
    file = tmp_path / "run.pickle"
    file.write_bytes(pickle.dumps(model.snapshot()))
    main([str(file), "--settings", "expandable_segments:True"])
    header, as_recorded, expandable = capsys.readouterr().out.splitlines()
    assert header.split()[:4] == ["recording", "setting", "requests", "recorded"]
    assert "as recorded" in as_recorded
    assert as_recorded.split().count("+0.00%") == 2  # of the peak, also from empty
    assert "100%" in as_recorded
    assert "expandable_segments:True" in expandable
