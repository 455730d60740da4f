"""``python -m recompviz.benchmarks.cuda``: its parts, processes and files. It needs no package of the notebook."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from recompviz.benchmarks.cuda import __main__ as command
from recompviz.benchmarks.cuda import running
from recompviz.benchmarks.cuda.parts import PARTS
from recompviz.benchmarks.cuda.table import table

ENVIRONMENT = PARTS[0]
# packages that a machine with a GPU may lack
ABSENT = ("ipywidgets", "anywidget", "plotly", "traitlets", "IPython", "jupyterlab", "graphviz", "scipy", "pytest")
VERBS = (
    "trace",
    "calibrate",
    "certify",
    "measure",
    "simulate",
    "apply",
    "fit_in",
    "compile",
    "load_snapshot",
    "Partitioner",
)


@pytest.mark.slow
def test_no_package_of_the_notebook_is_needed() -> None:
    code = f"""
import sys
for name in {ABSENT!r}:
    sys.modules[name] = None
import importlib, recompviz as rv
from recompviz.benchmarks.cuda.parts import PARTS
from recompviz.benchmarks.cuda import __main__, running, stand_in, table
for part in PARTS:
    module, function = part.function.split(":")
    assert callable(getattr(importlib.import_module("recompviz.benchmarks.cuda." + module), function))
for name in {VERBS!r}:
    getattr(rv, name)
import torch
model = torch.nn.Linear(2, 2)
trace = rv.trace(model, torch.ones(1, 2), loss=torch.sum)
print(rv.certify(trace, rv.Plan.keep_all(trace.graph)).gradients)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "bitwise", done.stderr


@pytest.mark.slow
def test_a_part_is_run_once_and_its_result_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["environment", "--device", "cpu", "--out", str(tmp_path)]
    assert command.main(arguments) == 0
    result = json.loads((tmp_path / "environment.json").read_text())
    assert result["stand-in"] is True
    assert {row["what"] for row in result["rows"]} >= {"device", "torch", "cuDNN", "first kernel"}
    assert (tmp_path / "environment.log").exists()
    found = {path.name for path in tmp_path.iterdir()} - {"caches"}
    assert found == {"environment.json", "environment.log", "table.md"}
    capsys.readouterr()
    assert command.main(arguments) == 0
    assert "its result is there" in capsys.readouterr().out
    assert "| environment |" in (tmp_path / "table.md").read_text()


def test_a_part_that_takes_too_long_is_ended_and_leaves_no_result(tmp_path: Path) -> None:
    [result] = running.run_parts([replace(ENVIRONMENT, seconds=0.2)], "cpu", tmp_path, 8, again=False)
    assert result["ok"] is False
    assert result["ended"] == "time limit of 0 s"
    assert not (tmp_path / "environment.json").exists()
    assert "**not ok**" in table([result], "cpu", 1.0)


@pytest.mark.slow
def test_a_part_that_fails_is_shown_with_the_rows_before(tmp_path: Path) -> None:
    broken = replace(ENVIRONMENT, name="no-such-part")
    [result] = running.run_parts([broken], "cpu", tmp_path, 8, again=False)
    assert result["ended"] == "the process ended with status 1"
    assert "StopIteration" in (tmp_path / "no-such-part.log").read_text()
    (tmp_path / "x.rows.jsonl").write_text('{"ok": true}\n{"ok": fal')
    assert running._rows(tmp_path / "x.rows.jsonl") == [{"ok": True}]


def test_an_interrupt_ends_the_parts_that_run_beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []

    class Noted(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            started.append(self)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(running.subprocess, "Popen", Noted)
    monkeypatch.setattr(running._Process, "wait", interrupted)
    beside = next(part for part in PARTS if part.beside)
    with pytest.raises(KeyboardInterrupt):
        running.run_parts([beside, ENVIRONMENT], "cpu", tmp_path, 8, again=False)
    kernels, environment = started
    assert kernels.returncode == -signal.SIGKILL
    environment.kill()  # the part that was waited for is ended by `wait`
    environment.wait()


def test_the_table_is_written_each_time_a_part_has_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class FirstOnly:
        """Stands for the process of a part. The second part is interrupted."""

        def __init__(self, part: Any, *_: object) -> None:
            self.part = part

        def wait(self) -> dict[str, Any]:
            if self.part is not ENVIRONMENT:
                raise KeyboardInterrupt
            return {"part": self.part.name, "ok": True, "rows": [{"text": "the first part", "ok": True}]}

        def end(self) -> None:
            pass

    monkeypatch.setattr(running, "_Process", FirstOnly)
    with pytest.raises(KeyboardInterrupt):
        command.main(["--out", str(tmp_path), "--device", "cpu"])
    assert "the first part" in (tmp_path / "table.md").read_text()


def test_without_time_no_part_starts(tmp_path: Path) -> None:
    results = running.run_parts(list(PARTS), "cpu", tmp_path, 0.1, again=True)
    assert {result["ended"] for result in results} == {"no time was left"}
    assert [path.name for path in tmp_path.iterdir()] == []


@pytest.mark.parametrize("minutes", [1.0, 8.0, 15.0])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_parts_never_take_more_than_the_time_of_the_command(minutes: float, share: float) -> None:
    stretch = running.stretched(minutes)
    left = 60 * minutes - running.RESERVE
    for position, part in enumerate(PARTS):
        seconds = running.limit(part, PARTS[position + 1 :], left, stretch)
        assert part.reserved * stretch - 1e-6 <= seconds <= part.seconds * stretch + 1e-6
        left -= seconds * (share if position % 2 else 1.0)
        assert left >= -1e-6
    assert 0 < running.limit(PARTS[3], PARTS[4:], 20.0, 1.0) <= 20.0  # less than is reserved, for example after a delay


def test_every_cache_of_a_part_can_be_written(tmp_path: Path) -> None:
    found = running.environment_of(tmp_path)
    for name in ("NUMBA_CACHE_DIR", "RECOMPVIZ_CACHE", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"):
        assert found[name].startswith(str(tmp_path))


def test_a_missing_package_is_named_with_the_command_that_fetches_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(command, "NEEDED", ("torch", "no_such_package"))
    assert command.main(["--out", str(tmp_path)]) == 2
    line = capsys.readouterr().out
    assert line.startswith("no_such_package is needed. Fetch: ")
    assert "pip download" in line
    assert "--no-index" in line
