"""The page's pure functions, run by Node where there is one, held against what they mirror in Python."""

import json
import re
import subprocess
from graphlib import TopologicalSorter

import numpy as np
import pytest

from recompviz.core.base.palette import LIGHT
from recompviz.core.base.units import format_bytes, format_cost, format_time
from recompviz.core.steps.examples import residual_step
from recompviz.core.steps.joint import Category
from recompviz.widgets.base import assets
from recompviz.widgets.explorer.landscape_picture import fill_of
from recompviz.widgets.explorer.strata import strata_of
from recompviz.widgets.layout.folded import first_open
from recompviz.widgets.layout.layered import isotonic
from recompviz.widgets.layout.modules import module_tree

JS = assets.HERE / "js"
# room → the rooms that it may import from
ROOMS = {
    "shared": (), "data": ("shared",), "graph": ("shared", "data"), "explorer": ("shared", "data", "graph"),
    "lessons": ("shared",), "recordings": ("shared", "data"), "ranks": ("shared", "data"),
}  # fmt: skip
node = pytest.mark.node


def run(module, expression, modules=None, **values):
    """Evaluate an expression over a module's exports, `m`, and those of other modules by name."""
    source = "".join(
        f"import * as {name} from {json.dumps((JS / path).as_uri())};\n"
        for name, path in {"m": module, **(modules or {})}.items()
    )
    source += f"const v = {json.dumps(values)};\nconsole.log(JSON.stringify({expression}));"
    done = subprocess.run(
        ["node", "--no-warnings", "--input-type=module", "-e", source],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return json.loads(done.stdout)


@node
def test_bytes_times_and_costs_are_written_as_in_python():
    sizes = [0, 1, 1023, 1024, 10_000, 1_047_552, 1_610_612_736, 3.7e13, -4096]
    sizes += [0.5, 1.5, *range(1024, 2_000_000, 32 * 509), *range(512, 1_100_000, 1024 * 7), *range(1152, 12_000, 256)]
    sizes += [1152 << 10, 1408 << 20, 12_544 << 10, 12_800 << 10, 752_128 << 20, 2.675 * 1024]
    assert run("shared/units.js", "v.sizes.map(m.formatBytes)", sizes=sizes) == [format_bytes(size) for size in sizes]
    times = [0, 0.004, 0.01, 0.256, 0.999, 1, 9.996, 12, 130.4, 200, 999.4, 999.6, 1000, 4860, 14_500, 999_600, 3e6]
    assert run("shared/units.js", "v.times.map(m.formatTime)", times=times) == [format_time(time) for time in times]
    costs = [0, 7, 1234, 0.5, 0.0123456, 12.3456]
    assert run("shared/units.js", "v.costs.map(m.formatCost)", costs=costs) == [format_cost(cost) for cost in costs]


@node
def test_only_one_file_of_the_page_writes_and_reads_units_of_bytes():
    # and the test above compares it with the one file of Python
    names = re.compile(r"""(["'`])(k|[KMGT]i?)B\1|\bkib:""")
    found = {str(path.relative_to(JS)) for path in JS.rglob("*.js") if names.search(path.read_text())}
    assert found == {"shared/units.js"}


@node
def test_a_table_ends_below_a_whole_row_and_says_how_many_follow():
    ends = [44, 80, 116, 136, 172]  # some rows have two lines
    rooms = [30, 100, 116, 150, 500]
    heights = run("shared/data_table.js", "v.rooms.map((room) => m.wholeRows(v.ends, room))", ends=ends, rooms=rooms)
    assert heights == [30, 80, 116, 136, 172]
    told = run(
        "shared/data_table.js", "v.seen.map((seen) => m.belowText(v.ends, seen))", ends=ends, seen=[80, 136, 172]
    )
    assert told == ["▾ 3 more rows below", "▾ 1 more row below", ""]


@node
def test_a_cost_is_written_as_a_time_wherever_it_is_one():
    costs = [["ms (measured)", 16.8], ["µs", 2500], ["s", 1.5], ["FLOP", 7], ["ms", 0], ["ms (measured)", 0.00461]]
    texts = run("data/base_time.js", "v.costs.map(([unit, cost]) => m.costWithUnit(cost, unit))", costs=costs)
    assert texts == [format_time(16.8), format_time(2.5), format_time(1500), "7 FLOP", "0", "0.00461 ms"]


@node
def test_a_budget_leads_to_the_same_row_as_in_python(lab):
    for table in (lab.time, lab.memory):
        budgets = np.linspace(table.least_total, table.total_peaks.max() * 1.1, 40).tolist()
        plain = {"objective": table.objective, "rows": len(table), "totalPeaks": table.total_peaks.tolist()}
        rows = run("data/plan_table.js", "v.budgets.map((b) => m.rowFor(v.table, b))", budgets=budgets, table=plain)
        assert rows == [table.row(budget) for budget in budgets]
        reachable = run("data/plan_table.js", "m.reachableRows(v.table)", table=plain)
        assert set(rows) <= set(reachable)
        assert run("data/plan_table.js", "m.rowFor(v.table, 1)", table=plain) == -1


@node
def test_lower_sets_and_boundaries_are_those_of_python(lab):
    graph = lab.graph
    plain = {"count": len(graph), "edges": graph.edges.ravel().tolist()}
    for v in (0, 9, len(graph) - 1):
        inside, boundary = run(
            "data/lower_sets.js",
            "(() => { const near = m.neighbours(v.g); const s = m.lowerSetOf(v.v, near, v.g.count);"
            " return [Array.from(s), m.boundaryOf(s, near)]; })()",
            g=plain,
            v=v,
        )
        lower = graph.closure([graph.names[v]])
        assert {graph.names[i] for i, bit in enumerate(inside) if bit} == lower
        assert {graph.names[i] for i in boundary} == graph.boundary(lower)


@node
def test_only_what_changed_is_painted():
    assert run("graph/diff.js", "m.diff([1, 0, 1], [1, 1, 0])") == [1, 2]
    assert run("graph/diff.js", "m.diff(null, [1, 1])") == [0, 1]


@node
def test_zooming_keeps_the_point_under_the_pointer():
    camera = run("graph/camera.js", "m.zoomAt({scale: 1, x: 5, y: 7}, 2, 100, 50)")
    assert ((100 - camera["x"]) / 2, (50 - camera["y"]) / 2) == (95, 43)


@node
def test_a_column_of_the_timeline_shows_its_highest_step():
    assert run("explorer/timeline_shapes.js", "Array.from(m.columnSteps([1, 9, 2, 3, 8, 1], 3))") == [1, 3, 4]


@node
def test_a_click_on_the_timeline_finds_the_step():
    found = "[0, 58, 485, 499].map((px) => m.hitTest(px, 500, 0, 10))"
    assert run("explorer/timeline_view.js", found) == [-1, 0, 9, -1]
    assert run("explorer/timeline_view.js", "m.hitTest(58, 500, 4, 6)") == 4  # zoomed into steps 4 and 5


@node
def test_a_stale_reply_is_known_by_its_request_and_its_graph():
    stale = "[[3, 'a'], [4, 'b'], [4, 'a']].map(([r, f]) => m.isStale({request: r, fingerprint: f}, {request: 4}, 'a'))"
    assert run("explorer/replies.js", stale) == [True, True, False]


@node
def test_a_choice_has_a_higher_number_than_those_of_another_view():
    explorer = (
        "{model: {get: () => ({request: 9})}, asked: {request: 3, table: 0, row: 0, budget: 10}, views: {},"
        " state: {request: 3, table: 0, row: 0, budget: 10, settled: true, earlier: []},"
        " tables: [{rows: 2, totalPeaks: [10, 8]}], pacer: {ask: (choice) => asked.push(choice)}, schedule() {}}"
    )
    found = run("explorer/choices.js", f"((asked) => (m.makeChoices({explorer}).choose(0, 1), asked))([])")
    assert found == [{"request": 10, "table": 0, "row": 1, "budget": 8}]


EARLIER = """((does) => {
  const state = {request: 3, table: 0, row: 0, budget: 10, settled: true, earlier: [], rested: {table: 0, row: 0}};
  const explorer = {
    model: {get: () => ({})}, asked: {}, views: {}, state, pacer: {ask() {}}, schedule() {},
    tables: [{objective: "live", rows: 5, totalPeaks: [10, 8, 7, 6, 5]}],
  };
  does(m.makeChoices(explorer), state);
  return state.earlier.map(({ row }) => row);
})"""


@node
@pytest.mark.parametrize(
    ("actions", "earlier"),
    [
        ("c.setRow(1, true); c.setRow(2, true); c.setRow(3, true)", [0]),  # small steps are one choice
        ("c.setRow(1, true); c.setRow(2, true); c.choose(0, 4)", [2, 0]),  # which is the last one
        ("c.setRow(1, true); state.stepping = false; c.setRow(2, true)", [1, 0]),  # the slider was left
        ("c.setRow(1, true); c.setBudget(7, 2); c.setRow(2); c.setRow(3, true)", [2, 1, 0]),  # a drag in between
        ("c.setBudget(8, 1); c.setBudget(7, 2); c.setRow(2)", [0]),  # a drag is one choice
    ],
)
def test_steps_of_the_slider_and_a_drag_are_one_choice_each(actions, earlier):
    assert run("explorer/choices.js", f"{EARLIER}((c, state) => {{ {actions} }})") == earlier


REPLIES = """((state, reply) => {
  const handlers = {};
  const nothing = new Proxy({}, { get: () => () => {} });
  m.listenToKernel({
    model: {
      get: (name) => (name === "_edition" ? reply.edition : reply), on: (name, handler) => (handlers[name] = handler),
    },
    graph: { fingerprint: "f" }, state,
    views: { graph: nothing, timeline: nothing }, pacer: nothing, light() {}, markStep() {}, schedule() {},
    edition: 0,
  });
  handlers["change:_reply"]();
  return [state.request, state.row, state.budget, state.settled, state.confirmed, state.earlier];
})(v.state, { fingerprint: "f", categories: [], steps: 0, ...v.reply })"""


@node
@pytest.mark.parametrize(
    ("reply", "settled", "after"),
    [
        (
            {"request": 4, "table": 0, "row": 2, "budget": 9},
            True,
            [5, 1, 8, True, False],
        ),  # older than the page's choice
        (
            {"request": 5, "table": 0, "row": 1, "budget": 9},
            True,
            [5, 1, 9, True, True],
        ),  # the kernel raised the budget
        ({"request": 5, "table": 0, "row": 1, "budget": 9}, False, [5, 1, 8, False, True]),  # a drag goes on
        (
            {"request": 5, "table": 0, "row": 2, "budget": 9},
            False,
            [5, 2, 9, True, True],
        ),  # the page's was not possible
        ({"request": 6, "table": 0, "row": 1, "budget": 9}, False, [6, 1, 9, True, True]),  # chosen in Python
    ],
)
def test_the_page_follows_the_kernel_unless_it_has_made_a_newer_choice(reply, settled, after):
    state = {"request": 5, "table": 0, "row": 1, "budget": 8, "settled": settled, "confirmed": False, "step": -1}
    state |= {"earlier": [], "rested": {"table": 0, "row": 1}}
    earlier = [{"table": 0, "row": 1}] if after[1] != 1 else []  # the user's plan, if the kernel chose another
    assert run("explorer/replies.js", REPLIES, state=state, reply=reply) == [*after, earlier]


@node
@pytest.mark.parametrize("rested", [None, {"table": 0, "row": 1}])
def test_a_plan_that_the_user_did_not_choose_is_no_earlier_choice(rested):
    reply = {"request": 6, "table": 0, "row": 2, "budget": 9, "edition": 0}
    state = {"request": 5, "table": 0, "row": 1, "budget": 8, "settled": True, "step": -1, "earlier": []}
    state |= {"rested": rested}
    by_code = run("explorer/replies.js", REPLIES, state=state, reply=reply)
    assert by_code[1] == 2
    assert by_code[-1] == ([rested] if rested else [])
    # a search has ended: the same choice has a better plan
    assert run("explorer/replies.js", REPLIES, state=state, reply=reply | {"edition": 1})[-1] == []
    first = EARLIER.replace("rested: {table: 0, row: 0}", "rested: null")
    actions = "((c) => { c.setBudget(8, 1); c.setRow(2); c.setRow(4); })"
    assert run("explorer/choices.js", f"{first}{actions}") == [2]  # not one that a search or pins showed


@node
def test_an_earlier_choice_follows_its_plan_when_tables_change():
    old = "[{rows: 3, kept: Uint8Array.of(1, 2, 3)}, {rows: 2, kept: Uint8Array.of(7, 8)}]"
    new = "[{rows: 3, kept: Uint8Array.of(0, 1, 3)}, null]"
    choices = "[[0, 0], [0, 1], [0, 2], [1, 0], [2, 0]]"
    found = run(
        "explorer/replies.js",
        f"((old, next) => {choices}.map(([table, row]) => m.carried({{table, row}}, old, next)))({old}, {new})",
    )
    assert found == [{"table": 0, "row": 1}, None, {"table": 0, "row": 2}, None, None]


@node
def test_arrow_keys_step_over_the_distinct_plans():
    table = {"objective": "time", "rows": 4, "totalPeaks": [10, 8, 8, 5]}
    step = "[[0, -1], [1, -1], [3, 1], [3, -1]].map(([row, d]) => m.neighbourRow(v.t, [0, 1, 3], row, d))"
    assert run("explorer/budget_axis.js", step, t=table) == [1, 3, 1, 3]


@node
def test_the_badge_says_bitwise_only_where_the_certificate_does():
    runs = [
        {"certified": True, "certificate": "gradients, loss and buffers bitwise equal to eager; 3 MiB saved"},
        {"certified": True, "certificate": "gradients, loss and buffers equal to eager within rtol 0.001"},
        {"certified": False, "certificate": "failed: gradients differ from eager"},
    ]
    badges = run("explorer/run_view.js", "v.runs.map(m.badgeText)", runs=runs)
    assert ["bitwise" in badge for badge in badges] == [True, False, False]
    assert [badge[0] for badge in badges] == ["✓", "✓", "✗"]
    assert "tolerance" in badges[1]


@node
def test_a_typed_budget_is_read_in_bytes_or_per_cent():
    texts = ["500 MiB", "1.5GB", "60%", "1024", "1,000 kB", "lots", "3 parsecs", ""]
    read = run("shared/units.js", "v.texts.map((text) => m.parseBudget(text, 1000))", texts=texts)
    bare = run("shared/units.js", "['140', '1.5', '150,000,000'].map((text) => m.parseBudget(text, 234 * 2 ** 20))")
    assert bare == [140 * 2**20, 1.5 * 2**20, 150_000_000]  # in the unit that is shown, unless it is large
    assert read == [500 * 2**20, 1.5e9, 600, 1024, 1e6, None, None, None]


@node
def test_the_header_compares_a_pinned_plan_with_keep_all_which_its_table_does_not_have():
    graph = {"count": 2, "timeUnit": "ms", "time": [1, 1]}
    pinned = {"rows": 1, "totalPeaks": [30], "formulaPeaks": [9], "overheads": [1]}
    texts = run("explorer/header.js", "m.figures(v.g, v.t, 0, [1, 0], 40)", g=graph, t=pinned)
    assert texts["total"][2] == "75% of keep-all"


@node
def test_the_header_counts_a_value_that_nothing_reads_later_neither_as_kept_nor_as_recomputed():
    graph = {"count": 4, "timeUnit": "ms", "time": [1, 1, 1, 1]}
    table = {"rows": 1, "totalPeaks": [30], "formulaPeaks": [9], "overheads": [1]}
    figures = "[[0, 1, 2, 2], [0, 1, 1, 1]].map((states) => m.figures(v.g, v.t, 0, states, 40).values)"
    some, none = run("explorer/header.js", figures, g=graph, t=table)
    assert some == ["1", "recomputed", "1 kept, 2 not needed later"]
    assert none == ["1", "recomputed", "3 of 4 values kept"]


@node
def test_the_cost_of_pins_is_read_from_both_curves():
    free = {"objective": "time", "rows": 3, "totalPeaks": [100, 80, 60], "overheads": [0, 2, 5]}
    pinned = {"objective": "time", "rows": 3, "totalPeaks": [100, 90, 70], "overheads": [0, 2, 9]}
    costs = run("explorer/pins.js", "[85, 65, 50].map((b) => m.pinCost(v.free, v.pinned, b))", free=free, pinned=pinned)
    assert costs == [
        {"overhead": 7, "bytes": 5, "least": 10, "peak": -10, "from": 2, "to": 9},
        {"overhead": None, "bytes": 25, "least": 10, "peak": None, "from": 5, "to": None},
        {"overhead": None, "bytes": None, "least": 10, "peak": None, "from": None, "to": None},
    ]
    base = {"time": 1000, "name": "the step"}
    words = "v.costs.map((c) => m.costText({ bytes: 5, least: 0, peak: 0, ...c }, v.base, 85))"
    costs = [
        {"overhead": 1.6, "from": 36.6, "to": 38.2},
        {"overhead": 1e-4, "from": 36.6, "to": 36.6001, "bytes": None},
        {"overhead": 0, "peak": -9},
        {"overhead": -2, "from": 38.2, "to": 36.2, "least": 7},
        {"overhead": None, "least": 7, "peak": None},
        {"overhead": 0, "least": -8},
    ]
    # the extra times are those of the header, rounded in the same way
    assert run("explorer/pins.js", words, base=base, costs=costs) == [
        "This pin raises the extra time at this budget from +3.7% to +3.8% of the step; "
        "a budget 5 B larger avoids this.",
        "This pin raises the extra time at this budget by less than 0.1% of the step; "
        "a larger budget does not avoid this.",
        "This pin costs no extra time at this budget. The peak is 9 B lower.",
        "The search with this pin found a faster plan for this budget, which holds without it, too: "
        "the extra time falls from +3.8% to +3.6% of the step. The least budget found is 7 B higher.",
        "No plan fits 85 B with this pin. The least budget found is 7 B higher.",
        "This pin costs no extra time at this budget. The search with this pin found a leaner plan, which holds "
        "without it, too: the least budget is 8 B lower.",
    ]


@node
def test_pins_say_how_far_their_solve_is_and_then_what_they_cost_together():
    pins = {"keep": [1, 2], "recompute": []}
    free = {"objective": "time", "rows": 2, "totalPeaks": [100, 80], "overheads": [0, 2]}
    solving, done = {"state": "solving", "text": "solving with pins"}, {"state": "done", "text": ""}
    text = "m.pinsText(v.pins, s, false, v.free, v.free, 85, { time: 100, name: 'the step' })"
    before, after = run("explorer/pins.js", f"v.s.map((s) => {text})", pins=pins, s=[solving, done], free=free)
    assert before == "solving with pins…"
    assert after == "These 2 pins together cost no extra time at this budget."


@node
def test_pins_say_their_cost_while_better_plans_are_searched_for():
    free = {"objective": "live", "rows": 2, "totalPeaks": [100, 80], "overheads": [0, 2]}
    pinned = {"objective": "live", "rows": 2, "totalPeaks": [100, 80], "overheads": [0, 3]}
    states = [
        {"state": state, "text": state, "interim": interim}
        for state in ("solving", "cancelled")
        for interim in (True, False)
    ]
    cases = [(budget, status) for budget in (100, 85) for status in states]
    pins, step = '{ "keep": [1], "recompute": [] }', '{ time: 100, name: "the step" }'
    text = f"m.pinsText({pins}, s, false, v.free, v.pinned, b, {step})"
    said = run("explorer/pins.js", f"v.cases.map(([b, s]) => {text})", cases=cases, free=free, pinned=pinned)
    assert said == [
        "This pin costs no extra time at this budget. Searching for better plans at other budgets…",
        "solving…",
        "This pin costs no extra time at this budget. The search for better plans was stopped.",
        "cancelled",
        "This pin raises the extra time at this budget from +2.0% to +3.0% of the step; "
        "a budget 15 B larger avoids this. Searching for better plans…",
        "solving…",
        "This pin raises the extra time at this budget from +2.0% to +3.0% of the step; "
        "a budget 15 B larger avoids this. The search for better plans was stopped.",
        "cancelled",
    ]
    may = "v.cases.map(([b, s]) => m.mayImprove(s, v.free, v.pinned, b))"
    assert run("explorer/pins.js", may, cases=cases, free=free, pinned=pinned) == [False] * 4 + [True] + [False] * 3


@node
def test_a_pin_is_put_changed_and_taken_away():
    pins = run(
        "explorer/pins.js",
        "[1, -1, -1].reduce((all, way) => [...all, m.togglePin(all[all.length - 1], 7, way)],"
        " [{keep: [3], recompute: []}])",
    )
    assert [(p["keep"], p["recompute"]) for p in pins] == [([3], []), ([3, 7], []), ([3], [7]), ([3], [])]


@node
def test_the_differences_of_two_plans_are_those_of_python(lab):
    from recompviz.core.plans.comparison import compare

    a, b = lab.time.plans[2], lab.time.plans[-2]
    graph = {"count": len(lab.graph), "memory": lab.graph.memory.tolist(), "time": lab.graph.time.tolist()}
    rows = run(
        "explorer/compare_view.js",
        "m.differences(v.g, v.a, v.b)",
        g=graph,
        a=a.keep_mask.astype(int).tolist(),
        b=b.keep_mask.astype(int).tolist(),
    )
    word = ["recomputed", "kept"]
    assert [(lab.graph.names[r["node"]], r["bytes"], r["time"], word[r["here"]], word[r["there"]]) for r in rows] == [
        (r["node"], r["bytes"], r["time"], r["a"], r["b"]) for r in compare(a, b).rows()
    ]


@node
def test_a_plan_saved_by_the_page_is_read_by_python(lab):
    explorer = lab.explorer()
    table = explorer._tables[0]
    saved = run(
        "explorer/save_view.js",
        "m.planJson(v.g, {...v.t, kept: Uint8Array.from(v.t.kept), segments: Uint16Array.from(v.t.segments)}, 3)",
        g={"fingerprint": lab.graph.fingerprint, "version": explorer._graph["version"], "count": len(lab.graph)},
        t={
            "names": table["names"],
            "kept": list(table["kept"]),
            "segments": np.frombuffer(table["segments"], "<u2").tolist(),
        },
    )
    assert saved == json.loads(lab.time.plans[3].to_json())


@node
@pytest.mark.parametrize(("version", "says"), [(None, "an older version"), ("0.0.1", "recompviz 0.0.1"), ("2", None)])
def test_the_page_says_that_another_version_wrote_a_plan_of_another_graph(version, says):
    plan = {"format": "recompviz plan 1", "fingerprint": "0" * 64} | ({"version": version} if version else {})
    refused = "(() => { try { m.findPlan(v.text, v.g, []) } catch (error) { return error.message } })()"
    message = run(
        "explorer/save_view.js", refused, text=json.dumps(plan), g={"fingerprint": "1" * 64, "version": "2", "count": 1}
    )
    assert "000000000000…, this is 111111111111…" in message
    assert (" wrote it" in message) == (says is not None)
    assert (says or "") in message


@node
@pytest.mark.parametrize("text", ["", "x", "null", "[]", "5", "{}", '{"format": "recompviz plan 1"}', "[" * 100_000])
def test_the_page_refuses_a_text_that_is_not_a_plan(text):
    refused = "(() => { try { m.findPlan(v.text, v.g, []) } catch (error) { return error.message } })()"
    message = run("explorer/save_view.js", refused, text=text, g={"fingerprint": "1" * 64, "version": "2", "count": 1})
    assert message.startswith("this is not a recompviz plan")


@node
def test_playing_takes_the_same_time_whatever_the_number_of_steps():
    for steps in (10, 5000):
        assert run("explorer/player.js", "m.advance(0, 12000, v.n, 1)", n=steps) == pytest.approx(steps / 2)
        assert run("explorer/player.js", "m.advance(0, 1e6, v.n, 1)", n=steps) == steps - 1


@node
def test_earlier_choices_are_kept_newest_first_and_none_twice():
    choices = run(
        "explorer/points.js",
        "[[0, 1], [0, 2], [0, 1]].reduce((all, [table, row]) => m.remember(all, {table, row}), [])",
    )
    assert choices == [{"table": 0, "row": 1}, {"table": 0, "row": 2}]


@node
def test_names_of_points_cover_neither_points_nor_each_other():
    edges = {"left": 40, "right": 300, "top": 21}
    marks = [[64, 21], [78, 30], [80, 140], [290, 60]]
    calls = "v.marks.map(([x, y], i) => place(x, y, v.names[i]))"
    names = ["per-module", "chen", "per-module", "per-module"]
    device = {"x": 300, "y": 48, "anchor": "end"}
    make = "m.makeNames(v.marks, v.edges, [m.textBox('16 GB →', v.device)])"
    code = f"(() => {{ const place = {make}; return {calls}; }})()"
    places = run("explorer/points.js", code, marks=marks, edges=edges, names=names, device=device)
    boxes = [[x - 6, x + 6, y - 6, y + 6] for x, y in marks]
    boxes.append([300 - 6.2 * len("16 GB →"), 300, 39, 50])
    for place, name in zip(places, names, strict=True):
        wide = 6.2 * len(name)
        left = place["x"] - {"start": 0, "middle": wide / 2, "end": wide}[place["anchor"]]
        box = [left, left + wide, place["y"] - 9, place["y"] + 2]
        assert edges["left"] <= box[0]
        assert box[1] <= edges["right"]
        assert not any(box[0] < b[1] and b[0] < box[1] and box[2] < b[3] and b[2] < box[3] for b in boxes)
        boxes.append(box)


@node
def test_names_of_devices_cover_no_points():
    code = "[[], [[290, 46]], [[290, 46], [290, 60]], [[250, 46]]]"
    code += ".map((marks) => m.freeHeight('16 GB →', {x: 300, anchor: 'end'}, [48, 64, 32, 80], marks))"
    assert run("explorer/points.js", code) == [48, 64, 32, 48]


@node
def test_names_of_devices_do_not_cover_the_curve():
    # the curve falls from 40 to 160; a text above or below all of it is clear of it
    code = "(x) => 40 + 0.4 * x"
    place = "m.freeHeight('200 MB', {x: 150, anchor: 'start'}, v.heights, [], " + code + ")"
    heights = [110, 94, 126]
    assert run("explorer/points.js", place, heights=heights) == 94  # 95 to 110 is the curve at the text
    assert run("explorer/points.js", place, heights=[110, 126, 130]) == 126


@node
def test_long_tables_say_how_many_rows_they_show():
    assert run(
        "shared/data_table.js",
        "[m.countText(50, 2300, 'blocks'), m.countText(7, 7, 'blocks'), m.countText(1, 1, 'runs')]",
    ) == [
        "showing 50 of 2,300 blocks",
        "7 blocks",
        "1 run",
    ]


@node
def test_arrow_keys_walk_along_the_lines_and_across_to_the_box_beside():
    # 0 → 1 → 3, 0 → 2 → 3, with 2 below 1; node 4 is in the box of node 3; turned by a quarter it is the same walk
    flat = {"mode": "right", "items": [0, 1, 2, 9], "x": [0, 50, 50, 100], "y": [0, 0, 30, 0]}
    flat |= {"w": [38] * 4, "h": [22] * 4}
    turned = flat | {"mode": "down", "x": flat["y"], "y": flat["x"], "w": flat["h"], "h": flat["w"]}
    keys = ["ArrowRight", "ArrowLeft", "ArrowDown", "ArrowUp"]
    walk = (
        "(() => { const links = m.boxLinks(v.scene, [0, 1, 2, 3, 3], [0, 1, 0, 2, 1, 3, 2, 3, 3, 4]);"
        " return [0, 1, 2, 3].map((b) => v.keys.map((key) => m.boxTowards(v.scene, links, b, key))); })()"
    )
    expected = [[1, -1, -1, -1], [3, 0, 2, -1], [3, 0, -1, 1], [-1, 1, -1, -1]]
    assert run("graph/graph_walk.js", walk, scene=flat, keys=keys) == expected
    assert run("graph/graph_walk.js", walk, scene=turned, keys=[keys[i] for i in (2, 3, 0, 1)]) == expected


def test_every_style_sheet_is_joined_into_the_one():
    css = JS.parent / "css"
    names = {path.relative_to(css).with_suffix("").as_posix() for path in css.glob("*/*.css")}
    assert sorted(assets.SHEETS) == sorted(names - {"lessons/lessons", "lessons/course"})


def test_rooms_import_downwards_and_no_file_imports_itself_through_others():
    imports = {
        path.relative_to(JS): [
            (path.parent / name).resolve().relative_to(JS)
            for name in re.findall(r"""from ["'](\.[^"']+)["']""", path.read_text())
        ]
        for path in JS.glob("*/*.js")
    }
    assert {path.parts[0] for path in imports} == set(ROOMS)
    for path, needed in imports.items():
        assert {other.parts[0] for other in needed} <= {*ROOMS[path.parts[0]], path.parts[0]}, path
    assert len(list(TopologicalSorter(imports).static_order())) == len(imports)


def entries():
    """The files that a widget or an exported page names as its script."""
    text = "".join(path.read_text() for path in assets.HERE.rglob("*.py"))
    return sorted({name for name in re.findall(r"[\"']([a-z]+/[a-z_]+\.js)[\"']", text) if (JS / name).exists()})


@node
@pytest.mark.parametrize("entry", entries())
def test_the_joined_script_of_a_page_is_valid_so_no_two_files_have_the_same_top_level_name(entry, tmp_path):
    script = tmp_path / "joined.mjs"
    script.write_text(assets.esm(entry), encoding="utf-8")
    done = subprocess.run(["node", "--check", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_every_python_file_that_a_script_mentions_exists():
    text = "".join(path.read_text() for path in JS.glob("*/*.js"))
    mentioned = set(re.findall(r"\brecompviz/[\w/]+\.py\b", text))
    assert len(mentioned) > 5
    assert [name for name in mentioned if not (assets.HERE.parents[1] / name).exists()] == []


def test_listeners_are_added_only_by_the_helper_that_releases_them():
    found = {path.relative_to(JS).as_posix() for path in JS.glob("*/*.js") if "addEventListener" in path.read_text()}
    # exported pages follow the theme as long as they are open
    assert found == {"shared/elements.js", "shared/page_data.js", "lessons/lesson_page.js"}


@node
def test_isotonic_regression_is_that_of_python():
    rng = np.random.default_rng(1)
    cases = [[rng.normal(size=20).tolist(), rng.uniform(0.1, 5, size=20).tolist()] for _ in range(30)]
    fits = run(
        "graph/spread_across.js", "v.cases.map(([values, weights]) => m.isotonicFit(values, weights))", cases=cases
    )
    np.testing.assert_allclose(fits, [isotonic(values, weights) for values, weights in cases], rtol=1e-12)


@node
def test_times_of_steps_have_a_spread_and_the_predicted_time():
    predicted = {"predictedEager": 190, "predictedStep": 207.1, "predictedShare": 0.09}
    timed = {"eagerStep": 200, "plannedStep": 220, "spread": [0.05, 0.123], "pairs": 12, **predicted}
    none = dict.fromkeys(predicted)
    runs = [
        timed,
        {**timed, **none, "plannedStep": 2190, "spread": [9.9, 10], "pairs": 1},
        {**timed, "plannedStep": 199.99, "spread": [-0.02, 0.013]},
        {**timed, "plannedStep": 200.02, "predictedEager": None, "predictedShare": 0, "spread": [0.00001, 0.0002]},
        {**timed, "predictedEager": 400, "predictedStep": 420, "predictedShare": 0.05, "tooHigh": True},
        {**timed, "predictedEager": 155, "predictedStep": 160, "predictedShare": 0.03, "tooLow": True},
        {**timed, "predictedEager": 250, "predictedStep": 260, "predictedShare": 0.04},
        {**timed, "predictedEager": 196, "predictedStep": 207.1, "predictedShare": 0.06},
        {**timed, "predictedEager": 5.4, "predictedStep": 5.6, "tooLow": True},
        {"eagerStep": None},
        None,
    ]
    assert run("explorer/run_view.js", "v.runs.map((one) => m.timesLines(one))", runs=runs) == [
        [
            "measured step: eager 200 ms, plan 220 ms, +10% (+5.0% to +12%, 12 pairs)",
            "predicted step: eager 190 ms, plan 207 ms, +9.0%; eager took 5.3% longer",
        ],
        ["measured step: eager 200 ms, plan 2.19 s, +995% (1 pair: too few to tell)"],
        [
            "measured step: eager 200 ms, plan 200 ms, within noise (−2.0% to +1.3%, 12 pairs)",
            "predicted step: eager 190 ms, plan 207 ms, +9.0%; eager took 5.3% longer",
        ],
        [
            "measured step: eager 200 ms, plan 200 ms, 0% (0% to 0%, 12 pairs)",
            "predicted step: plan 207 ms, 0%",
        ],
        [
            "measured step: eager 200 ms, plan 220 ms, +10% (+5.0% to +12%, 12 pairs)",
            "predicted step: plan 420 ms, too high because the machine was busy: run the cell again",
        ],
        [
            "measured step: eager 200 ms, plan 220 ms, +10% (+5.0% to +12%, 12 pairs)",
            "predicted step: eager 155 ms, plan 160 ms, +3.0%; both steps took 29% longer; "
            "rv.calibrate(trace, fresh=True) times the operators again",
        ],
        [
            "measured step: eager 200 ms, plan 220 ms, +10% (+5.0% to +12%, 12 pairs)",
            "predicted step: eager 250 ms, plan 260 ms, +4.0%; eager took 20% less",
        ],
        [
            "measured step: eager 200 ms, plan 220 ms, +10% (+5.0% to +12%, 12 pairs)",
            "predicted step: eager 196 ms, plan 207 ms, +6.0%",
        ],
        [
            "measured step: eager 200 ms, plan 220 ms, +10% (+5.0% to +12%, 12 pairs)",
            "predicted step: 5.60 ms; both took 37.0 times as long: retry when nothing else runs",
        ],
        [],
        [],
    ]


@node
def test_a_run_of_an_earlier_plan_for_the_budget_shown_is_told():
    each = {"measuredPeak": 2048, "eagerStep": 200, "plannedStep": 220, "spread": [0.05, 0.12], "pairs": 9}
    runs = [
        {**each, "number": 1, "wanted": 40, "budget": 50},
        {**each, "number": 2, "wanted": 60, "budget": 60, "eagerStep": None, "overhead": 30},
        {**each, "number": 3, "wanted": 80, "budget": 80},
    ]
    states = [{"budget": 45, "wanted": 40}, {"budget": 60, "wanted": 60}, {"budget": 70, "wanted": 70}]
    told = "v.states.map((s) => m.replacedRun(v.runs, v.shown, s)).map((run) => run && m.replacedText(run, v.base))"
    base = {"time": 300, "name": "the step"}
    assert run("explorer/run_view.js", told, runs=runs, states=states, shown=None, base=base) == [
        "Not measured yet. Run 1 measured an earlier plan for this budget: peak 2.00 KiB, step +10%",
        "Not measured yet. Run 2 measured an earlier plan for this budget: peak 2.00 KiB, predicted +10% of the step",
        None,
    ]
    # the plan shown was run
    assert run("explorer/run_view.js", told, runs=runs, states=states, shown=runs[0], base=base) == [None] * 3


@node
def test_the_phase_of_a_step_is_said_once():
    names = "v.names.map((name) => m.phasedName('backward', name))"
    told = run("explorer/timeline_legend.js", names, names=["backward/log_softmax_backward", "fc/mm", "backwards/mm"])
    assert told == ["backward/log_softmax_backward", "backward fc/mm", "backward backwards/mm"]


@node
def test_the_second_line_of_a_closed_box_fits_it():
    texts = "[200, 110, 90, 60, 10].map((room) => m.fittingText(v.texts, room, (text) => 6 * text.length))"
    facts = ["100% of 1000 KiB kept", "100% of 1000 KiB", "100% kept", "100%"]
    assert run("graph/box_style.js", texts, texts=facts) == [facts[0], facts[1], facts[2], facts[2], facts[3]]


@node
def test_the_name_of_a_closed_box_is_shortened_to_its_room():
    fitted = "[200, 60, 42, 30, 12].map((room) => m.fittedName('experts.0–7', room, (text) => 6 * text.length))"
    assert run("graph/svg_boxes.js", fitted) == ["experts.0–7", "experts", "experts", "expe…", ""]
    assert run("graph/svg_boxes.js", "m.fittedName('downsample', 48, (text) => 6 * text.length)") == "downsam…"


@node
def test_a_value_says_its_segment_only_in_the_paper_s_view():
    graph = {"nodes": [{"key": "conv"}], "memory": [2048], "count": 1}
    names = run("graph/box_style.js", "[false, true].map((on) => m.nodeTitle(v.graph, 0, 1, 3, on))", graph=graph)
    assert names == ["conv, kept, 2.00 KiB, value 1 of 1", "conv, kept, segment 3, 2.00 KiB, value 1 of 1"]


def test_every_column_of_a_table_has_a_name():
    unnamed = [path.name for path in JS.glob("*/*.js") if re.search(r'\bname: ""', path.read_text())]
    assert unnamed == []


@node
def test_gradients_of_swatches_are_the_same_in_a_saved_picture():
    texts = [
        "linear-gradient(90deg, rgb(1, 2, 3), rgb(4, 5, 6), rgb(7, 8, 9))",
        "repeating-linear-gradient(180deg, rgb(1, 2, 3) 0px, rgb(1, 2, 3) 2px, red 2px 5px)",
        "none",
        "radial-gradient(red, blue)",
    ]
    across, down, *others = run(
        "explorer/picture_gradient.js", "v.texts.map((t) => m.gradientOf(t, 10, 20))", texts=texts
    )
    assert [across[name] for name in ("repeats", "x1", "x2")] == [False, pytest.approx(0), pytest.approx(10)]
    assert across["stops"] == [[0, "rgb(1, 2, 3)"], [0.5, "rgb(4, 5, 6)"], [1, "rgb(7, 8, 9)"]]
    assert [down[name] for name in ("repeats", "y1", "y2")] == [True, pytest.approx(0), pytest.approx(5)]
    assert down["stops"] == [[0, "rgb(1, 2, 3)"], [0.4, "rgb(1, 2, 3)"], [0.4, "red"], [1, "red"]]
    assert others == [None, None]


@node
def test_a_message_without_an_answer_is_told_and_one_with_an_answer_is_not():
    wait = "await new Promise((done) => setTimeout(done, 40))"
    told = (
        "await (async () => { const told = []; const a = m.makeWatch(() => told.push('a'), 10);"
        " const b = m.makeWatch(() => told.push('b'), 10); const c = m.makeWatch(() => told.push('c'), 10);"
        f" a.expect(); a.expect(); b.expect(); b.heard(); c.expect(); c.stop(); {wait};"
        f" const first = [...told]; b.expect(); {wait}; return [first, told]; }})()"
    )
    assert run("shared/kernel_note.js", told) == [["a"], ["a", "b"]]


@node
def test_the_strata_of_a_static_picture_are_those_of_the_page():
    rng = np.random.default_rng(5)
    cases = []
    for _ in range(60):
        names = ["", "a", "a.0", "a.1", "b.c.0", "b.c.1", "b.d", "e", *(f"layers.{i}.mlp" for i in range(20))]
        modules = [names[i] for i in np.sort(rng.integers(0, len(names), rng.integers(1, 50)))]
        cases.append([modules, rng.integers(0, 10 ** int(rng.integers(1, 4)), len(modules)).tolist()])
    expression = "v.cases.map(([m1, b]) => { const s = m.strataOf(m1, b); return [s.names, Array.from(s.of)]; })"
    found = run("data/strata.js", expression, cases=cases)
    assert found == [[list(one.names), list(one.of)] for one in (strata_of(*case) for case in cases)]
    assert max(len(names) for names, _ in found) > 5


@node
def test_the_colours_of_a_static_picture_are_those_of_the_page():
    keys = {"gradient": "land-gradients", "flight": "land-flight", "workspace": "land-workspace", "surface": "surface"}
    names = {name: LIGHT[key] for name, key in keys.items()}
    colours = {"hatch": LIGHT["land-hatch"], "edge": LIGHT["land-edge"], **names}
    base = [LIGHT[f"land-{name}"] for name in ("parameters", "static", "static", "static", "optimizer")]
    ramp = [LIGHT[f"land-ramp-{i}"] for i in range(5)]
    blocks = [
        (layer, strata, category)
        for strata in (1, 4, 7)
        for layer in range(strata + 3)
        for category in Category
        if layer or category.static
    ]
    expression = (
        "(() => { const theme = Object.fromEntries(Object.entries(v.colours).map(([k, c]) => [k, m.channels(c)]));"
        " theme.base = v.base.map(m.channels); theme.ramp = v.ramp.map(m.channels);"
        " return v.blocks.map(([layer, strata, category]) => m.colourTable(theme, strata, null)(layer, category).fill);"
        " })()"
    )
    given = {"colours": colours, "base": base, "ramp": ramp, "blocks": [[a, b, int(c)] for a, b, c in blocks]}
    for (layer, strata, category), packed in zip(
        blocks, run("explorer/landscape_pixels.js", expression, **given), strict=True
    ):
        found = "#" + "".join(f"{packed >> shift & 255:02x}" for shift in (0, 8, 16))
        assert found == fill_of(layer, category, strata), (layer, strata, category)


@node
def test_the_end_of_a_kernel_is_told_until_the_page_stops_listening_and_a_busy_kernel_is_not():
    signal = "(() => { const all = new Set(); return { connect: (f) => all.add(f), disconnect: (f) => all.delete(f),"
    signal += " emit: (...given) => all.forEach((f) => f(null, ...given)) }; })()"
    told = (
        f"(() => {{ let told = 0; const kernel = {{ statusChanged: {signal}, disposed: {signal} }};"
        " const counts = []; const stop = m.whenKernelEnds({ widget_manager: { kernel } }, () => told++);"
        " const status = (s) => { kernel.statusChanged.emit(s); counts.push(told); };"
        " for (const s of ['busy', 'idle', 'unknown', 'autorestarting', 'dead']) status(s);"
        " kernel.disposed.emit(); counts.push(told); stop(); status('dead'); kernel.disposed.emit();"
        " m.whenKernelEnds({}, () => told++)(); return [...counts, told]; })()"
    )
    assert run("shared/kernel_note.js", told) == [0, 0, 0, 1, 2, 3, 3, 3]


@node
def test_the_table_of_runs_has_step_times_and_the_names_of_the_page():
    runs = [{"name": "live", "overhead": 43}, {"name": "chen", "overhead": 9.5}]
    assert run(
        "explorer/runs_view.js", "v.runs.map((r) => m.runName(r, { time: 100, name: 'the step' }))", runs=runs
    ) == [
        "best found, +43% of the step",
        "chen, +9.5% of the step",
    ]
    runs = [{**one, "predictedShare": 0.5, "device": "CPU"} for one in runs]
    assert run("explorer/runs_view.js", "v.runs.map((r) => m.runName(r, { time: 100 }))", runs=runs) == [
        "best found",
        "chen",
    ]
    about = "[m.aboutRuns(v.runs, true, false), m.aboutRuns(v.runs, true, true), m.aboutRuns([], false, true)]"
    assert run("explorer/runs_view.js", about, runs=runs) == [
        "Runs on CPU",
        "Runs on CPU at the size shown; choose another size to see its runs",
        "This Explorer cannot run plans.",
    ]
    steps = [[160, 140], [133, 140], [140.01, 140], [None, 140], [None, None]]
    assert run("explorer/runs_view.js", "v.steps.map(([a, b]) => m.stepText(a, b))", steps=steps) == [
        "160 ms (+14%)",
        "133 ms (−5.0%)",
        "140 ms (±0%)",
        "–",
        "–",
    ]


@node
def test_the_end_of_a_run_is_told_until_the_reader_chooses_something_else():
    states = ["cancelled", "failed", "running", "done"]
    now = "v.states.map((state) => m.statusNow({ state, text: 't', offer: 5 }, '0,1,0', v.at).state)"
    assert run("explorer/painting.js", now, states=states, at="0,1,0") == states
    assert run("explorer/painting.js", now, states=states, at="0,2,0") == ["idle", "idle", "running", "done"]


@node
def test_the_reading_of_a_step_fits_beside_the_player():
    parts = {"number": "step 57/190", "phase": "forward", "bytes": "44.9 MiB", "name": "layers.0.moe.experts.2.0/mm#1"}
    parts["most"] = ["kept 33.8 MiB", "transient 8.01 MiB"]
    read = lambda room: run("explorer/timeline_view.js", "m.readingOf(v.p, v.room)", p=parts, room=room)  # noqa: E731
    assert read(200) == "step 57/190 · forward · 44.9 MiB · kept 33.8 MiB · transient 8.01 MiB · " + parts["name"]
    assert read(90) == "step 57/190 · forward · 44.9 MiB · kept 33.8 MiB · " + parts["name"]
    assert read(70) == "step 57/190 · forward · 44.9 MiB · " + parts["name"]
    assert read(50) == "step 57/190 · forward · 44.9 MiB · …perts.2.0/mm#1"
    assert len(read(50)) <= 50


@node
def test_the_selected_box_the_one_under_the_pointer_and_the_running_one_have_borders_of_their_own():
    sheet = assets.css()
    borders = re.findall(r"\.rv-node\.rv-(alive|picked|step|hovered) > rect:first-child \{([^}]*)\}", sheet)
    lines = {name: re.search(r"(stroke|outline): ([^;]+);", rule).groups() for name, rule in borders}
    assert lines == {
        "picked": ("stroke", "var(--rv-text)"),
        "hovered": ("outline", "1.6px solid var(--rv-text)"),  # a ring around the box
        "step": ("stroke", "var(--rv-cursor)"),
    }  # alive: the others are faded


MARKS = [
    # selected, hover, hoverBar → selected, hovered, about
    ((3, -1, -1), (3, -1, 3)),
    ((3, -1, 5), (3, 5, 3)),  # the card speaks of the selected value, and the ring is around the other one
    ((3, 5, -1), (3, 5, 5)),  # the card speaks of the box under the pointer
    ((3, 3, -1), (3, -1, 3)),
    ((-1, -1, 5), (-1, 5, 5)),
    ((-1, -1, -1), (-1, -1, -1)),
]


@node
@pytest.mark.parametrize(("given", "marked"), MARKS)
def test_what_is_selected_and_what_is_under_the_pointer_are_marked_apart(given, marked):
    selected, hover, bar = given
    state = {"selected": selected, "hover": hover, "hoverBar": bar, "hoverStep": -1, "step": 7}
    names = ("selected", "hovered", "about", "step")
    found = run("explorer/selection.js", "m.marksOf(v.state)", state=state)
    assert [found[name] for name in names] == [*marked, 7]
    flags = run("graph/overlay.js", "m.nodeFlags(9, { picked: 3, hovered: 5, step: -1 }).join()")
    assert flags == "0,0,0,4,0,8192,0,0,0"


POINTER = """(() => {
  const told = [];
  const handlers = {};
  const on = (type, does) => (handlers[type] = does);
  const chart = {
    addEventListener: on, contains: (one) => one !== null, getRootNode: () => ({ elementFromPoint: () => chart.under }),
    getBoundingClientRect: () => ({ left: chart.left, top: 0 }), setPointerCapture() {}, closest: () => null,
    ownerDocument: { addEventListener: on }, left: 0,
  };
  chart.under = chart;
  const tell = (name) => (...given) => told.push([name, ...given]);
  const actions = ["hover", "leave", "brush", "zoomTo", "click"].map((name) => [name, tell(name)]);
  const pointer = m.makeLandscapePointer(chart, Object.fromEntries(actions));
  const event = (type, clientX) => handlers[type]({ clientX, clientY: 5, target: chart, button: 0 });
  const said = (does) => (told.splice(0), does(), told.map((one) => one.slice(0, 2)));
  return v.acts.map((act) => said(() => eval(act)));
})()"""


@node
def test_what_is_under_a_pointer_at_rest_is_said_again():
    acts = ["event('pointermove', 40)", "pointer.again()", "chart.left = 10; pointer.again()"]
    acts += ["chart.under = null; pointer.again()", "pointer.again()"]  # the chart has moved away below the pointer
    found = run("explorer/landscape_pointer.js", POINTER, acts=acts)
    assert found == [[["hover", 40]], [["hover", 40]], [["hover", 30]], [["leave"]], []]
    acts = ["event('pointermove', 40)", "pointer.rest()", "pointer.again()", "event('pointermove', 40)"]
    acts += ["event('pointermove', 41)", "event('pointermove', 40)"]  # by hand
    found = run("explorer/landscape_pointer.js", POINTER, acts=acts)
    assert found == [[["hover", 40]], [["leave"]], [], [], [["hover", 41]], [["hover", 40]]]
    acts = ["event('pointermove', 40); event('pointerdown', 40)", "event('pointermove', 60)", "pointer.again()"]
    acts += ["event('pointerup', 60)", "pointer.again()"]
    found = run("explorer/landscape_pointer.js", POINTER, acts=acts)
    assert found[1:] == [[["leave"], ["brush", 40]], [], [["brush", None], ["zoomTo", 40]], [["hover", 60]]]


@node
def test_a_card_in_the_graph_covers_no_box():
    spot = "m.freeSpot(v.size, { width: 400, height: 200 }, v.boxes, { x: 390, y: 100 }, v.before)"
    size = {"width": 100, "height": 80}
    find = lambda boxes, before=None: run("graph/free_spot.js", spot, size=size, boxes=boxes, before=before)  # noqa: E731
    assert find([]) == {"left": 292, "top": 8}  # near the point, inside the pane
    right = [[280, 390, 0, 200]]
    assert find(right)["left"] == 280 - 8 - 100
    assert find(right, {"left": 20, "top": 20}) == {"left": 20, "top": 20}  # it stays where it is
    assert find(right, {"left": 260, "top": 20})["left"] == 172  # unless it would cover a box there
    assert find([[0, 400, 90, 110]]) is None
    assert find([[0, 400, 97, 110]])["top"] == 97 - 8 - 80
    assert run("graph/free_spot.js", spot, size={"width": 390, "height": 20}, boxes=[], before=None) is None


@node
def test_what_an_exported_page_opens_with_is_json_and_what_goes_on_is_left_out():
    chosen = """{
      against: { name: null, packed: Uint8Array.of(1, 2) },
      earlier: [{ name: null, packed: Uint8Array.of(3), opening: true }],
      hasChosen: true, selected: 4, step: 2, category: null, line: null, count: 9, tab: "alive", sizes: "[]",
      entries: {
        save: { awaited: true, told: "writing the page…" }, run: { began: 5 }, alive: { most: Infinity, place: [3, 0] },
        budget: { text: "12", refusal: "no size", percent: true },
        fit: { text: "1 G", refusal: "", asking: true, sizes: [8] },
        timeline: { stretch: { from: 0.1, to: 0.4 }, player: { speed: 4, playing: true } },
      },
    }"""
    found = run("explorer/page_choices.js", f"m.asShown({chosen})")
    entries = found.pop("entries")
    assert found["against"]["packed"] == [1, 2]
    assert found["earlier"] == [{"name": None, "packed": [3], "opening": True}]
    assert (found["selected"], found["tab"]) == (4, "alive")
    assert set(entries) == {"alive", "budget", "fit", "timeline"}
    assert entries["budget"] == {"text": None, "refusal": "", "percent": True}
    assert (entries["fit"]["asking"], entries["fit"]["sizes"]) == (False, [8])
    assert entries["timeline"] == {"stretch": {"from": 0.1, "to": 0.4}, "player": {"speed": 4, "playing": False}}


@node
def test_the_plan_shown_first_is_among_the_earlier_choices_once_another_is_chosen():
    opened = "rested: null, opening: {table: 0, row: 4, opening: true}"
    first = EARLIER.replace("rested: {table: 0, row: 0}", opened)
    actions = "((c) => { c.setBudget(8, 1); c.setRow(2); c.setRow(3); })"
    for searching, earlier in (("false", [2, 4]), ("true", [2])):  # not the plan of a search that goes on
        model = f"get: (name) => (name === '_searching' ? {searching} : {{}})"
        assert run("explorer/choices.js", f"{first.replace('get: () => ({})', model)}{actions}") == earlier


@node
def test_the_axis_of_budgets_has_three_round_numbers_or_more_in_the_unit_of_its_title():
    mib = 1 << 20
    ends = [(8.6, 24.2), (10, 75), (0.9, 1.1), (0.0003, 0.0009), (20, 20.5), (900, 5000), (99, 101)]
    axes = [{"low": low * mib, "high": high * mib, "most": 0.95 * high * mib} for low, high in ends]
    for percent in (False, True):
        found = run(
            "explorer/budget_axis.js", "v.axes.map((a) => m.budgetTicks(a, v.percent, 3))", axes=axes, percent=percent
        )
        for axis, one in zip(axes, found, strict=True):
            unit = axis["most"] / 100 if percent else {"B": 1, "MiB": mib, "GiB": 1 << 30}[one["title"].split()[-1]]
            assert len(one["ticks"]) >= 3
            assert all(
                axis["low"] <= place * 1.000001 and place <= axis["high"] * 1.000001 for place, _ in one["ticks"]
            )
            assert all(float(text) * unit == pytest.approx(place) for place, text in one["ticks"])
            assert max(len(text) for _, text in one["ticks"]) <= 5
    assert found[0]["title"] == "budget, % of keep-all"


@node
def test_a_swatch_of_the_legend_has_one_colour_full_pale_or_hatched():
    expression = "[1, 2, 5].map((n) => [5, 6, 7].map((kind) => m.middleSwatch(kind, n)))"
    for kept, transient, recomputed in run("explorer/landscape_pixels.js", expression):
        assert "gradient" not in kept
        assert transient == f"color-mix(in srgb, {kept} 50%, var(--rv-surface))"
        assert recomputed == f"repeating-linear-gradient(135deg, var(--rv-land-hatch) 0 2px, {kept} 2px 5px)"
    (middle,) = run("explorer/landscape_pixels.js", "[m.middleSwatch(5, 5) === m.swatchOf(4, 5, 5)]")
    assert middle


@node
def test_the_card_says_what_the_box_of_a_value_says_where_its_name_does_not():
    def operator(key, label, op="aten.addmm"):
        node_ = {"key": key, "label": label, "op": op, "module": "", "source": "", "shape": "", "dtype": ""}
        graph = {"nodes": [node_], "memory": [1024], "time": [1], "timeUnit": "ms", "count": 1}
        return run("explorer/card.js", "m.cardRows(v.graph, 0, { is: 1 }, 0, 0)[0]", graph=graph)

    assert operator("mlp/addmm", "linear") == ["operator", "aten.addmm, in the graph: linear"]
    for key, label in (("mida.o/convolution", "o"), ("pool.0/convolution", "pool.0"), ("net.0/convolution", "conv")):
        assert operator(key, label) == ["operator", "aten.addmm"]


@node
def test_the_box_of_a_value_is_as_wide_as_its_name_within_bounds():
    names = ["+", "conv", "softmax", "interpolate", "scaled_dot_product"]
    widths = run("graph/scene.js", "v.names.map((name) => m.itemSize({ count: 1 }, 0, name)[0])", names=names)
    assert widths == sorted(widths)
    assert widths[0] == 38
    assert widths[2] >= 60  # all letters at the least scale with labels, where the box is 0.68 times as wide
    assert widths[-1] == 88


@node
def test_calls_and_lifetimes_of_the_landscape_are_said():
    reply = {"phases": [0, 0, 1, 2, 2], "steps": 5, "categories": [{"number": 5, "label": "kept values"}]}
    texts = "[0, 2, 4].map((at) => m.phaseTexts(v.reply, at)).concat([m.lifeTexts(v.reply, [5, 1, 4], 'a.b')])"
    assert run("explorer/landscape_tip.js", texts, reply=reply) == [
        ["forward", "step 1 to 2 of 5", "calls of the forward pass"],
        [
            "recompute",
            "step 3 to 3 of 5",
            "calls of the forward pass that run again, because their values were not kept",
        ],
        ["backward", "step 4 to 5 of 5", "calls of the backward pass"],
        ["a.b", "kept values · step 2 to 4 of 5", "values of the forward pass that stay for the backward pass"],
    ]


@node
@pytest.mark.parametrize("blocks", [(1, 1), (2, 3, 2), (3, 4, 6, 3), (12,)])
def test_a_picture_opens_the_boxes_that_the_page_opens(blocks):
    graph = residual_step(blocks)[0]
    modules = module_tree(graph)
    values = {"names": modules.names, "parent": modules.parent, "times": modules.times, "owner": modules.owner}
    tree = "m.makeModuleTree({count: v.owner.length, edges: []}, {...v, lines: []})"
    assert sorted(run("graph/module_tree.js", f"[...m.firstOpen({tree})]", **values)) == sorted(first_open(modules))


@node
def test_a_graph_is_painted_again_for_a_step_only_if_the_step_has_another_call():
    # a drag of the budget asks in each frame
    script = """(() => {
      let painted = 0;
      let node = 5;
      const state = { selected: -1, hover: -1, hoverBar: -1, hoverStep: -1, step: 3 };
      const graph = { mark: () => painted++ };
      const timeline = { nodeOfStep: () => node, mark: () => {} };
      const { markStep } = m.makeSelection({ graph: {}, state, views: { graph, timeline } });
      return [5, 5, 5, 7, 7].map((next) => { node = next; markStep(); return painted; });
    })()"""
    assert run("explorer/selection.js", script) == [1, 1, 1, 2, 2]
