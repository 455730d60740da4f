"""The planner's benchmark prints one row for each graph file it is given."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from recompviz.benchmarks.planner import main


def test_the_table_has_a_row_for_each_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "chain.json"
    path.write_text(json.dumps({"memory": [4, 2, 1], "time": [1, 1, 1], "edges": [[0, 1], [1, 2]]}), encoding="utf-8")
    main([str(path), "--repeats", "1"])
    header, row = capsys.readouterr().out.splitlines()[-2:]
    assert header.split()[:4] == ["network", "#V", "#E", "lower"]
    assert row.split()[:4] == ["chain", "3", "2", "4"]


def test_the_growth_table_has_a_row_for_each_size(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--growth", "10", "20"])
    header, small, large = capsys.readouterr().out.splitlines()
    assert header.split()[:2] == ["#V", "calls"]
    assert int(small.split()[0]) < int(large.split()[0])
    assert len(large.split()) == len(small.split()) + 1  # the exponent
