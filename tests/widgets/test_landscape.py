"""The memory landscape: its bars stack up to the simulated timeline, and its picture shows what the bars say."""

import json
from dataclasses import replace

import numpy as np
import pytest

from recompviz.core.graphs.graph import NodeInfo
from recompviz.core.planning.planner import Planner
from recompviz.core.plans.plan_table import outline
from recompviz.core.steps.examples import chain_step, residual_step, u_step
from recompviz.core.steps.joint import Call, Category
from recompviz.core.steps.places import at_places, places_of, shared_steps
from recompviz.core.steps.schedule import make_schedule
from recompviz.core.steps.simulation import simulate_schedule
from recompviz.widgets.base import assets
from recompviz.widgets.explorer.joint_wire import joint_message
from recompviz.widgets.explorer.wire import timeline_message
from recompviz.widgets.layout.step_nodes import LabelNumbers
from tests.core.random_joints import random_joint, random_mask
from tests.widgets.test_javascript import node, run

STACKED = """(() => {
  const strata = { names: ["a", "b"], of: v.nodes.map((_, i) => (2 * i < v.nodes.length ? 0 : 1)) };
  return v.masks.map((kept) => {
    const reply = w.readReply(m.simulateReply(m.readJoint(v.joint), kept));
    const bars = b.barsOf(reply, strata);
    return Array.from(b.heightsOf(bars, Uint32Array.from({ length: reply.steps }, (_, s) => s)));
  });
})()"""


def stacked(graph, joint, masks):
    """The height of the page's stack at every step, for each keep mask."""
    return run(
        "data/simulated_reply.js",
        STACKED,
        modules={"w": "data/wire.js", "b": "data/bars.js"},
        joint=json.loads(json.dumps(joint_message(graph, joint))),
        nodes=[0] * len(graph),
        masks=masks,
    )


@node
@pytest.mark.parametrize("step", [lambda: residual_step((1, 1)), lambda: u_step(40), lambda: chain_step([4] * 9)])
def test_the_stack_is_as_high_as_the_timeline_at_every_step_of_every_plan(step):
    planner = Planner(*step())
    plans = planner.plans("time").plans
    chosen = [plans[i] for i in sorted({0, len(plans) // 3, len(plans) // 2, len(plans) - 1})]
    heights = stacked(planner.graph, planner.joint, [plan.keep_mask.astype(int).tolist() for plan in chosen])
    for plan, height in zip(chosen, heights, strict=True):
        timeline = planner.simulate(plan)
        assert height == timeline.profile.tolist()
        assert max(height) == timeline.peak


@node
def test_the_stack_is_as_high_as_the_timeline_for_random_steps_and_plans():
    for seed in range(4):
        graph, joint = random_joint(seed)
        joint = replace(joint, optimizer_scratch=seed % 2 * 40)
        masks = [random_mask(seed + 10 * i, len(graph)) for i in range(3)]
        heights = stacked(graph, joint, [mask.astype(int).tolist() for mask in masks])
        for mask, height in zip(masks, heights, strict=True):
            assert height == simulate_schedule(make_schedule(joint, mask.tolist())).profile.tolist()


@node
def test_the_reply_of_the_kernel_stacks_up_to_the_same_heights(lab):
    plan = lab.time.plans[len(lab.time) // 2]
    timeline = lab.simulate(plan)
    message = timeline_message(timeline, LabelNumbers(lab.graph))
    plain = {name: list(value) if isinstance(value, bytes) else value for name, value in message.items()}
    found = run(
        "data/wire.js",
        "(() => { const bytes = (value) => (Array.isArray(value) && typeof value[0] === 'number'"
        " ? new DataView(Uint8Array.from(value).buffer) : value);"
        " const reply = m.readReply(Object.fromEntries(Object.entries(v.r).map(([k, x]) => [k, bytes(x)])));"
        " const bars = b.barsOf(reply, { names: ['a'], of: new Int16Array(v.n) });"
        " return [Array.from(b.heightsOf(bars, Uint32Array.from({ length: reply.steps }, (_, s) => s))),"
        " Array.from(bars.layers)]; })()",
        modules={"b": "data/bars.js"},
        r=plain,
        n=len(lab.graph),
    )
    assert found[0] == timeline.profile.tolist()
    assert found[1] == sorted(found[1])  # from the bottom of the stack to its top


BARS = (
    "{ first: [0, 1, 2], stop: [4, 3, 4], bytes: [2, 4, 2], categories: [0, 5, 7], layers: [0, 2, 2],"
    " blocks: [-1, 0, 1] }"
)


@node
def test_each_pixel_knows_its_bar():
    picks, heights = run(
        "explorer/landscape_pixels.js",
        "(() => { const picture = { width: 4, height: 8, pixels: new Uint32Array(32), picks: new Int32Array(32) };"
        f" const heights = m.paintBars({BARS}, [0, 1, 2, 3], picture, 8, () => ({{ fill: 1, line: 1, edge: 1 }}));"
        " return [Array.from(picture.picks), Array.from(heights)]; })()",
    )
    assert heights == [2, 6, 8, 4]
    assert np.array(picks).reshape(8, 4).tolist() == [
        [0, 0, 3, 0],
        [0, 0, 3, 0],
        [0, 2, 2, 0],
        [0, 2, 2, 0],
        [0, 2, 2, 3],
        [0, 2, 2, 3],
        [1, 1, 1, 1],
        [1, 1, 1, 1],
    ]


@node
def test_a_column_shows_the_bars_of_its_step():
    heights = f"[[0, 2], [3], [1, 2]].map((steps) => Array.from(m.heightsOf({BARS}, steps)))"
    assert run("data/bars.js", heights) == [[2, 8], [4], [6, 8]]


@node
def test_a_thin_bar_is_marked_all_the_same():
    found = f"m.rectanglesOf({BARS}, [1], [0, 1, 2, 3], {{ width: 8, height: 8 }}, 80000, 2)"
    assert run("explorer/landscape_pixels.js", found) == [[2, 6, 4, 2]]


@node
def test_strata_are_the_parts_of_the_model_in_order():
    modules = ["conv1", "bn1", *["layer1.0.conv1"] * 3, *["layer2.0"] * 3, "fc"]
    sizes = [1, 1, 20, 20, 5, 20, 10, 20, 1]
    found = run("data/strata.js", "((s) => [s.names, Array.from(s.of)])(m.strataOf(v.m, v.b))", m=modules, b=sizes)
    assert found == [["conv1 – bn1", "layer1", "layer2", "fc"], [0, 0, 1, 1, 1, 2, 2, 2, 3]]


@node
def test_a_part_that_has_most_of_the_bytes_is_split():
    modules = ["wte", *[f"h.{i}.mlp" for i in range(4)], "ln_f"]
    found = run("data/strata.js", "m.strataOf(v.m, v.b).names", m=modules, b=[1, 20, 20, 20, 20, 1])
    assert found == ["wte", "h.0", "h.1", "h.2", "h.3", "ln_f"]
    whole = run("data/strata.js", "m.strataOf(v.m, v.b).names", m=["", ""], b=[1, 2])
    assert whole == ["model"]
    mixed = run("data/strata.js", "m.strataOf(v.m, v.b).names", m=["down", "", "up"], b=[9, 9, 9])
    assert mixed == ["down", "outside modules", "up"]


@node
def test_zooming_into_a_stretch_stays_inside_the_step():
    found = run(
        "explorer/stretch.js",
        "[m.between(m.WHOLE_STEP, 0.75, 0.25, 100), m.zoomed(m.WHOLE_STEP, 2, 0, 100),"
        " m.zoomed({ from: 0.5, to: 1 }, 0.1, 1, 100),"
        " m.zoomed(m.WHOLE_STEP, 1000, 0.5, 100), m.including({ from: 0, to: 0.5 }, 0.75)]",
    )
    assert found[:3] == [{"from": 0.25, "to": 0.75}, {"from": 0, "to": 0.5}, {"from": 0, "to": 1}]
    assert found[3]["to"] - found[3]["from"] == pytest.approx(0.04)  # four steps
    assert found[4]["from"] <= 0.75 <= found[4]["to"] <= 1
    assert run("explorer/stretch.js", "m.cut([0, 1, 2, 3], { from: 0.3, to: 0.7 })") == [[1, 2], 0.25, 0.75]


@node
def test_the_name_of_a_layer_stands_where_it_is_thick_enough():
    bars = "{ first: [0, 3], stop: [8, 8], bytes: [4, 8], categories: [0, 5], layers: [0, 2], blocks: [-1, 0] }"
    place = (
        f"m.placesOf({bars}, [0, 1, 2, 3, 4, 5, 6, 7], (layer) => 4, v.least).map((p) => [p.layer, p.column, p.middle])"
    )
    assert run("explorer/landscape_labels.js", place, least=5) == [[2, 5, 8]]
    assert run("explorer/landscape_labels.js", place, least=4) == [[0, 2, 2], [2, 5, 8]]


@node
def test_keys_choose_steps_and_the_values_alive_there():
    keys = f"""(() => {{
      const seen = [];
      let [chosen, selected] = [-1, -1];
      const press = m.makeLandscapeKeys({{
        places: () => 4, place: () => chosen, chosen: () => chosen, go: (at) => (chosen = at), deselect() {{}},
        bars: () => ({BARS}),
        selected: () => selected,
        nodeOf: (k) => k - 1, choose: (k) => (selected = k - 1), zoom: (f) => seen.push(f),
        whole: () => seen.push("whole"),
      }});
      for (const key of v.keys) seen.push([press({{ key }}), chosen, selected]);
      return seen;
    }})()"""
    pressed = ["ArrowRight", "ArrowRight", "ArrowRight", "ArrowUp", "ArrowUp", "ArrowDown", "End", "x"]
    found = run("explorer/landscape_keys.js", keys, keys=pressed)
    assert [step for _, step, _ in found] == [0, 1, 2, 2, 2, 2, 3, 3]
    assert [value for _, _, value in found] == [-1, -1, -1, 0, 1, 0, 0, 0]
    assert [known for known, _, _ in found] == [True] * 7 + [False]
    assert run("explorer/landscape_keys.js", keys, keys=["+", "0"])[::2] == [2, "whole"]


@node
def test_kept_values_are_counted_as_memory_holds_them_and_never_exceed_the_peak():
    planner = Planner(*residual_step((1, 1)))
    count = len(planner.graph)
    plans = [planner.baseline("keep-all"), *planner.plans("time").plans[::3]]
    held, most = run(
        "data/held_bytes.js",
        "((j) => [Object.values(m.heldBytes(j, v.count)).map((a) => Array.from(a)),"
        " v.masks.map((kept) => m.mostKept(j, kept))])"
        "(s.readJoint(v.joint))",
        modules={"s": "data/simulated_reply.js"},
        joint=json.loads(json.dumps(joint_message(planner.graph, planner.joint))),
        masks=[plan.keep_mask.astype(int).tolist() for plan in plans],
        count=count,
    )
    held, unread = held
    saved = planner.schedule(planner.baseline("keep-all")).saved
    kept = {planner.joint.calls[planner.joint.storages[s].maker].node for s in saved}
    assert any(unread)
    assert not any(one and bytes_ for one, bytes_ in zip(unread, held, strict=True))
    assert not kept & {v for v, one in enumerate(unread) if one}
    for plan, bytes_ in zip(plans, most, strict=True):
        timeline = planner.simulate(plan)
        assert bytes_ == timeline.bands[:, Category.KEPT].max()
        assert bytes_ <= timeline.peak
    assert most[0] <= sum(held) <= planner.graph.memory.sum()
    assert most[0] > most[-1] > 0


@node
def test_updates_of_buffers_share_a_place_on_the_axis_in_the_page_as_in_python():
    """Some forward calls allocate nothing: the page, the tables and the static picture merge the same steps."""
    merged = 0
    for seed in range(12):
        graph, joint = random_joint(seed)
        rng = np.random.default_rng(seed)
        idle = {c for c in range(joint.forward_count) if not joint.calls[c].random and rng.random() < 0.7}
        storages = tuple(replace(s, size=0) if s.maker in idle else s for s in joint.storages)
        joint = replace(joint, storages=storages, workspace=())
        masks = [random_mask(seed + 10 * i, len(graph)) for i in range(3)]
        found = run(
            "data/simulated_reply.js",
            "v.masks.map((kept) => { const reply = w.readReply(m.simulateReply(m.readJoint(v.joint), kept));"
            " const totals = t.totalsOf(reply); const places = p.stepPlaces(reply, totals);"
            " return [Array.from(places.of), Array.from(p.atPlaces(totals, places)), Array.from(places.top),"
            " Array.from(totals)]; })",
            modules={"w": "data/wire.js", "p": "data/places.js", "t": "explorer/timeline_shapes.js"},
            joint=json.loads(json.dumps(joint_message(graph, joint))),
            masks=[mask.astype(int).tolist() for mask in masks],
        )
        shared = shared_steps(joint)
        merged += int(shared.sum())
        for mask, (of, most, top, totals) in zip(masks, found, strict=True):
            timeline = simulate_schedule(make_schedule(joint, mask.tolist()))
            assert of[:-1] == places_of(timeline).tolist()
            assert of[-1] == len(most) == len(top)
            assert most == at_places(timeline.profile, shared).tolist() == [totals[s] for s in top]
            assert max(most) == timeline.peak
    assert merged > 10


def test_the_updates_of_batch_norms_take_one_place_of_the_outlines():
    """A copy of the steps of many buffers before the loss gradient: the outline is that of the step without them."""
    graph, joint = residual_step((1, 1))
    forward = joint.forward_count
    copies = tuple(Call(NodeInfo(key=f"copy_#{i}"), False, -1, (), (), pinned=True) for i in range(50))
    calls = joint.calls[: forward - 1] + copies + joint.calls[forward - 1 :]
    moved = tuple(replace(s, maker=s.maker + 50 if s.maker >= forward - 1 else s.maker) for s in joint.storages)
    more = replace(joint, calls=calls, storages=moved, workspace=())
    plain, padded = (Planner(graph, one).plans("time") for one in (replace(joint, workspace=()), more))
    assert plain.total_peaks.tolist() == padded.total_peaks.tolist()
    assert int(shared_steps(more).sum()) == 49
    for row in range(len(plain)):
        without = Planner(graph, joint).profile_function()(plain.plans[row])
        place = forward - 1
        with_one = np.insert(
            without,
            place,
            at_places(Planner(graph, more).profile_function()(padded.plans[row]), shared_steps(more))[place],
        )
        assert padded.outlines[row].tolist() == outline(with_one).tolist()


@node
def test_every_category_is_explained_in_the_legend():
    meanings = run("explorer/timeline_legend.js", "m.MEANING")
    assert set(meanings) == {category.label for category in Category}


@node
def test_the_enlarged_landscape_shows_the_plan_in_at_least_half_of_its_height_and_changes_by_halves():
    tops = "v.needs.map((need) => [m.halvings(64, need), m.topOf(64, need, true), m.topOf(64, need, false)])"
    found = run("explorer/enlarged.js", tops, needs=[64, 33, 32, 31, 9, 8, 0])
    assert [halvings for halvings, _, _ in found] == [0, 0, 1, 1, 2, 3, 0]
    for need, (_, top, whole) in zip([64, 33, 32, 31, 9, 8], found[:-1], strict=True):
        assert need < top <= 2 * 1.08 * need  # nothing is cut off
        assert whole == pytest.approx(1.08 * 64)


@node
def test_the_charts_are_less_high_in_a_low_window():
    low, high = run("explorer/chart_heights.js", "[720, 900].map(m.chartHeights)")
    assert low["landscape"] < high["landscape"]
    assert high["landscape"] - low["landscape"] == high["curve"] - low["curve"]  # the two panels stay equally high
    css = (assets.HERE / "css/explorer/timeline.css").read_text(encoding="utf-8")
    assert run("explorer/chart_heights.js", "[799, 800].map((h) => m.chartHeights(h).curve)") == [
        low["curve"],
        high["curve"],
    ]
    assert "@media (max-height: 799px)" in css
