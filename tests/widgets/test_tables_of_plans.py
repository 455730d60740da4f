"""The tables below the picture: the plans come first, and the paper's formula only in its view."""

import pytest

from recompviz.widgets.base import assets
from tests.widgets.test_javascript import run

pytestmark = pytest.mark.node

LIVE = {
    "objective": "live", "family": "auto", "base": -1, "rows": 5, "totalPeaks": [100, 90, 75, 60, 50],
    "overheads": [0, 1, 4, 9, 20],
}  # fmt: skip
GIVEN = LIVE | {
    "objective": "given",
    "rows": 2,
    "totalPeaks": [100, 70],
    "overheads": [0, 30],
    "names": ["keep-all", "chen"],
}
STATE = {"table": 0, "row": 1, "theory": False, "earlier": []}


def rows(tables, **state):
    call = "m.planRows(v.tables, v.state, () => 'best found').map((r) => [r.name, r.peak, r.overhead, r.shown])"
    return run("explorer/plans_view.js", call, tables=tables, state=STATE | state)


def test_the_plans_are_those_of_the_curve_the_baselines_and_the_one_shown():
    assert rows([LIVE, GIVEN]) == [
        ["keep-all", 100, 0, False],
        ["90 B, best found", 90, 1, True],
        ["75 B, best found", 75, 4, False],
        ["chen", 70, 30, False],
        ["60 B, best found", 60, 9, False],
        ["50 B, best found, the leanest", 50, 20, False],
    ]
    assert rows([LIVE])[0] == ["keep-all", 100, 0, False]


def test_the_plan_that_keeps_everything_is_listed_once():
    first = [{"table": 0, "row": 0}]
    names = [(row[0], row[3]) for row in rows([LIVE, GIVEN], earlier=first)]
    assert [shown for name, shown in names if name == "keep-all"] == [False]
    names = [(row[0], row[3]) for row in rows([LIVE, GIVEN], row=0)]
    assert [shown for name, shown in names if name == "keep-all"] == [True]


def test_earlier_choices_of_the_papers_plans_are_listed_only_in_its_view():
    paper = LIVE | {"objective": "time", "totalPeaks": [100, 91, 76, 61, 51]}
    earlier = [{"table": 2, "row": 3}]
    assert 61 not in [row[1] for row in rows([LIVE, GIVEN, paper], earlier=earlier)]
    assert 61 in [row[1] for row in rows([LIVE, GIVEN, paper], earlier=earlier, theory=True)]


def test_the_tab_that_is_open_first_has_the_plans():
    page = (assets.HERE / "js" / "explorer" / "explorer.js").read_text(encoding="utf-8")
    tabs = page[page.index("const TABS = {") :].split("}")[0]
    assert tabs.split("{")[1].strip().startswith("plans:")


def test_the_papers_formula_is_a_part_of_the_gap_only_in_its_view():
    parts = [["formula", 40, 40], ["static", 20, 60], ["liveness", -10, 50], ["rounding", 1, 51], ["measured", 2, 53]]
    gap = [{"name": name, "change": change, "total": total, "why": "", "behind": []} for name, change, total in parts]
    one = {"number": 1, "predictedPeak": 51, "measuredPeak": 53, "gap": gap}
    parts_of = "m.partsShown(v.run.gap, t).map((p) => [p.name, p.change, p.total])"
    call = f"[true, false].map((t) => [{parts_of}, m.gapTitle(v.run, t)])"
    (all_parts, with_formula), (plain, without) = run("explorer/gap_view.js", call, run=one)
    assert all_parts == parts
    assert plain == [["tensors", 50, 50], ["rounding", 1, 51], ["measured", 2, 53]]
    assert sum(change for _, change, _ in plain) == 53
    assert "the paper's formula gives 40 B" in with_formula
    assert "formula" not in without
    assert "formula" not in run("explorer/gap_view.js", "m.gapTitle(null, false)")
