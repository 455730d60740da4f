"""Two plans compared in the page: what is offered, what is marked, and that nothing else of the view is in the way."""

import pytest

from tests.widgets.test_javascript import run

pytestmark = pytest.mark.node

LIVE = {"objective": "live", "family": "auto", "base": -1, "rows": 2, "totalPeaks": [9, 5], "overheads": [0, 4]}
TIME = LIVE | {"objective": "time"}
GIVEN = LIVE | {"objective": "given", "names": ["keep-all", "chen"]}


def offered(tables, theory, earlier=(), runs=()):
    state = {"table": 0, "row": 0, "budget": 9, "theory": theory, "earlier": list(earlier), "runs": list(runs)}
    found = run(
        "explorer/compare_view.js", "m.rivals(v.tables, v.state, (n) => `table ${n}`)", tables=tables, state=state
    )
    return [rival["text"] for rival in found]


def test_plans_of_the_paper_are_offered_only_in_its_view():
    chosen = [{"table": 1, "row": 1}]
    assert offered([LIVE, TIME, GIVEN], False, chosen) == ["keep-all", "chen"]
    assert offered([LIVE, TIME, GIVEN], True, chosen) == ["table 1", "keep-all", "chen", "5 B, table 1"]
    assert offered([TIME, TIME | {"objective": "memory"}], False) == ["table 1", "keep-all"]  # there are no others


def test_plans_that_were_run_are_offered_first_the_newest_before_the_others():
    tables = [LIVE | {"kept": [3, 1]}, TIME | {"kept": [3, 0]}, GIVEN | {"kept": [3, 2]}]
    runs = [
        {"number": number, "kept": [kept], "measuredPeak": 2048} for number, kept in enumerate([2, 1, 3, 0, 1, 7], 1)
    ]
    # run 3 is of the plan shown, run 4 of a plan of the paper, run 6 of a plan of another step
    found = ["run 5, measured 2.00 KiB", "run 1, measured 2.00 KiB"]
    assert offered(tables, False, runs=runs) == [*found, "keep-all"]
    assert offered(tables, True, runs=runs)[:3] == [found[0], "run 4, measured 2.00 KiB", found[1]]


KEPT = """(() => {
  const typed = (table) => ({ ...table, kept: Uint8Array.from(table.kept) });
  const [before, after] = [v.before.map(typed), v.after.map(typed)];
  return v.chosen.map((c) => m.asKept(before, c)).map((kept) => kept && m.shownAgain(kept, after, v.same));
})()"""


def test_an_earlier_choice_is_found_again_in_the_plans_of_a_search():
    before = [LIVE | {"kept": [3, 1]}, LIVE | {"base": 0, "kept": [3, 2]}, GIVEN | {"kept": [3, 0]}]
    found = LIVE | {"rows": 3, "totalPeaks": [9, 5, 2], "kept": [3, 2, 0]}
    chosen = [{"table": 0, "row": 0}, {"table": 0, "row": 1}, {"table": 2, "row": 1}, {"table": 1, "row": 1}]

    def again(**more):
        return run("explorer/kept_choices.js", KEPT, before=before, after=[found, before[2]], **more)

    keep_all, better, chen, under_pins = again(chosen=chosen, same=True)
    assert keep_all == {"table": 1, "row": 0}  # by its name
    assert better == {"table": 0, "row": 1}  # the plan that replaced it at its total
    assert chen == {"table": 1, "row": 1}
    assert under_pins == {"table": 0, "row": 1}  # the same plan, without pins
    assert again(chosen=chosen, same=False)[1] is None  # at another size, its total means something else
    assert again(chosen=[{"table": 0, "row": 2}, {"table": 5, "row": 0}], same=True) == [None, None]


def test_the_baseline_compared_with_is_found_again_in_other_tables():
    before = [LIVE, TIME, GIVEN]
    after = [LIVE, GIVEN | {"names": ["as-written", "chen"]}]
    names = "v.chosen.map((c) => m.knownName(v.tables, c))"
    chosen = [{"table": 2, "row": 1}, {"table": 0, "row": 0}, {"table": 1, "row": 1}]
    found = run("explorer/kept_choices.js", names, tables=before, chosen=chosen)
    assert found == ["chen", "keep-all", None]
    again = run("explorer/kept_choices.js", "v.names.map((n) => m.knownRival(v.tables, n))", tables=after, names=found)
    assert again == [{"table": 1, "row": 1}, {"table": 0, "row": 0}, None]


def test_a_step_fades_no_node_while_plans_are_compared():
    lit = """v.chosen.map((c) => m.litNodes({ count: 2, nodes: [{ source: "a" }, { source: "b" }] }, v.reply, c))
        .map((mask) => mask && Array.from(mask))"""
    blocks = {"first": [0], "stop": [2], "bytes": [8], "categories": [5]}
    reply = {"steps": 2, "blocks": blocks, "stepNodes": [0, 1]}
    at_step = {"line": None, "step": 0, "against": None}
    chosen = [at_step, at_step | {"against": {"table": 2, "row": 0}}, at_step | {"line": "b"}]
    faded, compared, of_line = run("explorer/selection.js", lit, chosen=chosen, reply=reply)
    assert faded == [1, 0]
    assert compared is None
    assert of_line == [0, 1]


def test_a_closed_module_says_how_many_of_its_values_differ():
    counts = "[[1, 0, 1, -1, 0], [0, 0, 0, 0, 0]].map((d) => m.differing(d, [0, 1, 2, 3]))"
    assert run("graph/overlay.js", counts) == [[2, 1], [0, 0]]
    signs = "[m.cornerSigns(m.FLAG.onlyFirst | m.FLAG.onlySecond, [12, 3]), m.cornerSigns(m.FLAG.onlyFirst)]"
    assert run("graph/overlay.js", signs) == ["①12 ②3", "①"]
    pins = "[m.FLAG.pinKeep, m.FLAG.pinRecompute].map((flag) => m.cornerSigns(flag))"
    assert run("graph/overlay.js", pins) == ["K", "R"]  # as the keys that pin


def test_the_outline_of_a_closed_module_is_of_the_plan_that_alone_keeps_more_bytes():
    together = """v.bytes.map((bytes) => {
      const each = m.nodeFlags(4, { difference: [1, 1, -1, 0], picked: -1, step: -1 });
      return m.flagClasses(m.flagsTogether(each, [0, 1, 2, 3], bytes)).trim();
    })"""
    found = run("graph/overlay.js", together, bytes=[[4, 4, 7, 9], [1, 1, 7, 9], [4, 4, 8, 9]])
    assert found == ["rv-only-first", "rv-only-second", "rv-only-first"]
    signs = "[m.cornerSigns(m.FLAG.onlyFirst, [25, 1]), m.cornerSigns(m.FLAG.onlySecond, [0, 3])]"
    assert run("graph/overlay.js", signs) == ["①25 ②1", "②3"]


def test_a_box_under_the_pointer_is_read_in_one_line():
    graph = {"nodes": [{"key": "layer1/conv", "shape": "2×3"}], "memory": [2048], "time": [1.5], "timeUnit": "ms"}
    read = "[[-1, null], [0, null], [0, [1]], [0, [0]]].map(([at, there]) => m.nodeReading(v.graph, at, [1], there))"
    none, plain, same, other = run("explorer/card.js", read, graph=graph)
    assert "point at a box" in none
    assert plain == "layer1/conv · kept · 2.00 KiB · 1.50 ms · 2×3"
    assert "kept, by both plans" in same
    assert "kept, by the other plan recomputed" in other


def test_plans_that_disagree_about_a_value_that_neither_needs_do_not_differ_there():
    graph = {"count": 3, "memory": [4, 2, 1], "time": [1, 1, 1]}
    rows, mask = run(
        "explorer/compare_view.js",
        "[m.differences(v.g, v.a, v.b), Object.values(m.differenceMask(v.a, v.b))]",
        g=graph,
        a=[2, 1, 2],
        b=[2, 0, 1],
    )
    assert [(row["node"], row["here"], row["there"]) for row in rows] == [(1, 1, 0), (2, 2, 1)]
    assert mask == [0, 1, -1]


def test_the_card_says_that_a_pin_to_keep_a_value_that_nothing_needs_has_no_effect():
    graph = {
        "nodes": [{"key": "a", "op": "x", "module": "", "source": "", "shape": "2", "dtype": "f"}],
        "timeUnit": "ms",
    }
    graph |= {"memory": [8], "time": [1], "count": 1, "unread": [8]}
    rows = """[[2, 0], [2, 1], [1, 1]].map(([is, pin]) =>
      Object.fromEntries(m.cardRows(v.graph, 0, { is, pin }, 0, 0)).held)"""
    free, pinned, kept = run("explorer/card.js", rows, graph=graph)
    assert free.endswith("nothing reads it later")
    assert pinned == free + ", so the pin has no effect"
    assert kept.startswith("only for recomputation")
