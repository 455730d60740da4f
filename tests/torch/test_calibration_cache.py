"""The calibration cache: what it stores, what it ignores, and when it is used."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import recompviz as rv
from recompviz import networks
from recompviz.core.reports.step_times import StepTimes
from recompviz.pytorch.budgeting.calibration_cache import CalibrationCache, OperatorFigures, cache_folder, checksum
from recompviz.pytorch.internals.devices.cpu import CpuRuntime
from recompviz.pytorch.internals.operators import lstm_in_single_operators as mkldnn_off
from recompviz.pytorch.measuring import calibration
from recompviz.pytorch.measuring.step_timing import time_turns
from recompviz.widgets.explorer.explore_model import forget_if_too_high
from tests.torch.steps import make

CPU = torch.device("cpu")
FIGURES = OperatorFigures(workspace=64, sizes=(32, 8), seconds=1e-6)
NAME = "in-place, frozen, keywords, dictionary"


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("RECOMPVIZ_CACHE", str(tmp_path))
    return tmp_path


def rows() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = json.loads(CalibrationCache(CPU).path.read_text(encoding="utf-8"))
    return found


@pytest.mark.usefixtures("folder")
def test_what_is_stored_is_found_by_the_next_cache() -> None:
    CalibrationCache(CPU).store({"a": FIGURES})
    assert CalibrationCache(CPU).find(["a", "a"], [2, 2]) == [FIGURES, FIGURES]


@pytest.mark.usefixtures("folder")
def test_one_missing_key_and_nothing_is_found() -> None:
    CalibrationCache(CPU).store({"a": FIGURES})
    assert CalibrationCache(CPU).find(["a", "b"], [2, 2]) is None


@pytest.mark.usefixtures("folder")
def test_figures_with_another_number_of_sizes_count_as_missing() -> None:
    CalibrationCache(CPU).store({"a": FIGURES})
    assert CalibrationCache(CPU).find(["a"], [1]) is None


@pytest.mark.usefixtures("folder")
def test_two_caches_of_one_file_do_not_lose_each_others_figures() -> None:
    first, second = CalibrationCache(CPU), CalibrationCache(CPU)
    first.store({"a": FIGURES})
    second.store({"b": FIGURES})
    assert CalibrationCache(CPU).find(["a", "b"], [2, 2]) == [FIGURES, FIGURES]


@pytest.mark.usefixtures("folder")
def test_cached_operators_are_not_measured_again(monkeypatch: pytest.MonkeyPatch) -> None:
    first = rv.calibrate(make("batch norm").trace())
    monkeypatch.setattr(calibration, "_measured", lambda _trace: pytest.fail("measured again"))
    again = rv.calibrate(make("batch norm").trace())
    assert again.joint.workspace == first.joint.workspace
    assert again.joint.seconds == first.joint.seconds
    assert [s.size for s in again.joint.storages] == [s.size for s in first.joint.storages]


@pytest.mark.usefixtures("folder")
def test_what_is_forgotten_is_gone_from_the_file_too_and_the_rest_stays() -> None:
    CalibrationCache(CPU).store({"a": FIGURES, "b": FIGURES})
    other = CalibrationCache(CPU)
    CalibrationCache(CPU).forget({"a", "never stored"})
    assert set(rows()) == {"b"}
    other.forget({"c"})
    assert CalibrationCache(CPU).find(["b"], [2]) == [FIGURES]


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("slower", [3.0, 1.0])
def test_a_run_that_is_much_faster_than_its_operators_has_them_measured_again(slower: float) -> None:
    trace = rv.calibrate(make("batch norm").trace())
    stored = rows()
    # the sum of the operators' times is given, so that the test does not depend on the speed of the machine
    [eager] = time_turns(trace, [trace.step], 5, 10.0)
    scale = slower * min(eager.wall) / 1000 / sum(trace.joint.seconds)
    slow = trace.with_joint(replace(trace.joint, seconds=tuple(scale * each for each in trace.joint.seconds)))
    times = StepTimes(eager.wall, eager.wall, 0.0, 1000 * sum(slow.joint.seconds))
    forget_if_too_high(slow, times)
    assert times.too_high == (slower > 1.5)
    assert ("too high" in str(times)) == times.too_high
    assert rows() == ({} if times.too_high else stored)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 100_000, "\x00\x00"])
def test_a_file_that_is_no_table_counts_as_empty_with_one_warning_and_is_replaced(text: str) -> None:
    cache = CalibrationCache(CPU)
    cache.path.write_text(text, encoding="utf-8")
    with pytest.warns(RuntimeWarning, match="is ignored") as warned:
        CalibrationCache(CPU).store({"a": FIGURES})
    assert len(warned) == 1
    assert rows().keys() == {"a"}


@pytest.mark.usefixtures("folder")
def test_concurrent_writers_lose_no_figures() -> None:
    keys = [f"{writer}-{i}" for writer in range(8) for i in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: CalibrationCache(CPU).store({key: FIGURES}), keys))
    assert rows().keys() == set(keys)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    "damage",
    [
        {"workspace": "many"}, {"workspace": -1}, {"workspace": 10**30}, {"workspace": None}, {"workspace": True},
        {"sizes": 5}, {"sizes": "5"}, {"sizes": ["a", 1]}, {"sizes": [None, 1]}, {"sizes": [-5, 1]},
        {"sizes": [1.5, 1]}, {"seconds": float("nan")}, {"seconds": float("inf")}, {"seconds": -1.0},
        {"seconds": 10**400}, {"seconds": "1"},
    ],
    ids=str,
)  # fmt: skip
def test_a_row_that_is_not_valid_counts_as_missing(damage: dict[str, Any]) -> None:
    CalibrationCache(CPU).store({"a": FIGURES, "b": FIGURES})
    table = rows()
    table["a"] |= damage
    table["a"]["check"] = checksum("a", table["a"])
    CalibrationCache(CPU).path.write_text(json.dumps(table), encoding="utf-8")
    assert CalibrationCache(CPU).find(["a"], [2]) is None
    assert CalibrationCache(CPU).find(["b"], [2]) == [FIGURES]


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    "change", [{"workspace": 65}, {"sizes": [32, 16]}, {"seconds": 2e-6}, {"check": None}], ids=str
)
def test_a_row_that_was_altered_counts_as_missing(change: dict[str, Any]) -> None:
    CalibrationCache(CPU).store({"a": FIGURES, "b": FIGURES})
    table = rows()
    assert table["a"]["check"] != table["b"]["check"], "a row moved to another key is noticed"
    table["a"] |= change
    CalibrationCache(CPU).path.write_text(json.dumps(table), encoding="utf-8")
    assert CalibrationCache(CPU).find(["a"], [2]) is None
    assert CalibrationCache(CPU).find(["b"], [2]) == [FIGURES]


@pytest.mark.usefixtures("folder")
def test_a_row_that_is_not_valid_is_measured_again() -> None:
    whole = rv.calibrate(make(NAME).trace())
    table = {key: {**row, "sizes": [*row["sizes"], 1]} for key, row in rows().items()}
    CalibrationCache(CPU).path.write_text(json.dumps(table), encoding="utf-8")
    assert rv.calibrate(make(NAME).trace()).joint.workspace == whole.joint.workspace
    assert rows().keys() == table.keys()
    assert rows() != table


def test_a_write_that_fails_leaves_the_old_file_and_no_other(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    CalibrationCache(CPU).store({"a": FIGURES})

    def no_space(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", no_space)
    cache = CalibrationCache(CPU)
    cache.store({"b": FIGURES})
    assert cache.find(["a", "b"], [2, 2]) == [FIGURES, FIGURES]  # in memory
    assert rows().keys() == {"a"}
    assert sorted(os.listdir(folder)) == [cache.path.name, f"{cache.path.name}.lock"]


def test_a_folder_that_cannot_be_written_is_no_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder", encoding="utf-8")
    monkeypatch.setenv("RECOMPVIZ_CACHE", str(blocked / "below"))
    trace = rv.calibrate(make("batch norm").trace())
    assert max(trace.joint.workspace) > 0
    assert min(trace.joint.seconds) > 0


def test_a_tilde_in_the_folder_is_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RECOMPVIZ_CACHE", "~/below")
    assert cache_folder() == tmp_path / "below"


@pytest.mark.usefixtures("folder")
def test_settings_that_choose_other_kernels_have_another_file(monkeypatch: pytest.MonkeyPatch) -> None:
    paths = {CalibrationCache(CPU).path}
    with mkldnn_off():
        paths.add(CalibrationCache(CPU).path)
    torch.use_deterministic_algorithms(True)
    try:
        paths.add(CalibrationCache(CPU).path)
    finally:
        torch.use_deterministic_algorithms(False)
    monkeypatch.setattr(CpuRuntime, "name", lambda _runtime: "another processor")
    paths.add(CalibrationCache(CPU).path)
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        paths.add(CalibrationCache(CPU).path)
    finally:
        torch.set_float32_matmul_precision(precision)
    assert len(paths) == 5


@pytest.mark.usefixtures("folder")
def test_equal_calls_that_allocate_other_results_have_rows_of_their_own() -> None:
    model, tokens = networks.lstm_lm(vocabulary=9, width=8), torch.zeros(2, 3, dtype=torch.long)
    trace = rv.calibrate(rv.trace(model, tokens, loss=torch.sum))
    calls = [call for call in trace.joint.calls if call.info.op == "aten.mkldnn_rnn_layer_backward"]
    assert len({len(call.makes) for call in calls}) == 2  # one of them does not use all results


@pytest.mark.usefixtures("folder")
def test_only_operators_are_stored() -> None:
    trace = rv.trace(torch.nn.Linear(5, 3), torch.ones(2, 5))  # without a loss, the gradients of the outputs arrive
    assert trace.returns_outputs
    rv.calibrate(trace, fresh=True)
    assert rows()
    assert "" not in rows()
