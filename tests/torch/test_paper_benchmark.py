"""The paper's results: the page is what its data say, the targets are reached, the command resumes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import recompviz as rv
from recompviz import networks
from recompviz.benchmarks.paper import __main__ as command
from recompviz.benchmarks.paper import batches, methods, page, page_tables
from recompviz.benchmarks.paper.figures import by_method, reduction
from recompviz.benchmarks.paper.reported import REPORTED
from recompviz.core.live import live_search as live_search

RESULTS = Path(__file__).parents[2] / "results"


def test_the_data_tell_of_every_network_at_the_papers_batch_by_every_method() -> None:
    data = page.read(RESULTS)
    assert list(data) == list(REPORTED) == list(networks.PAPER)
    for name, network in data.items():
        part = network["predicted"]
        assert part["batch"] == networks.example(name, device="meta").inputs[0].shape[0]
        assert set(by_method(part)) >= {*page_tables.ORDER, *methods.NEIGHBOURS}, name
        assert all(row["simulated"] > part["static"] > 0 for row in part["rows"]), name


def test_page_figures_and_tables_are_what_the_command_makes_of_the_data() -> None:
    made = page.pages(page.read(RESULTS))
    for path, text in made.items():
        assert (RESULTS / path).read_text(encoding="utf-8") == text, path
        if path.endswith(".svg"):
            ElementTree.fromstring(text)
    drawn = {f"figures/{path.name}" for path in (RESULTS / "figures").iterdir()}
    assert drawn == {path for path in made if path.startswith("figures/")}
    assert all(f"]({path})" in made["README.md"] for path in drawn)


def test_every_network_reaches_the_papers_reduction() -> None:
    for name, network in page.read(RESULTS).items():
        rows = by_method(network["predicted"])
        gained = reduction(rows[methods.LIVE]["simulated"], rows[methods.KEEP_ALL]["simulated"])
        assert gained >= REPORTED[name].goal, name


def test_the_planner_of_today_reaches_it_on_vgg19_whose_peak_single_steps_do_not_lower() -> None:
    step = networks.example("vgg19", device="meta")
    trace = rv.trace(step.model, *step.inputs, targets=step.targets, loss=step.loss, device="cuda", costs="paper")
    live = trace.plans("live")
    assert reduction(live.least_total, rv.simulate(trace).peak) >= REPORTED["vgg19"].goal
    assert live.plan(live.least_total).overhead < methods.least_memory_chen(trace).overhead


@pytest.mark.slow
def test_the_command_runs_a_network_keeps_each_part_and_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(methods, "RATIOS", (0.5,))
    for name, little in (("BUDGETS", 8), ("EFFORT", 10**6), ("WALKED", 10**6)):
        monkeypatch.setattr(live_search, name, little)
    monkeypatch.setattr(command, "SHOWN", ("vgg19",))
    arguments = ["vgg19", "--small", "--quick", "--rounds", "1", "--out", str(tmp_path)]

    def stop(*_: Any) -> dict[str, Any]:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(command, "run", stop)
        assert command.main(arguments) == 130
    path = tmp_path / "data" / "vgg19.json"
    kept = json.loads(path.read_text(encoding="utf-8"))
    assert set(kept) == {"network", "predicted"}
    assert command.main(arguments) == 0
    data = json.loads(path.read_text(encoding="utf-8"))
    assert data["predicted"] == kept["predicted"]
    assert set(data) == {"network", "predicted", "measured on cpu", "batches"}
    for row in data["measured on cpu"]["rows"]:
        planned = row["method"] not in ("eager", methods.CHECKPOINT)
        assert row["seconds"] > 0
        assert not planned or abs(row["measured"] / row["simulated"] - 1) <= 0.01, row["method"]
    for row in data["measured on cpu"]["at_equal_peak"]:
        assert row["ours_measured"] is None or row["ours_measured"] <= row["measured"]
    made = (tmp_path / "README.md").read_bytes()
    assert command.main(["--page", "--out", str(tmp_path)]) == 0
    assert (tmp_path / "README.md").read_bytes() == made
    assert "goes on" not in capsys.readouterr().err


@pytest.mark.slow
def test_a_size_between_two_traces_is_that_of_a_trace_of_its_own() -> None:
    two, six, four = (batches.traced("densenet161", batch, small=True) for batch in (2, 6, 4))
    between = batches.joint_at(two.joint, six.joint, (2, 6), 4)
    assert [s.size for s in between.storages] == [s.size for s in four.joint.storages]
    assert between.clones == four.joint.clones
    with pytest.raises(ValueError, match="different calls"):
        batches.joint_at(two.joint, batches.traced("vgg19", 2, small=True).joint, (2, 6), 4)
