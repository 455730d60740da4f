"""Layouts: every node has a place of its own, dot is never waited for, nothing is laid out twice."""

import shutil
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from graphviz.backend import dot_command, execute

from recompviz.core.graphs.graph import Graph
from recompviz.core.graphs.node_info import NodeInfo
from recompviz.core.steps.examples import residual_step
from recompviz.widgets.layout import layout
from recompviz.widgets.layout.layered import NODE_GAP, WAITS, arrange, isotonic, ranks_of
from recompviz.widgets.layout.layout import MODES, NODE, default_mode, edge_span, lay_out
from recompviz.widgets.layout.wrapped import PITCH


def u_shape(n: int) -> Graph:
    chain = [(i, i + 1) for i in range(n - 1)]
    return Graph.from_edges(chain + [(i, n - 1 - i) for i in range(0, n // 2 - 2, 3)], memory=[1] * n)


def dense(n: int) -> Graph:
    return Graph.from_edges([(i, j) for i in range(n) for j in range(i + 1, n)], memory=[1] * n)


def no_edges(n: int) -> Graph:
    return Graph.from_edges([], memory=[1] * n)


GRAPHS = {
    "one node": no_edges(1),
    "no edges": no_edges(7),
    "chain": Graph.from_edges([(i, i + 1) for i in range(99)], memory=[1] * 100),
    "dense": dense(14),
    "U shape": u_shape(120),
    "residual": residual_step((2, 2))[0],
    "numbered backwards": Graph.from_edges([(i + 1, i) for i in range(30)], memory=[1] * 31),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", GRAPHS)
def test_no_two_nodes_overlap(name, mode):
    places = lay_out(GRAPHS[name], mode, seconds=0).nodes.astype(float)
    gap = np.abs(places[:, None] - places[None])
    apart = (gap[..., 0] >= NODE[0]) | (gap[..., 1] >= NODE[1] - 0.01)
    assert (apart | np.eye(len(places), dtype=bool)).all()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", GRAPHS)
def test_every_edge_has_a_line_from_its_producer_to_its_consumer(name, mode):
    graph, drawn = GRAPHS[name], lay_out(GRAPHS[name], mode, seconds=0)
    assert len(drawn.offsets) == len(graph.edges) + 1
    half = np.array(NODE) / 2 + 0.6
    for e, (u, v) in enumerate(graph.edges):
        line = drawn.points[drawn.offsets[e] : drawn.offsets[e + 1]]
        assert len(line) >= 2
        assert (np.abs(line[0] - drawn.nodes[u]) <= half).all()
        assert (np.abs(line[-1] - drawn.nodes[v]) <= half).all()


@pytest.mark.parametrize("name", GRAPHS)
def test_everything_lies_inside_the_picture(name):
    for mode in MODES:
        drawn = lay_out(GRAPHS[name], mode, seconds=0)
        assert drawn.nodes.min() >= 0
        assert (drawn.nodes.max(0) <= [drawn.width, drawn.height]).all()


def test_an_empty_graph_has_a_layout():
    for mode in MODES:
        assert lay_out(no_edges(0), mode).nodes.shape == (0, 2)


def test_edges_run_to_the_right_or_down():
    graph = GRAPHS["residual"]
    for mode, axis in (("right", 0), ("down", 1)):
        places = lay_out(graph, mode, seconds=0).nodes
        assert (places[graph.edges[:, 1], axis] > places[graph.edges[:, 0], axis]).all()


def test_wrapped_lines_read_from_left_to_right_and_from_top_to_bottom():
    graph = GRAPHS["chain"]
    places = lay_out(graph, "wrapped", seconds=0).nodes
    lines = np.cumsum(np.diff(places[:, 0], prepend=places[0, 0]) < 0)
    assert lines.max() >= 2
    for line in range(lines.max()):
        assert places[lines == line, 1].max() < places[lines == line + 1, 1].min()


def test_a_deep_network_is_wrapped_and_a_shallow_one_is_not():
    assert default_mode(residual_step()[0]) == "wrapped"
    assert default_mode(dense(8)) == "right"


@pytest.mark.parametrize("blocks", [(3, 4, 6, 3), (3, 8, 12, 3)])
def test_labels_of_a_deep_network_are_legible_in_the_width_of_a_notebook_and_a_huge_one_fills_the_window(blocks):
    narrow = 820  # px, beside a file browser
    drawn = lay_out(residual_step(blocks)[0], "wrapped")
    assert drawn.width <= narrow / 0.88
    block = 10 * PITCH  # of a bottleneck; a line has as many whole ones as fit
    assert drawn.width + block > 0.8 * narrow / 0.88
    huge = lay_out(residual_step((8, 12, 13, 9))[0], "wrapped")
    width, height = layout.VIEW
    assert min(width / huge.width, height / huge.height) < 0.88
    assert 0.4 < (huge.width / huge.height) / (width / height) < 2.5


def test_the_crossing_of_two_edges_is_undone():
    arrangement = arrange([0, 0, 1, 1], [(0, 3), (1, 2)])
    a = arrangement.across
    assert (a[0] - a[1]) * (a[3] - a[2]) > 0


def test_isotonic_regression_agrees_with_scipy():
    from scipy.optimize import isotonic_regression

    rng = np.random.default_rng(0)
    for _ in range(50):
        values, weights = rng.normal(size=20), rng.uniform(0.1, 5, size=20)
        expected = isotonic_regression(values, weights=weights).x
        np.testing.assert_allclose(isotonic(values.tolist(), weights.tolist()), expected, atol=1e-9)


def test_without_dot_the_built_in_layout_answers(monkeypatch):
    monkeypatch.setattr(dot_command, "DOT_BINARY", Path("no-such-dot"))
    layout._cache.clear()
    assert lay_out(GRAPHS["residual"], "right").engine == "layered"
    layout._cache.clear()


@pytest.mark.skipif(shutil.which("dot") is None, reason="no dot on PATH")
def test_dot_answers_for_a_small_graph():
    drawn = lay_out(residual_step((1,))[0], "right", seconds=10)
    assert drawn.engine == "dot"
    assert len(drawn.points) > len(drawn.offsets)


def test_a_dot_that_does_not_answer_is_left(tmp_path, monkeypatch):
    slow = tmp_path / "dot"
    done = tmp_path / "done"
    slow.write_text(f"#!{sys.executable}\nimport time\ntime.sleep(60)\nopen({str(done)!r}, 'w')\n")
    slow.chmod(0o755)
    monkeypatch.setattr(dot_command, "DOT_BINARY", slow)
    layout._cache.clear()
    assert lay_out(GRAPHS["residual"], "down", seconds=0.3).engine == "layered"
    assert not done.exists(), "it was waited for"
    layout._cache.clear()


def test_a_dot_that_answers_nonsense_is_left(tmp_path, monkeypatch):
    broken = tmp_path / "dot"
    broken.write_text("#!/bin/sh\necho node x\n")
    broken.chmod(0o755)
    monkeypatch.setattr(dot_command, "DOT_BINARY", broken)
    layout._cache.clear()
    assert lay_out(GRAPHS["residual"], "down").engine == "layered"
    layout._cache.clear()


def test_a_layout_is_computed_once():
    graph = residual_step((1, 1))[0]
    assert lay_out(graph, "wrapped") is lay_out(residual_step((1, 1))[0], "wrapped")


@pytest.mark.slow
def test_three_thousand_nodes_get_a_place_each_without_dot_whatever_the_shape(monkeypatch):
    monkeypatch.setattr(execute, "run_check", lambda *_, **__: pytest.fail("dot runs, which may take minutes"))
    for graph in (u_shape(3000), residual_step((30, 80, 100, 90))[0]):
        layout._cache.clear()
        places = lay_out(graph, "wrapped").nodes
        assert np.isfinite(places).all()
        assert len(np.unique(places, axis=0)) == len(graph)


def test_the_span_counts_the_ranks_that_edges_jump():
    graph = Graph.from_edges([(0, 1), (1, 2), (0, 2)], memory=[1, 1, 1])
    assert ranks_of(graph) == [0, 1, 2]
    assert edge_span(graph) == 4


def test_what_is_read_much_later_stands_by_its_reader():
    # a chain of 40 whose every node from the second on also reads a projection of the first
    chain = [(i, i + 1) for i in range(39)]
    projected = [edge for i in range(2, 40) for edge in ((0, 40 + i), (40 + i, i))]
    graph = Graph.from_edges([*chain, *projected], memory=dict.fromkeys([*range(40), *range(42, 80)], 1))
    rank = ranks_of(graph)
    assert all(rank[u] < rank[v] for u, v in graph.edges.tolist())
    assert max(map(rank.count, rank)) == 1 + WAITS  # the chain, and those read within so many ranks
    assert max(rank) == 39


def test_an_unknown_mode_is_refused_by_name():
    with pytest.raises(ValueError, match=r"'spiral' is unknown; choose one of wrapped, right, down"):
        lay_out(GRAPHS["chain"], "spiral")


def test_names_with_marks_of_the_dot_language_survive_to_graphviz():
    drawing = Graph.from_edges([("a:b", 'say "c"')], memory={"a:b": 1, 'say "c"': 2}).to_graphviz()
    assert "0 -> 1" in drawing.source
    assert r"\"c\"" in drawing.source
    if shutil.which("dot"):
        assert drawing.pipe("plain", encoding="utf-8").count("\nedge ") == 1


def mixture(blocks=3, experts=4):
    """A deep network whose blocks have an attention and a mixture of parallel experts beside each other."""
    edges, info = [], []

    def node(module, op, *sources):
        info.append(
            NodeInfo(
                key=f"{module}/{op}{len(info)}",
                op=op,
                module=module,
                block="blocks.*" if module.startswith("blocks.") else "",
            )
        )
        edges.extend((source, len(info) - 1) for source in sources)
        return len(info) - 1

    x = node("embed", "embedding")
    for b in range(blocks):
        path = f"blocks.{b}"
        qkv = node(f"{path}.attn", "linear", node(f"{path}.ln1", "norm", x))
        copies = [node(f"{path}.attn", "copy", qkv) for _ in range(3)]
        scores = node(f"{path}.attn", "softmax", node(f"{path}.attn", "matmul", *copies[:2]))
        x = node(path, "add", x, node(f"{path}.attn", "matmul", scores, copies[2]))
        norm = node(f"{path}.ln2", "norm", x)
        scatter = node(f"{path}.moe", "topk", node(f"{path}.moe.router", "linear", norm))
        scatter = node(f"{path}.moe", "scatter", scatter, node(f"{path}.moe", "zeros", scatter))
        total = None
        for e in range(experts):
            gate = node(f"{path}.moe.experts.{e}", "silu", node(f"{path}.moe.experts.{e}.gate", "linear", norm))
            up = node(f"{path}.moe.experts.{e}.up", "linear", norm)
            down = node(f"{path}.moe.experts.{e}.down", "linear", node(f"{path}.moe.experts.{e}", "mul", gate, up))
            part = node(f"{path}.moe", "mul", down, scatter)
            total = part if total is None else node(f"{path}.moe", "add", total, part)
        x = node(path, "add", x, total)
    count = len(info)
    return Graph(tuple(i.key for i in info), [1] * count, [1] * count, sorted(set(edges)), tuple(info))


def test_lines_break_between_blocks_and_not_inside_them():
    for graph in (mixture(), residual_step((3, 4, 6, 3))[0]):
        x = lay_out(graph, "wrapped", seconds=0).nodes[:, 0]
        inner = [(u, v) for u, v in graph.edges.tolist() if graph.info[u].member == graph.info[v].member != ""]
        assert len(inner) > len(graph) / 2
        assert all(x[u] < x[v] for u, v in inner)


@pytest.mark.parametrize("mode", ["wrapped", "right"])
def test_parallel_experts_lie_in_straight_rows_with_equal_shapes(mode):
    graph = mixture()
    layout = lay_out(graph, mode, seconds=0)
    for b in range(3):
        shapes, rows = [], []
        for e in range(4):
            path = f"blocks.{b}.moe.experts.{e}"
            nodes = [v for v, info in enumerate(graph.info) if info.module.startswith(path)]
            straight = [v for v in nodes if not graph.info[v].module.endswith(".up")]
            assert np.ptp(layout.nodes[straight, 1]) < 0.1
            rows.append(layout.nodes[straight[0], 1])
            shapes.append(layout.nodes[nodes] - layout.nodes[nodes[0]])
        assert np.abs(np.array(shapes) - shapes[0]).max() < 0.1  # the experts are drawn alike
        assert min(np.diff(sorted(rows))) > 2 * NODE[1]


def test_straight_rows_keep_the_order_and_the_distances_of_the_boxes():
    rng = np.random.default_rng(3)
    for _ in range(30):
        count = int(rng.integers(5, 40))
        edges = sorted({(int(u), int(v)) for u, v in rng.integers(0, count, (2 * count, 2)) if u < v})
        graph = Graph.from_edges(edges, memory=dict.fromkeys(range(count), 1))
        rank = ranks_of(graph)
        pairs = [(u, v) for u, v in graph.edges.tolist()]
        across = arrange(rank, pairs).across
        for r in set(rank):
            beside = sorted(across[v] for v in range(len(graph)) if rank[v] == r)
            assert all(b - a >= NODE_GAP - 0.02 for a, b in pairwise(beside))
