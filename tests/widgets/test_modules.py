"""The modules as boxes: convex, complete, folded where equal, and the same in the page as in Python."""

import dataclasses
import json
import random
from itertools import pairwise

import numpy as np
import pytest

from recompviz.core.exact.solver import solve
from recompviz.core.graphs.graph import Graph, NodeInfo
from recompviz.core.steps.examples import residual_step
from recompviz.widgets.explorer import wire
from recompviz.widgets.layout.folded import fold
from recompviz.widgets.layout.layout import NODE, lay_out
from recompviz.widgets.layout.module_layout import IN, OUT, lay_out_modules, lines_of
from recompviz.widgets.layout.modules import ancestors, module_tree, times_text
from tests.widgets.test_javascript import node, run

NETWORK = residual_step((2, 3))[0]


def random_graph(seed: int, n: int = 40) -> Graph:
    """Any order of edges, modules that are called again and again, nodes outside every module."""
    draw = random.Random(seed)
    edges = [(u, v) for v in range(1, n) for u in draw.sample(range(v), min(v, draw.choice((1, 1, 2, 3))))]
    names = ["", "a", "a.b", "a.b.c", "d", "d.0", "d.1", "d.2"]
    at, info = "", []
    for v in range(n):
        at = draw.choice(names) if draw.random() < 0.4 else at
        info.append(NodeInfo(key=f"v{v}", op="aten.relu", module=at))
    memory = [draw.randrange(1, 50) for _ in range(n)]
    graph = Graph.from_edges(edges, memory=memory)
    return dataclasses.replace(graph, info=tuple(info))


GRAPHS = [NETWORK, *(random_graph(seed) for seed in range(12))]


@pytest.mark.parametrize("graph", GRAPHS)
def test_every_node_lies_in_one_box_and_every_box_holds_at_least_two_things(graph):
    tree = module_tree(graph)
    held = [item for items in tree.children for item in items]
    assert sorted(held) == [i for i in range(len(graph) + len(tree)) if i != len(graph)]
    assert all(len(items) >= 2 for items in tree.children)
    for box, items in enumerate(tree.children):
        for item in items:
            assert (tree.owner[item] if item < len(graph) else tree.parent[item - len(graph)]) == box


@pytest.mark.parametrize("graph", GRAPHS)
def test_whatever_is_open_the_graph_of_the_boxes_has_no_cycle(graph):
    tree = module_tree(graph)
    layout = lay_out_modules(graph, tree)
    for box, start, end in layout.lines.tolist():
        ranks = [layout.rank[item] if item >= 0 else {IN: 0, OUT: layout.ports[box, 2]}[item] for item in (start, end)]
        assert ranks[0] < ranks[1]


@pytest.mark.parametrize("graph", GRAPHS)
def test_the_lines_lead_from_every_producer_to_its_consumer(graph):
    tree = module_tree(graph)
    lines = [set(pairs) for pairs in lines_of(graph, tree)]
    for u, v in graph.edges.tolist():
        around_u, around_v = ancestors(tree, u), ancestors(tree, v)
        common = next(box for box in around_u if box in around_v)
        out = [u, *(len(graph) + box for box in around_u[: around_u.index(common)])]
        into = [v, *(len(graph) + box for box in around_v[: around_v.index(common)])]
        for inner, box in zip(out[:-1], around_u, strict=False):
            assert (inner, OUT) in lines[box]
        for inner, box in zip(into[:-1], around_v, strict=False):
            assert (IN, inner) in lines[box]
        assert (out[-1], into[-1]) in lines[common]


def test_repeated_blocks_are_folded_and_different_ones_are_not():
    tree = module_tree(NETWORK)
    told = dict(zip(tree.paths, tree.times, strict=True))
    assert told["layer2.1–2"] == 2
    assert told["layer1.0"] == told["layer1.1"] == told["layer2.0"] == 1


@node
@pytest.mark.parametrize(
    ("sizes", "said", "title"),
    [
        ([(4, 4)] * 6, "×6", "6 equal blocks"),
        ([(4, 4), (9, 9)] * 3, "(2 blocks ×3)", "3 equal groups of 2 blocks"),  # every second block is another one
    ],
)
def test_a_fold_says_how_many_blocks_repeat_together(sizes, said, title):
    graph = blocks([f"layers.{i}" for i in range(6)] + ["head"], [*sizes, (1, 1)])
    kinds = {i: "aten.gelu" for i in range(len(graph)) if graph.memory[i] == 9}  # experts in every second layer
    graph = dataclasses.replace(
        graph, info=tuple(dataclasses.replace(one, op=kinds.get(i, one.op)) for i, one in enumerate(graph.info))
    )
    tree = module_tree(graph)
    (m,) = [m for m, times in enumerate(tree.times) if times > 1]
    assert times_text(tree, m) == said
    assert f"layers {said}" in fold(graph, tree).names
    code = """(() => {
      const tree = t.makeModuleTree(v.g, v.m);
      const m = tree.times.findIndex((times) => times > 1);
      const state = { of: 1, count: 1, keptBytes: 1, held: 1 };
      return [t.timesText(tree, m), s.boxTitle("x", tree.times[m], true, state, t.blocksEach(tree, m)).split(", ")[1]];
    })()"""
    found = run("graph/scene.js", code, {"t": "graph/module_tree.js", "s": "graph/box_style.js"}, **plain(graph))
    assert found == [said, title]


def blocks(names, sizes):
    """Blocks of two nodes after each other; their bytes, the first of each pair that of the first node."""
    info = tuple(
        NodeInfo(key=f"{i}", op=op, module=name) for i, name in enumerate(names) for op in ("aten.mm", "aten.relu")
    )
    count = len(info)
    return dataclasses.replace(
        Graph.from_edges([(i, i + 1) for i in range(count - 1)], memory=[size for pair in sizes for size in pair]),
        info=info,
    )


@node
@pytest.mark.parametrize(
    ("names", "sizes", "folded", "told"),
    [
        (["mid", "u3", "u2", "out"], [(1, 1), (2, 2), (4, 4), (4, 4)], ["u2–out"], ["2 equal blocks"]),
        (["u3", "u2", "u1"], [(1, 1), (2, 2), (4, 4)], [], []),  # the parts of a U-Net
        (["layer1", "layer2", "layer3"], [(1, 4), (2, 4), (3, 4)], [""], ["3 similar blocks"]),  # of a DenseNet
        (["layer1", "layer2", "layer3"], [(4, 4)] * 3, [""], ["3 equal blocks"]),
        (["0", "1", "2"], [(1, 1), (2, 2), (4, 4)], [""], ["3 similar blocks"]),  # of a list
    ],
)
def test_blocks_of_other_names_are_folded_only_with_equal_bytes_and_unequal_ones_are_called_similar(
    names, sizes, folded, told
):
    graph = blocks(names, sizes)
    tree = module_tree(graph)
    assert [path for path, times in zip(tree.paths, tree.times, strict=True) if times > 1] == folded
    code = """(() => {
      const tree = t.makeModuleTree(v.g, v.m);
      const state = { of: 1, count: 1, keptBytes: 1, held: 1 };
      const folds = [...tree.times.keys()].filter((k) => tree.times[k] > 1);
      return folds.map((k) => m.boxTitle("x", tree.times[k], t.foldsEqual(tree, k, v.g.memory), state));
    })()"""
    titles = run("graph/box_style.js", code, {"t": "graph/module_tree.js"}, **plain(graph))
    assert [text.split(", ")[1] for text in titles] == told


def called(runs, edges=None):
    """Nodes in runs, each (module, numbers of the calls, count of nodes); by default each node reads the one before."""
    info = tuple(
        NodeInfo(key=f"{module}{calls}{i}", op="aten.mm" if i % 2 else "aten.relu", module=module, calls=calls)
        for module, calls, count in runs
        for i in range(count)
    )
    edges = [(i, i + 1) for i in range(len(info) - 1)] if edges is None else edges
    return dataclasses.replace(Graph.from_edges(edges, memory=[1] * len(info)), info=info)


@pytest.mark.parametrize(
    ("runs", "paths"),
    [
        # two calls of a head one after the other, and a part of it that is called once in each
        (
            [
                ("body", (0,), 3),
                ("head", (0,), 1),
                ("head.trunk", (0, 0), 3),
                ("head.trunk", (1, 1), 2),
                ("head", (1,), 2),
            ],
            ["body", "head (call 1)", "head (call 1).trunk", "head (call 2)", "head (call 2).trunk"],
        ),
        # equal calls are folded
        ([("", (), 2), *(("cell", (i,), 2) for i in range(8)), ("", (), 2)], ["cell (calls 1–8)", "cell (call 1)"]),
        # a list whose blocks run several times
        (
            [("", (), 1), *((f"h.{i % 2}", (0, i // 2), 2) for i in range(6)), ("", (), 1)],
            ["h", "h.0 (call 1)", "h.1 (call 1)", "h.0 (call 2)"],
        ),
        # nodes of one call on two sides of another module
        (
            [("a", (0,), 2), ("b", (0,), 3), ("a", (0,), 2), ("b", (1,), 2)],
            ["a (part 1)", "b (call 1)", "a (part 2)", "b (call 2)"],
        ),
    ],
)
def test_the_boxes_of_a_module_that_is_called_again_are_numbered(runs, paths):
    tree = module_tree(called(runs))
    assert [path for path in tree.paths if path in paths] == paths
    for m in range(len(tree)):
        siblings = [tree.names[item - len(tree.owner)] for item in tree.children[m] if item >= len(tree.owner)]
        assert len(set(siblings)) == len(siblings)


def test_parts_of_a_module_without_a_box_have_its_name():
    # four towers whose parts each have a partner of their own, in two lists without boxes
    runs = [
        (f"{side}.{i}", (0, 0), 2)
        for side in ("down", "up")
        for i in (range(4) if side == "down" else range(3, -1, -1))
    ]
    edges = [(v, v + 1) for v in range(15)] + [(2 * i + 1, 14 - 2 * i) for i in range(4)]
    tree = module_tree(called(runs, edges))
    assert {"down.0", "up.0"} <= set(tree.names)


@node
def test_a_box_that_holds_nothing_has_an_empty_bar_and_is_neither_kept_nor_recomputed():
    graph = {"count": 2, "memory": [4, 4], "held": [0, 0], "time": [1, 1]}
    plan = {"states": [1, 1], "segments": [1, 1]}
    style = run("graph/box_style.js", "m.styleOf(2, [0, 1], v.g, v.p, 'state', null)", g=graph, p=plan)
    assert (style["bar"], style["className"], style["fact"]) == (0, "rv-box-empty", "holds no memory")
    graph["held"] = [0, 4]
    style = run("graph/box_style.js", "m.styleOf(2, [0, 1], v.g, v.p, 'state', null)", g=graph, p=plan)
    assert (style["bar"], style["className"]) == (1, "rv-box-keep")


@node
def test_a_box_shows_a_value_that_nothing_reads_later_as_neither_kept_nor_recomputed():
    graph = {"count": 2, "memory": [4, 4], "held": [0, 4], "unread": [4, 0], "time": [1, 1]}
    styles = """v.plans.map((states) => [0, 2].map((item) =>
      m.styleOf(item, item ? [0, 1] : [0], v.g, { states, segments: [1, 1] }, "state", null)))"""
    found = run("graph/box_style.js", styles, g=graph, plans=[[2, 1], [1, 0], [2, 0]])
    assert [value["className"] for value, _ in found] == ["rv-unneeded", "rv-keep", "rv-unneeded"]
    assert [module["className"] for _, module in found] == ["rv-box-keep", "rv-box-mixed", "rv-box-recompute"]
    assert [module["fact"] for _, module in found] == ["100% of 4 B kept", "100% of 4 B kept", "0% of 4 B kept"]
    # a value that only a recomputation reads is held, too, and is more than keep-all holds
    both = run(
        "graph/box_style.js", "m.styleOf(2, [0, 1], v.g, { states: [1, 1], segments: [1, 1] }, 'state', null)", g=graph
    )
    assert (both["fact"], both["bar"]) == ("8 B kept", 1)


@node
def test_the_shape_of_a_value_has_room_on_its_line_in_a_wide_font():
    graph = {"count": 1, "nodes": [{"shape": "12×24×128×128"}]}
    room = run("graph/edge_shapes.js", "m.roomOf(0, v.graph, null)", graph=graph)
    wide = 12.5 * (10 * 0.636 + 3 * 0.838)  # in DejaVu Sans
    assert room >= 5 + wide  # the text begins 5 px after the box


def test_a_module_that_is_nothing_but_its_blocks_is_their_fold():
    info = tuple(NodeInfo(key=f"{i}", op="aten.mm" if i % 2 else "aten.relu", module=f"h.{i // 2}") for i in range(8))
    graph = Graph.from_edges([(i, i + 1) for i in range(7)], memory=[1] * 8)
    tree = module_tree(dataclasses.replace(graph, info=info))
    assert (tree.times[0], len(tree.children[0])) == (4, 4)


def test_a_graph_without_modules_is_one_box_and_nothing_is_laid_out_for_it():
    graph = Graph.from_edges([(i, i + 1) for i in range(9)], memory=[1] * 10)
    tree = module_tree(graph)
    assert len(tree) == 1
    assert len(lay_out_modules(graph, tree).lines) == 0


# ------------------------------------------------------------------------------------------- in the page


def plain(graph):
    """Graph and modules as the page has them."""
    message = wire.modules_message(graph)
    kinds = {
        "parent": "i4", "times": "u4", "owner": "i4", "rank": "u2", "across": "f4", "ports": "f4", "lines": "i4",
        "passed": "f4", "offsets": "u4", "skips": "u4",
    }  # fmt: skip
    arrays = {name: np.frombuffer(message[name], f"<{kind}").tolist() for name, kind in kinds.items()}
    modules = {**message, **arrays, "collapseAbove": message["collapse_above"]}
    fields = ("key", "op", "module", "dtype")
    nodes = [
        {"label": "", "shape": "×".join(map(str, i.shape)), **{f: getattr(i, f) for f in fields}} for i in graph.info
    ]
    edges = graph.edges.ravel().tolist()
    return {"g": {"count": len(graph), "edges": edges, "memory": graph.memory.tolist(), "nodes": nodes}, "m": modules}


COMPOSE = """(await (async () => {
  const { makeModuleTree } = await import(DIR + "/graph/module_tree.js");
  const tree = makeModuleTree(v.g, v.m);
  const scenes = [];
  for (const mode of ["wrapped", "right", "down"]) {
    const size = (item) => (item < v.g.count ? [38, 22] : [110, 38]);
    for (const open of v.opens) scenes.push(m.compose(tree, new Set(open), mode, size));
  }
  return scenes;
})())"""


def scenes_of(graph, opens):
    from tests.widgets.test_javascript import JS

    return run("graph/compose.js", COMPOSE.replace("DIR", json.dumps(JS.as_uri())), opens=opens, **plain(graph))


def random_opens(tree, seed):
    """Some closed pictures, some half open, the open one; a box is open only inside an open one."""
    draw = random.Random(seed)
    opens = [[0], list(range(len(tree)))]
    for _ in range(3):
        open_ = {0}
        for box in range(1, len(tree)):
            if tree.parent[box] in open_ and draw.random() < 0.5:
                open_.add(box)
        opens.append(sorted(open_))
    return opens


@node
@pytest.mark.parametrize("number", range(5))
def test_no_two_boxes_overlap_whatever_is_open_and_frames_hold_their_boxes(number):
    graph = GRAPHS[number]
    tree = module_tree(graph)
    for scene in scenes_of(graph, random_opens(tree, number)):
        x, y, w, h = (np.array(scene[key]) for key in "xywh")
        dx, dy = np.abs(x[:, None] - x), np.abs(y[:, None] - y)
        apart = (dx >= (w[:, None] + w) / 2 - 0.01) | (dy >= (h[:, None] + h) / 2 - 0.01)
        assert (apart | np.eye(len(x), dtype=bool)).all()
        assert (
            (x - w / 2 >= 0) & (x + w / 2 <= scene["width"]) & (y - h / 2 >= 0) & (y + h / 2 <= scene["height"])
        ).all()
        frames = {frame["m"]: frame for frame in scene["frames"]}
        for i, item in enumerate(scene["items"]):
            for box in ancestors(tree, item):
                if box:
                    frame = frames[box]
                    assert frame["x"] <= x[i] - w[i] / 2
                    assert x[i] + w[i] / 2 <= frame["x"] + frame["w"] + 0.01
                    assert frame["y"] <= y[i] - h[i] / 2
                    assert y[i] + h[i] / 2 <= frame["y"] + frame["h"] + 0.01


def lines_behind_boxes(points, offsets, boxes):
    """How many pairs of a line and a box there are of which the line passes the inside of the box."""
    points, (x, y, w, h) = np.array(points, float).reshape(-1, 2), boxes
    found = 0
    for a, b in pairwise(offsets):
        line = points[a:b]
        steps = np.linspace(0, 1, 60)[:, None, None]
        at = (line[:-1] + steps * (line[1:] - line[:-1])).reshape(-1, 2)
        inside = (np.abs(at[:, :1] - x) < w / 2 - 1) & (np.abs(at[:, 1:] - y) < h / 2 - 1)
        found += int(inside.any(axis=0).sum())
    return found


def fan(calls=5):
    """A head with two outputs, called for each of several levels, whose outputs are concatenated; with skip edges."""
    runs = [
        ("body", (0,), 3),
        *((part, (i, i), 2) for i in range(calls) for part in ("head.cls", "head.box")),
        ("", (), 3),
    ]
    last = 3 + 4 * calls
    edges = [(0, 1), (1, 2), (0, last + 2), (last, last + 2), (last + 1, last + 2)]
    for i in range(calls):
        a, b = 3 + 4 * i, 5 + 4 * i
        edges += [(2, a), (a, a + 1), (2, b), (b, b + 1), (a + 1, last), (b + 1, last + 1)]
    return called(runs, edges)


@node
@pytest.mark.parametrize("graph", [fan(), *GRAPHS[:4]])
def test_lines_run_round_boxes_and_never_behind_them(graph):
    tree = module_tree(graph)
    for scene in scenes_of(graph, random_opens(tree, 5)):
        boxes = [np.array(scene[key]) for key in "xywh"]
        assert lines_behind_boxes(scene["points"], scene["offsets"], boxes) == 0


@pytest.mark.parametrize("graph", [fan(), *GRAPHS[:4]])
@pytest.mark.parametrize("mode", ["wrapped", "right", "down"])
def test_lines_run_round_nodes_in_the_layout_of_every_value(graph, mode):
    layout = lay_out(graph, mode, seconds=0)  # without dot
    count = len(graph)
    boxes = [*layout.nodes.T, np.full(count, NODE[0]), np.full(count, NODE[1])]
    assert lines_behind_boxes(layout.points, layout.offsets, boxes) == 0


@node
def test_steep_lines_have_room_between_the_columns():
    graph = fan()
    everything = list(range(len(module_tree(graph))))
    for scene in scenes_of(graph, [[0], everything])[:4]:
        points = np.array(scene["points"]).reshape(-1, 2)
        for a, b in pairwise(scene["offsets"]):
            dx, dy = np.abs(np.diff(points[a:b], axis=0)).T
            slanted = (dx > 0.1) & (dy < 160)
            assert (dy[slanted] <= 4.01 * dx[slanted]).all()


@node
def test_opening_a_box_keeps_the_order_of_all_others():
    tree = module_tree(NETWORK)
    box = tree.paths.index("layer2")
    closed, opened = scenes_of(NETWORK, [[0], [0, box]])[2:4]  # left to right
    shared = [item for item in closed["items"] if item in opened["items"]]
    order = [sorted(shared, key=lambda item, s=s: s["x"][s["items"].index(item)]) for s in (closed, opened)]
    assert order[0] == order[1]
    assert len(shared) == len(closed["items"]) - 1


@node
def test_every_edge_belongs_to_a_line_of_every_box_that_it_passes():
    graph = random_graph(3)
    tree = module_tree(graph)
    (scene, *_) = scenes_of(graph, [list(range(len(tree)))])
    drawn = {e for edges in scene["lineEdges"] for e in edges}
    assert drawn == set(range(len(graph.edges)))


@node
@pytest.mark.parametrize("seed", range(4))
def test_the_terms_of_every_lower_set_equal_those_of_the_core(seed):
    graph = random_graph(seed, 14)
    for plan in solve(graph).plans("time"):
        told = run(
            "data/sequence.js",
            "(await (async () => { const l = await import(DIR + '/data/lower_sets.js');"
            " return m.sequenceOf(v.g, l.neighbours(v.g), v.s, v.k); })())".replace("DIR", json.dumps(js_folder())),
            g=plain(graph)["g"],
            s=plan.segment.tolist(),
            k=plan.keep_mask.astype(int).tolist(),
        )
        expected = [[t.cache, t.segment, t.gradients, t.needed] for t in plan.terms]
        assert [step["terms"] for step in told["steps"]] == expected
        assert max(step["total"] for step in told["steps"]) == plan.peak
        assert told["steps"][told["peak"]]["total"] == plan.peak
        assert told["canonical"] is True
        for step, lower in zip(told["steps"], plan.masks, strict=True):
            boundary = graph.boundary_mask(lower)
            assert (step["size"], step["boundary"]) == (lower.bit_count(), boundary.bit_count())
            assert step["boundaryBytes"] == graph.memory_of(boundary)


@node
def test_a_plan_that_keeps_other_values_is_told_to_be_no_lower_set_sequence():
    from recompviz.core.plans.plan import Plan

    graph = random_graph(1, 14)
    plan = Plan.from_keep_mask(graph, [2, 5, 11], "by hand")
    told = run(
        "data/sequence.js",
        "(await (async () => { const l = await import(DIR + '/data/lower_sets.js');"
        " return m.sequenceOf(v.g, l.neighbours(v.g), v.s, v.k); })())".replace("DIR", json.dumps(js_folder())),
        g=plain(graph)["g"],
        s=plan.segment.tolist(),
        k=plan.keep_mask.astype(int).tolist(),
    )
    assert told["canonical"] is False
    assert max(step["total"] for step in told["steps"]) == plan.peak


def js_folder():
    from tests.widgets.test_javascript import JS

    return JS.as_uri()


@node
def test_a_search_finds_names_operators_and_sizes():
    values = plain(NETWORK)
    find = lambda text: run("graph/search.js", "m.findNodes(v.g, v.t)", t=text, **values)  # noqa: E731
    assert find("") == []
    info, memory = NETWORK.info, NETWORK.memory
    assert find("conv layer2") == [v for v, i in enumerate(info) if "conv" in i.key and "layer2" in i.key]
    assert find(">10 MiB") == [v for v in range(len(NETWORK)) if memory[v] > 10 * 2**20]
    assert find("relu <=6.2MB >1k") == [
        v for v, i in enumerate(info) if "relu" in i.key + i.op and 1024 < memory[v] <= 6.2e6
    ]


@node
def test_classes_of_a_quantity_rise_and_hold_every_value():
    values = [0, 1, 3, 10, 200, 4000, 4000]
    levels = run(
        "graph/colouring.js",
        "(() => { const e = m.classEnds(v.x); return v.x.map((q) => m.levelOf(q, e)); })()",
        x=values,
    )
    assert levels == sorted(levels)
    assert (levels[0], levels[1], levels[-1]) == (0, 1, 8)


@node
def test_boxes_of_clearly_different_bytes_have_different_colours_and_bars():
    # of the boxes of a U-Net with modules; 42 and 84 MiB had one colour and one bar
    sizes = [84, 64, 43, 32, 27, 19, 8, 4, 0.5]
    levels, bars = run(
        "graph/colouring.js",
        "((e) => [v.x.map((q) => m.levelOf(q, e)), v.x.map((q) => m.barOf(q, e))])(m.classEnds(v.x))",
        x=sizes,
    )
    assert levels == [8, 7, 6, 5, 5, 4, 3, 2, 1]
    assert bars[:-1] == pytest.approx([size / 84 for size in sizes[:-1]])
    assert bars[-1] == 0.04  # it is seen


@node
def test_quantities_have_units():
    quantities = [["bytes", 2048], ["time", 0.01724], ["density", 2048]]
    texts = run("graph/colouring.js", "v.q.map(([name, x]) => m.quantityText(name, x, 'ms (measured)'))", q=quantities)
    assert texts == ["2.00 KiB", "0.017 ms", "2.00 KiB/ms"]


@node
def test_what_is_laid_over_a_box_is_what_any_of_its_nodes_has_and_outside_only_what_all_have():
    lower = {"inside": [0, 0, 1], "boundary": [2]}
    state = {"alive": [1, 0, 0], "pins": [0, 1, -1], "difference": None, "picked": -1, "step": -1, "lower": lower}
    flags = run("graph/overlay.js", "Array.from(m.nodeFlags(3, v.s))", s=state)
    names = lambda f: run("graph/overlay.js", "m.flagClasses(v.f)", f=f).split()  # noqa: E731
    assert names(flags[0]) == ["rv-outside", "rv-alive"]
    assert names(flags[1]) == ["rv-outside", "rv-not-alive", "rv-pin-keep"]
    both = lambda a, b: names(run("graph/overlay.js", f"m.flagsTogether(v.f, [{a}, {b}])", f=flags))  # noqa: E731
    assert both(0, 1) == ["rv-outside", "rv-alive", "rv-pin-keep"]
    assert both(1, 2) == ["rv-boundary", "rv-not-alive", "rv-pin-keep", "rv-pin-recompute"]
