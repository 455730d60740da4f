"""Graphs that branch: a U is drawn as a U, equal branches are folded, and what is shown moves to its new place."""

import dataclasses
import json
from itertools import pairwise

import numpy as np
import pytest

from recompviz.core.graphs.graph import Graph, NodeInfo
from recompviz.widgets.explorer import wire
from recompviz.widgets.layout.layered import fill_ranks, ranks_of, ranks_within
from recompviz.widgets.layout.layout import NODE, lay_out
from recompviz.widgets.layout.modules import has_parallel_fold, module_tree
from recompviz.widgets.layout.nested_skips import nested_skips, spread
from tests.widgets.test_javascript import JS, node, run
from tests.widgets.test_modules import plain, scenes_of


def graph_of(modules, edges):
    """A graph with one node for each module path, and a shape for each value."""
    info = tuple(NodeInfo(key=f"v{v}", op="aten.mm", module=path, shape=(8, v + 1)) for v, path in enumerate(modules))
    return dataclasses.replace(Graph.from_edges(edges, memory=[1] * len(modules)), info=info)


def u_net(levels=4, inside=4):
    """Levels down and up of some nodes each, in lists ``down`` and ``up``; the last node of a level is its skip."""
    modules = [f"down.{i}" for i in range(levels + 1) for _ in range(inside)]
    modules += [f"up.{i}" for i in range(levels) for _ in range(inside)]
    n = len(modules)
    skips = [((i + 1) * inside - 1, n - (i + 1) * inside) for i in range(levels)]
    return graph_of(modules, [(v, v + 1) for v in range(n - 1)] + skips), skips


def mixture(experts=12, loop=True):
    """Experts of two nodes; in a loop, a product and a sum follow each of them outside of its module."""
    modules, edges = ["gate", ""], [(0, 1)]
    last = 1
    for i in range(experts):
        v = len(modules)
        modules += [f"experts.{i}", f"experts.{i}"] + ["", ""] * loop
        edges += [(1, v), (v, v + 1)]
        if loop:
            edges += [(v + 1, v + 2), (0, v + 2), (v + 2, v + 3), (last, v + 3)]
            last = v + 3
    if not loop:
        edges += [(2 * i + 3, len(modules)) for i in range(experts)]
        modules.append("")
    return graph_of(modules, edges)


def test_the_skip_connections_of_a_u_are_found_outermost_first_and_a_chain_of_residual_blocks_is_none():
    graph, skips = u_net()
    edges = [tuple(edge) for edge in graph.edges.tolist()]
    assert [edges[e] for e in nested_skips(ranks_of(graph), edges)] == skips
    residual = Graph.from_edges(
        [(v, v + 1) for v in range(30)] + [(v, v + 3) for v in range(0, 27, 3)], memory=[1] * 31
    )
    assert nested_skips(ranks_of(residual), [tuple(edge) for edge in residual.edges.tolist()]) == []


def test_a_dense_block_has_nested_edges_but_is_no_u():
    n = 12
    edges = [(u, v) for v in range(n) for u in range(v)]
    assert nested_skips(range(n), edges) == []


def test_of_two_skip_connections_into_a_level_the_one_from_its_own_level_is_chosen():
    """As in the U-Nets of diffusion models: each level down leads to its own level up, and to the one below."""
    chain = [(v, v + 1) for v in range(9)]
    own, lower = [(1, 9), (2, 8), (3, 7), (4, 6)], [(0, 9), (1, 8), (2, 7), (3, 6)]
    edges = [*chain, *lower, *own]
    assert [edges[e] for e in nested_skips(range(10), edges)] == own


def test_a_u_is_drawn_as_a_u():
    graph, skips = u_net()
    layout = lay_out(graph, "wrapped")
    x, y = layout.nodes.T
    for above, below in pairwise(skips):
        assert y[below[0]] > y[above[0]]  # further in is further down
    for e, (u, v) in enumerate(graph.edges.tolist()):
        if (u, v) in skips:
            assert y[u] == y[v]
            assert x[u] + NODE[0] < x[v]
            line = layout.points[layout.offsets[e] : layout.offsets[e + 1]]
            assert np.ptp(line[:, 1]) == 0  # one straight line, and no box on it
            between = (np.abs(y - y[u]) < NODE[1]) & (x > x[u]) & (x < x[v])
            assert not between.any()


def test_a_deep_chain_is_still_a_text():
    graph = Graph.from_edges([(v, v + 1) for v in range(119)], memory=[1] * 120)
    layout = lay_out(graph, "wrapped")
    rows = np.unique(layout.nodes[:, 1])
    assert len(rows) > 2
    assert (np.diff(layout.nodes[:, 1]) >= 0).all()


@node
def test_in_the_page_the_blocks_of_a_u_lie_in_rows_of_two():
    graph, _ = u_net()
    tree = module_tree(graph)
    assert {"down.0", "down.4", "up.0", "up.3"} <= set(tree.paths)
    assert "up" not in tree.paths  # a box around all of them would hide where the values go
    scene = scenes_of(graph, [[0]])[0]
    y = {tree.paths[item - len(graph)]: scene["y"][b] for b, item in enumerate(scene["items"])}
    for level in range(4):
        assert y[f"down.{level}"] == pytest.approx(y[f"up.{3 - level}"])
        assert y[f"down.{level + 1}"] > y[f"down.{level}"]


@pytest.mark.parametrize("loop", [True, False])
def test_the_experts_of_a_mixture_are_folded_into_one_box_and_the_graph_opens_so(loop):
    graph = mixture(loop=loop)
    tree = module_tree(graph)
    assert max(tree.times) == 12
    assert has_parallel_fold(graph, tree)
    assert wire.modules_message(graph)["collapse_above"] == 0


@pytest.mark.parametrize(("stage", "times"), [("layer", 1), ("h", 4)])
def test_blocks_with_nodes_between_them_are_folded_only_if_they_are_of_one_list(stage, times):
    modules = [path for i in range(4) for path in [f"{stage}.{i}" if times > 1 else f"{stage}{i}.0"] * 2 + [""]]
    tree = module_tree(graph_of(modules, [(v, v + 1) for v in range(len(modules) - 1)]))
    assert max(tree.times) == times


def test_blocks_one_after_the_other_are_no_parallel_fold():
    modules = [f"h.{v // 2}" for v in range(24)]
    graph = graph_of(modules, [(v, v + 1) for v in range(23)])
    tree = module_tree(graph)
    assert max(tree.times) == 12
    assert not has_parallel_fold(graph, tree)


def test_parallel_branches_fill_ranks_of_limited_size_and_edges_still_lead_to_later_ranks():
    graph = mixture(40, loop=False)
    rank = ranks_within(graph, 0.5)
    assert max(np.bincount(ranks_of(graph))) == 40
    assert max(np.bincount(rank)) <= 8
    assert all(rank[u] < rank[v] for u, v in graph.edges.tolist())
    layout = lay_out(graph, "wrapped")
    assert layout.height < 20 * NODE[1] * 1.4  # half as high as 40 branches beside each other


def test_filled_ranks_are_the_longest_paths_where_the_limit_does_not_matter():
    graph = u_net()[0]
    before = [[u for u, w in graph.edges.tolist() if w == v] for v in range(len(graph))]
    assert fill_ranks(range(len(graph)), before, [0] * len(graph), 99) == ranks_of(graph)


@node
@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_rows_are_spread_in_the_page_as_in_python(count):
    chain = [4, 9, 2, 7, 1]
    assert run("graph/wrapped_lines.js", "m.spread(v.c, v.n)", c=chain, n=count) == spread(chain, count)


@node
def test_a_box_moves_from_its_own_place_or_from_the_module_that_it_was_in():
    graph = u_net()[0]
    closed, opened = scenes_of(graph, [[0], [0, 1]])[:2]
    found = run(
        "graph/scene_motion.js",
        """(await (async () => {
          const { makeModuleTree } = await import(DIR + "/graph/module_tree.js");
          const tree = makeModuleTree(v.g, v.m);
          const move = (a, b) => b.items.map((item) => m.placeBefore(item, m.scenePlaces(a, {}, v.g.count), tree));
          return [move(v.closed, v.opened), move(v.opened, v.closed)];
        })())""".replace("DIR", json.dumps(JS.as_uri())),
        closed=closed,
        opened=opened,
        **plain(graph),
    )
    count, box = len(graph), len(graph) + 1
    where = {item: [closed["x"][b], closed["y"][b]] for b, item in enumerate(closed["items"])}
    for item, move in zip(opened["items"], found[0], strict=True):
        assert move == ({"at": where[item], "shown": True} if item in where else {"at": where[box], "shown": False})
    frame = opened["frames"][0]
    back = dict(zip(closed["items"], found[1], strict=True))[box]
    assert frame["m"] == box - count
    assert back == {"at": [frame["x"] + frame["w"] / 2, frame["y"] + frame["h"] / 2], "shown": False}


@node
def test_the_shape_of_each_value_is_written_once_where_its_line_begins():
    graph = u_net(4, 2)[0]
    scene = scenes_of(graph, [[0]])[0]
    texts = run("graph/edge_shapes.js", "m.shapeTexts(v.s, v.g)", s=scene, g=plain(graph)["g"])
    # every closed box but the last has a line that leaves it; the last value of a box is the one on it
    last = sorted({u for u, v in graph.edges.tolist() if graph.info[u].module != graph.info[v].module})
    assert sorted(each["text"] for each in texts) == sorted("×".join(map(str, graph.info[u].shape)) for u in last)


@node
@pytest.mark.parametrize("deep", [0, 3])
def test_the_opened_experts_of_a_mixture_lie_in_one_column_and_in_the_width_of_the_window(deep):
    outside = ".".join(["layer"] * deep)
    graph = mixture(8)
    if deep:
        paths = [f"{outside}.{one.module}".rstrip(".") for one in graph.info]
        graph = dataclasses.replace(
            graph, info=tuple(dataclasses.replace(one, module=p) for one, p in zip(graph.info, paths, strict=True))
        )
    tree = module_tree(graph)
    experts = [len(graph) + m for m, path in enumerate(tree.paths) if path.split(".")[-1] in map(str, range(8))]
    assert len(experts) == 8
    scene = scenes_of(graph, [[m for m in range(len(tree)) if len(graph) + m not in experts]])[0]
    places = [scene["items"].index(item) for item in experts]
    assert len({scene["x"][b] for b in places}) == 1
    assert [scene["y"][b] for b in places] == sorted(scene["y"][b] for b in places)
    assert 0.88 * scene["width"] <= 1060


@node
def test_the_minimap_moves_to_a_corner_where_it_covers_no_box_or_becomes_small():
    place = "m.freePlace(v.scene, {scale: 1, x: 0, y: 0}, {width: 800, height: 400}, v.now)"

    def found(boxes, now):
        scene = {"items": list(range(len(boxes))), "x": [x for x, _ in boxes], "y": [y for _, y in boxes]}
        return run("graph/minimap.js", place, scene=scene | {"w": [40] * len(boxes), "h": [20] * len(boxes)}, now=now)

    assert found([(700, 360)], 0) == {"corner": 1, "covers": 0, "small": False}
    assert found([(700, 360)], 3) == {"corner": 3, "covers": 0, "small": False}
    assert found([(300, 360)], 0) == {"corner": 0, "covers": 0, "small": False}
    around = [(660, 340), (140, 340), (660, 60), (140, 60)]  # a small minimap has room in each corner
    assert found(around, 0) == {"corner": 0, "covers": 0, "small": True}
    assert found([*around, (760, 370)], 0) == {"corner": 1, "covers": 0, "small": True}
    full = [(760, 370), (40, 370), (760, 30), (40, 30)]
    assert found(full, 2) == {"corner": 2, "covers": 1, "small": False}  # boxes are seen through it


@node
def test_lines_with_shapes_are_legible_in_the_window_and_no_shape_is_cut_off():
    graph, _ = u_net()
    scene = run(
        "graph/compose.js",
        """(await (async () => {
          const { makeModuleTree } = await import(DIR + "/graph/module_tree.js");
          const tree = makeModuleTree(v.g, v.m);
          const open = new Set(tree.names.keys());
          const room = (item) => (open.has(item - v.g.count) ? 0 : 90);
          const view = { width: 950, height: 330, least: 0.88 };
          return m.compose(tree, open, "wrapped", () => [38, 22], { view, room });
        })())""".replace("DIR", json.dumps(JS.as_uri())),
        **plain(graph),
    )
    assert 0.88 * scene["width"] <= 1060
    values = set(scene["items"])  # a line from a frame has no shape
    begins = [scene["points"][2 * p] for p, v in zip(scene["offsets"], scene["lineFrom"], strict=False) if v in values]
    assert max(begins) + 90 <= scene["width"]
