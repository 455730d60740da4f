"""What is predicted is what is measured, network by network; and the benchmark that tables it reports every failure."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from recompviz import networks
from recompviz.benchmarks import accuracy
from recompviz.benchmarks.accuracy import MOST_OFF, Row


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet50", "gpt2", "unet", "vit"])
def test_the_measured_peak_is_the_predicted_one_within_the_budget_and_rises_with_it(name: str) -> None:
    torch.manual_seed(0)
    rows = accuracy.accuracy(networks.example(name, small=True), budgets=5, rounds=1)
    assert max(abs(row.off) for row in rows) <= MOST_OFF
    assert max(row.ends for row in rows) <= MOST_OFF
    assert all(row.fits for row in rows)
    assert accuracy.rises(rows)
    assert all(row.gradients == "bitwise" and row.certified for row in rows)
    # the largest budget keeps everything, a smaller one recomputes; U-Net's gradients alone make the small one's peak
    assert rows[-1].recomputed == 0
    assert (len(rows) > 1 and rows[0].recomputed > 0) == (name != "unet")


@pytest.mark.slow
def test_the_command_prints_a_row_for_each_budget_and_writes_them_as_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rows.json"
    status = accuracy.main(["llama_7b", "--batch", "2", "--budgets", "3", "--rounds", "1", "--json", str(path)])
    assert status == 0
    _, _, header, *rows, summary, last = capsys.readouterr().out.splitlines()
    assert header.split()[:3] == ["network", "budget", "(total)"]
    assert len(rows) == 3
    assert "3 within budget, peak rises with it, 3 certified" in summary
    assert last.endswith("failures: none")
    data = json.loads(path.read_text(encoding="utf-8"))
    assert data["torch"] == torch.__version__
    assert [row["off"] for row in data["rows"]] == [0, 0, 0]


GOOD = Row("net", 1000, 900, 3, 800, 800, 0.0, 0.0, 0.1, 0.1, True, "bitwise", "equal")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (replace(GOOD, certified=False, certificate="gradients differ"), "gradients differ"),
        (replace(GOOD, measured=809), "off by 1.12%"),
        (replace(GOOD, measured=791), "off by -1.12%"),
        (replace(GOOD, total=1001), "1 B above its budget"),
    ],
)
def test_every_failure_is_named_and_makes_the_exit_status_one(
    row: Row, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(accuracy, "accuracy", lambda *_: [GOOD, row])
    assert accuracy.main(["vit"]) == 1
    assert said in capsys.readouterr().out.splitlines()[-1]


def test_a_peak_that_falls_as_the_budget_rises_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(accuracy, "accuracy", lambda *_: [GOOD, replace(GOOD, budget=1100, total=899)])
    assert accuracy.main(["vit"]) == 1
    assert "vit: the measured peak does not rise" in capsys.readouterr().out


def test_a_network_that_cannot_run_is_named_and_the_next_one_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def only_gpt2(step: networks.Example, *_: int) -> list[Row]:
        if step.name != "gpt2":
            raise RuntimeError("no memory left\nand more")
        return [GOOD]

    monkeypatch.setattr(accuracy, "accuracy", only_gpt2)
    assert accuracy.main(["vit", "gpt2"]) == 1
    assert capsys.readouterr().out.splitlines()[-1].endswith("failures: vit: RuntimeError: no memory left")


def test_on_another_device_than_the_cpu_how_far_off_is_no_failure() -> None:
    row = replace(GOOD, measured=809)
    assert row.failures(exact=False) == []
    assert row.failures(exact=True) == ["net at 1000 B: off by 1.12%"]
