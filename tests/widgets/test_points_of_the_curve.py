"""The picture of the trade-off curve: points outside of it, its axis, and its texts."""

import re

import pytest

from recompviz.widgets.base import assets
from tests.widgets.test_javascript import run

pytestmark = pytest.mark.node

EDGES = {"left": 40, "right": 300, "top": 21}


def test_a_point_outside_of_the_picture_is_an_arrow_at_its_edge():
    points = [[100, 50], [100, -80], [400, 50], [10, 50], [400, -80]]
    places = run("explorer/points.js", "v.p.map(([x, y]) => m.placeWithin(x, y, v.edges))", p=points, edges=EDGES)
    assert places == [[100, 50, None], [100, 21, 0], [300, 50, 90], [40, 50, -90], [300, 21, 135 - 90]]
    arrow = run("explorer/points.js", "[0, 90].map((turn) => m.arrowAt(300, 50, turn))")
    assert "transform" not in arrow[0]
    assert arrow[1]["transform"] == "rotate(90 300 50)"


def test_the_name_of_a_point_outside_says_the_numbers_that_its_place_does_not_show():
    names = "[null, 0, 90, 45].map((turn) => m.nameWithin('chen', turn, 2 ** 30, 0.94))"
    assert run("explorer/points.js", names) == ["chen", "chen +94%", "chen 1.00 GiB", "chen +94% 1.00 GiB"]


def test_names_at_a_corner_stay_inside_and_cover_neither_points_nor_each_other():
    names = ["per-module +31% 81.9 KiB", "chen +45% 85.1 KiB", "loaded +44% 86.0 KiB", "as-written +31% 84.0 KiB"]
    marks = [[300, 21]] * 4
    code = "(() => { const place = m.makeNames(v.marks, v.edges); return v.names.map((n) => place(300, 21, n)); })()"
    boxes = [[294, 306, 15, 27]]
    for name, place in zip(names, run("explorer/points.js", code, marks=marks, edges=EDGES, names=names), strict=True):
        wide = 6.2 * len(name)
        left = place["x"] - {"start": 0, "middle": wide / 2, "end": wide}[place["anchor"]]
        box = [left, left + wide, place["y"] - 9, place["y"] + 2]
        assert EDGES["left"] <= box[0]
        assert box[1] <= EDGES["right"] + 1e-9
        assert not any(box[0] < b[1] and b[0] < box[1] and box[2] < b[3] and b[2] < box[3] for b in boxes)
        boxes.append(box)


def test_the_names_of_two_near_points_stand_on_their_outer_sides():
    marks = [[100, 60], [111, 60]]
    place = "(([x, y], i) => place(x, y, v.n[i]))"
    code = f"(() => {{ const place = m.makeNames(v.marks, v.edges); return v.marks.map({place}); }})()"
    chen, module = run("explorer/points.js", code, marks=marks, edges=EDGES, n=["chen", "per-module"])
    assert (chen["anchor"], module["anchor"]) == ("end", "start")
    assert chen["x"] < 100
    assert module["x"] > 111
    alone = run("explorer/points.js", "m.sideAway(100, 60, [[100, 60], [160, 60]])")
    assert alone == 0


def test_baselines_at_one_place_have_one_mark_and_one_name():
    given = {"objective": "given", "rows": 4, "totalPeaks": [300, 100, 103, 140], "overheads": [0, 5, 6, 5]}
    scales = "{ x: (b) => b, y: (t) => 10 * t, left: 40, right: 300, top: 21 }"
    code = f"[m.givenGroups([null, v.given], {scales}), m.givenMarks([null, v.given], {scales})]"
    groups, marks = run("explorer/points.js", code, given=given)
    assert groups == [[[1, 1]], [[1, 2]], [[1, 3]]]  # 10 px apart: each has a mark
    given["overheads"][2] = 5.5
    groups, marks = run("explorer/points.js", code, given=given)
    assert groups == [[[1, 1], [1, 2]], [[1, 3]]]
    assert marks == [[100, 50], [140, 50]]
    clicks = "[[0, 0], [1, 1], [1, 2]].map(([table, row]) => m.nextOf([[1, 1], [1, 2]], { table, row }))"
    assert run("explorer/points.js", clicks) == [[1, 1], [1, 2], [1, 1]]  # every one can be chosen
    names = "v.facts.map((facts) => m.namesTogether(['chen', 'per-module'], facts, v.wide))"
    facts = [["+33%", "+28%"], ["+28%", "+28%"], ["", ""]]
    found = run("explorer/points.js", names, facts=facts, wide=260)
    assert found == ["chen +33%, per-module +28%", "chen, per-module +28%", "chen, per-module"]
    assert run("explorer/points.js", names, facts=facts[:1], wide=100) == ["chen +33% and 1 more"]


def test_a_click_on_the_name_of_the_peak_is_answered_by_the_step_of_the_peak():
    show = """(() => {
      const steps = [];
      const view = new Proxy({}, { get: (_, name) => (at) => steps.push([name, at]) });
      const views = { timeline: view, graph: {mark() {}, setAlive() {}}, drawer: { answer() {} } };
      const state = { step: 7, hoverStep: 3, hover: -1, hoverBar: -1, selected: -1, line: null };
      const reply = { steps: 9, peakStep: 7, blocks: { first: [], stop: [], bytes: [] }, stepNodes: [] };
      const graph = { nodes: [], count: 0 };
      m.makeSelection({ graph, state, views, reply, showCard() {}, showDrawer() {} }).showPeak();
      return [state.step, state.hoverStep, steps.filter(([name]) => name === "hoverStep")];
    })()"""
    assert run("explorer/selection.js", show) == [7, -1, [["hoverStep", -1]]]
    moves = """(() => {
      const told = [];
      const handlers = {};
      const addEventListener = (type, does) => (handlers[type] = does);
      const ownerDocument = { addEventListener };
      const chart = { addEventListener, ownerDocument, getBoundingClientRect: () => ({ left: 0, top: 0 }) };
      m.makeLandscapePointer(chart, { hover: (x) => told.push(x), leave: () => told.push("leave") });
      for (const [clientX, button] of v.moves) {
        handlers.pointermove({ clientX, clientY: 5, target: { closest: () => button } });
      }
      return told;
    })()"""
    moved = run("explorer/landscape_pointer.js", moves, moves=[[10, None], [11, {}], [12, None]])
    assert moved == [10, "leave", 12]  # over the button, the step under the pointer is not read


def test_the_name_of_the_bound_covers_neither_line_nor_curve_nor_another_name():
    place = (
        "m.boundPlace('lower bound', { left: 50, right: 300, y: 200 }, v.line, v.taken, (x) => x < v.flat ? 150 : 198)"
    )
    for line, taken, flat, expected in (
        (40, [], 300, 50),
        (60, [], 300, 66),  # after the line
        (250, [], 300, 50),
        (60, [[120, 170, 190, 205]], 300, None),  # the name of keep-all is there
        (110, [], 160, None),  # the curve is as low as the name
    ):
        assert run("explorer/points.js", place, line=line, taken=taken, flat=flat) == expected


def test_the_name_of_the_budget_is_not_written_over_the_name_of_the_peak():
    write = "(bytes) => (bytes / 1048576).toFixed(3) + ' MiB'"
    text = f"m.peakText({{ peak: 12543000, reserved: 0 }}, 275, {write})"
    wide = 6.8 * len("budget 11.962 MiB")
    span_of_peak = f"m.peakSpan({text}, v.px, 300)"
    place = f"m.limitPlace({{ left: 50, right: 550 }}, v.wide, {span_of_peak})"
    for px in range(50, 551, 10):
        name, span = run("explorer/timeline_marks.js", f"[{place}, {span_of_peak}]", px=px, wide=wide)
        left = name["x"] - wide if name["anchor"] == "end" else name["x"]
        assert span[1] - span[0] > 6.8 * len("peak 11.962 MiB · what is alive?")
        assert name["below"] or left + wide < span[0] or left > span[1]


def test_the_peak_is_written_with_as_many_figures_as_the_budget():
    table = {"rows": 2, "totalPeaks": [12543000, 12542000], "overheads": [0, 50], "names": ["a", "b"]}
    text = "m.peakText({ peak: 12543000, reserved: 0 }, 275, d.totalWriter(v.table))"
    written = run("explorer/timeline_marks.js", text, {"d": "data/plan_table.js"}, table=table)
    budget = run("data/plan_table.js", "m.totalText(v.table, 12543000)", table=table)
    assert written == f"peak {budget} · what is alive?"
    assert budget == "11.962 MiB"  # the totals of the table differ by 1 kB


def test_the_text_of_the_peak_is_never_cut_at_an_edge():
    reply = {"peak": 87_700_000, "reserved": 0}
    code = "v.px.map((px) => { const { words, middle } = m.peakPlace(v.r, px, v.edges, (b) => '83.6 MiB'); "
    code += "return [words, ...m.peakSpan(words, px, middle)]; })"
    for right in (200, 390, 480, 900):
        edges = {"left": 60, "right": right}
        places = run("explorer/timeline_marks.js", code, r=reply, edges=edges, px=list(range(70, right - 10, 10)))
        for words, start, end in places:
            assert words.startswith("peak 83.6 MiB")
            if right > 200:
                assert start >= 60
                assert end <= right
        if right == 900:
            assert {words for words, *_ in places} == {"peak 83.6 MiB · what is alive?"}


def test_a_budget_above_the_chart_has_a_name_with_an_arrow_and_no_line_over_other_texts():
    marks = run("explorer/timeline_marks.js", "[-130, 16, 90].map((y) => m.limitMark(y, 16, 'budget 9 B', false))")
    assert [(mark["beyond"], mark["words"]) for mark in marks] == [
        (True, "budget 9 B ↑"),
        (False, "budget 9 B"),
        (False, "budget 9 B"),
    ]
    assert all(mark["nameY"] >= 12 and mark["y"] >= 16 for mark in marks)


def test_the_line_of_the_budget_does_not_strike_through_the_name_of_the_peak():
    lines = list(range(16, 120))
    heights = run("explorer/timeline_marks.js", "v.lines.map((line) => m.peakHeight(40, 13, line))", lines=lines)
    for line, height in zip(lines, heights, strict=True):
        assert not height - 9 < line < height + 2
        assert abs(height - 40) < 18


@pytest.mark.parametrize("least", [100.0, 99.5])
def test_the_axis_does_not_magnify_a_range_that_is_nothing_to_trade(least):
    table = {"rows": 2, "objective": "live", "totalPeaks": [100e6, least * 1e6], "overheads": [0, 3]}
    domain = run("explorer/budget_axis.js", "m.budgetDomain([v.table])", table=table)
    assert domain["low"] < 80e6
    assert domain["high"] > 104e6


def test_the_axis_fits_a_range_worth_trading():
    table = {"rows": 2, "objective": "live", "totalPeaks": [100e6, 95e6], "overheads": [0, 3]}
    domain = run("explorer/budget_axis.js", "m.budgetDomain([v.table])", table=table)
    assert 93e6 < domain["low"] < 95e6


def test_no_line_strikes_through_a_text_of_curve_or_landscape():
    """Texts of the curve are drawn above the line of the budget, with a halo; names of layers have one."""
    curve = (assets.HERE / "js" / "explorer" / "tradeoff_curve.js").read_text(encoding="utf-8")
    line = curve.index('class: "rv-budget-line"')
    assert curve.index("chart.append(texts)") > line
    before = curve[:line]
    texts = re.findall(r'svg\("text", \{(.*?)\}, (\w+)\)', before)
    inside = [(style, parent) for style, parent in texts if "x: PAD.left - 5" not in style and "y: 10" not in style]
    assert len(inside) >= 4
    assert all("rv-halo" in style and parent == "texts" for style, parent in inside)
    rule = re.search(r"\.rv-stratum \{([^}]*)\}", assets.css())[1]
    assert "paint-order: stroke" in rule
    assert "stroke-width" in rule
