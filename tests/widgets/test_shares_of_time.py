"""What extra time is a per cent of: every place of the page names it, and all have the same."""

import dataclasses
import re

import pytest

from recompviz.core.planning.planner import Planner
from recompviz.core.reports.step_times import ENOUGH
from recompviz.widgets.base import assets
from recompviz.widgets.explorer.time_base import step_time, time_base
from tests.widgets.conftest import Lab
from tests.widgets.test_javascript import run

pytestmark = pytest.mark.node

GRAPH = {"count": 2, "time": [60, 40], "timeUnit": "ms (measured)", "stepTime": 300}
RUN = {
    "eagerStep": 320, "plannedStep": 330, "predictedEager": 300, "predictedStep": 315, "predictedShare": 0.05,
    "spread": [0.01, 0.05], "pairs": 9, "resolved": True, "overhead": 15,
}  # fmt: skip


def calibrated(planner, seconds):
    joint = dataclasses.replace(planner.joint, seconds=(seconds,) * len(planner.joint.calls))
    return Planner(planner.graph, joint)


def test_the_time_of_the_step_is_the_sum_of_its_measured_calls_and_grows_with_the_size():
    bare = Lab().planner
    known = calibrated(bare, 0.002)
    whole = pytest.approx(2.0 * len(bare.joint.calls))
    assert step_time(known, "ms (measured)") == whole
    assert step_time(known, "ms (estimated)") is None
    assert step_time(bare, "ms (measured)") is None
    assert step_time(known, "FLOP") is None
    assert step_time(bare, "ms (scaled)", known) == whole
    graph = bare.graph
    twice = Planner(type(graph)(graph.names, graph.memory, 2 * graph.time, graph.edges, graph.info), bare.joint)
    assert step_time(twice, "ms (scaled)", known) == pytest.approx(4.0 * len(bare.joint.calls))


def test_picture_and_text_of_an_explorer_have_the_base_of_the_page():
    lab = Lab()
    known = calibrated(lab.planner, 0.05)
    explorer = lab.explorer(known, cost_unit="ms (measured)", budget=lab.time.least_total)
    step = explorer._graph["step_time"]
    assert step == pytest.approx(50.0 * len(known.joint.calls))
    share = f"+{explorer.plan.overhead / step:.1%} of the step"
    assert share in repr(explorer)
    assert share in explorer.to_svg()
    bare = lab.explorer(cost_unit="ms (estimated)", budget=lab.time.least_total)
    assert bare._graph["step_time"] is None
    assert "of the forward" in repr(bare)
    assert time_base(known, step).time == step


def base(graph):
    return run("data/base_time.js", "m.baseOf(v.graph)", graph=graph)


def test_the_base_is_the_step_where_its_time_is_known_and_else_the_forward_pass():
    assert base(GRAPH) == {"time": 300, "name": "the step"}
    assert base(GRAPH | {"stepTime": None}) == {"time": 100, "name": "the forward"}


def test_header_and_run_say_the_same_per_cent_of_the_step():
    table = {"rows": 1, "totalPeaks": [30], "formulaPeaks": [9], "overheads": [15]}
    figures = "m.figures(v.graph, v.table, 0, [1, 0], 40, false, v.base).overhead"
    value, unit, _ = run("explorer/header.js", figures, graph=GRAPH, table=table, base=base(GRAPH))
    assert (value, unit) == ("+5.0%", "of the step · 15.0 ms")
    nothing = run("explorer/header.js", figures, graph=GRAPH, table=table | {"overheads": [0]}, base=base(GRAPH))
    assert nothing[:2] == ["+0%", "of the step"]
    _, line = run("explorer/run_view.js", "m.timesLines(v.run)", run=RUN)
    assert line.endswith(", +5.0%; eager took 6.7% longer")
    about = run("explorer/header.js", "m.aboutOverhead(v.graph, 15, v.base)", graph=GRAPH, base=base(GRAPH))
    assert "+5.0% of the eager step, which takes 300 ms (predicted)" in about
    assert about.endswith("+15% of the forward pass alone")


def test_a_measured_share_is_the_headline_only_if_enough_pairs_show_it():
    table = {"rows": 1, "totalPeaks": [30], "formulaPeaks": [9], "overheads": [15]}
    figures = "m.figures(v.graph, v.table, 0, [1, 0], 40, false, v.base, v.run).overhead"
    predicted = ["+5.0%", "of the step · predicted"]
    for change, expected in (
        ({}, ["+3.1%", "of the step · measured", "predicted +5.0%"]),
        ({"spread": [-0.01, 0.05], "resolved": False}, ["within noise", "measured −1.0% to +5.0%", "predicted +5.0%"]),
        # a plan that recomputes something is not faster
        (
            {"plannedStep": 288, "spread": [-0.19, -0.018]},
            ["no slower", "measured −19% to −1.8%", "predicted +5.0%"],
        ),
        (
            {"plannedStep": 288, "spread": [-0.19, -0.018], "overhead": 0},
            ["−10%", "of the step · measured", "predicted +5.0%"],
        ),
        ({"pairs": 5, "resolved": False}, [*predicted, "only 5 pairs measured"]),
        ({"pairs": 1, "resolved": False}, [*predicted, "only 1 pair measured"]),
    ):
        given = {"graph": GRAPH, "table": table, "base": base(GRAPH), "run": {**RUN, **change}}
        assert run("explorer/header.js", figures, **given) == expected


def test_tables_and_lines_say_within_noise_where_the_header_does():
    runs = [
        RUN | {"measuredPeak": 2048, "number": 1, **change}
        for change in (
            {},
            {"spread": [-0.01, 0.05]},
            {"plannedStep": 288, "spread": [-0.19, -0.018]},
            {"pairs": 3},
            {"eagerStep": None, "plannedStep": None},
        )
    ]
    cells = run("explorer/runs_view.js", "v.runs.map(m.measuredStepText)", runs=runs)
    assert cells == ["330 ms (+3.1%)", "330 ms (within noise)", "288 ms (no slower)", "330 ms (+3.1%, 3 pairs)", "–"]
    texts = "v.runs.map((run) => [m.timesLines(run)[0] ?? '', m.replacedText(run, v.base)])"
    told = run("explorer/run_view.js", texts, runs=runs, base=base(GRAPH))
    assert ["within noise" in line for line, _ in told] == [False, True, False, False, False]
    assert ["within noise" in line for _, line in told] == [False, True, False, False, False]
    assert "no slower than eager (−19% to −1.8%, 9 pairs)" in told[2][0]
    assert "no slower" in told[2][1]


def test_the_page_needs_as_many_pairs_as_the_report():
    assert run("data/base_time.js", "m.ENOUGH_PAIRS") == ENOUGH


def test_every_share_of_time_in_the_page_names_its_base():
    """No script of a view of plans has the forward pass as a fixed base."""
    scripts = {path.name: path.read_text(encoding="utf-8") for path in (assets.HERE / "js" / "explorer").glob("*.js")}
    fixed = {
        name: found
        for name, text in scripts.items()
        if (found := re.findall(r"`[^`\n]*of the forward[^`\n]*`", text.replace("of the forward pass alone", "")))
    }
    assert fixed == {}
