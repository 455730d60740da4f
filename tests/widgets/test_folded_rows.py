"""The folded graph of a saved picture: a U is drawn as a U, every box is legible, and no line passes over a box."""

import dataclasses
import random
import re
from itertools import combinations, pairwise

import pytest

from recompviz.core.base.units import format_bytes
from recompviz.core.graphs.graph import Graph, NodeInfo
from recompviz.widgets.layout.folded import fold
from recompviz.widgets.layout.folded_rows import WIDTH, in_rows
from recompviz.widgets.layout.modules import module_tree
from tests.widgets.conftest import Lab


class Net:
    """A graph that is built value by value, as a network computes it."""

    def __init__(self):
        self.modules, self.edges = [], []

    def value(self, module, *used):
        self.modules.append(module)
        self.edges += [(u, len(self.modules) - 1) for u in used]
        return len(self.modules) - 1

    def block(self, module, *used, size=6):
        """A residual block. The values after the first are used in the middle of it, as an embedding is."""
        first = last = self.value(f"{module}.c0", used[0])
        for i in range(1, size):
            last = self.value(f"{module}.c{i}", last, *(used[1:] if i == size // 2 else ()))
        return self.value(module, last, first)

    def graph(self):
        info = tuple(
            NodeInfo(key=f"v{v}", op=f"aten.op{module.count('.')}", module=module)
            for v, module in enumerate(self.modules)
        )
        memory = [v + 1 for v in range(len(info))]  # no two blocks have equal bytes, so none are folded
        return dataclasses.replace(Graph.from_edges(self.edges, memory=memory), info=info)


def u_net(levels=4, *, time=False, attention=False, per_level=1, residual=False, prefix=""):
    """A U-Net with the pairs of modules that its outermost skip connection of each level joins."""
    net, skips = Net(), []
    x, embedding = net.value(f"{prefix}stem"), ()
    if time:
        t = net.value("")
        t = net.value("", net.value("", t), net.value("", t))
        for i in range(4):
            t = net.value(f"{prefix}embed{i}", t)
        embedding = (t,)
    for i in range(levels):
        for j in range(per_level):
            x = net.block(f"{prefix}down.{i}.blocks.{j}", x, *embedding)
            if attention:
                x = net.block(f"{prefix}down.{i}.attention.{j}", x, size=3)
        if residual:
            inner = net.block(f"{prefix}second{i}", net.block(f"{prefix}first{i}", x), size=5)
            x = net.value(f"{prefix}join{i}.down", inner, x)
        skips.append(x)
        x = net.value(f"{prefix}down.{i}.pool", x)
    x = net.block(f"{prefix}middle", x, *embedding)
    for i in range(levels):
        x = net.value("", x, skips.pop())
        for j in range(per_level):
            x = net.block(f"{prefix}up.{i}.blocks.{j}", x, *embedding)
            if attention:
                x = net.block(f"{prefix}up.{i}.attention.{j}", x, size=3)
        x = net.value(f"{prefix}up.{i}.conv", x)
    for _ in range(3):
        x = net.value("", x)
    return net.graph()


U_NETS = {
    "plain": u_net(),
    "deep": u_net(9),
    "time embedding": u_net(time=True),
    "attention": u_net(3, time=True, attention=True),
    "two blocks": u_net(4, time=True, attention=True, per_level=2),
    "residual": u_net(3, residual=True),
    "nested": u_net(prefix="net.model.", time=True),
}


def folded(graph):
    return fold(graph, module_tree(graph))


def boxes(centres, sizes):
    return [(x - w / 2, y - h / 2, x + w / 2, y + h / 2) for (x, y), (w, h) in zip(centres, sizes, strict=True)]


def overlap(a, b, least=0.01):
    """Whether two rectangles (left, top, right, bottom) overlap; one may be a line, which is level or upright."""
    return all(min(a[i + 2], b[i + 2]) - max(a[i], b[i]) > least for i in (0, 1))


def passes(line, box, margin=0.1):
    """Whether a line from point to point passes the inside of a box, by the algorithm of Liang and Barsky."""
    (x, y), (u, v) = line
    left, top, right, bottom = box[0] + margin, box[1] + margin, box[2] - margin, box[3] - margin
    low, high = 0.0, 1.0
    for step, room in ((x - u, x - left), (u - x, right - x), (y - v, y - top), (v - y, bottom - y)):
        if step == 0:
            if room < 0:
                return False
        elif step < 0:
            low = max(low, room / step)
        else:
            high = min(high, room / step)
    return low < high


def check(centres, routes, sizes, width):
    rectangles = boxes(centres, sizes)
    assert not [pair for pair in combinations(range(len(rectangles)), 2) if overlap(*(rectangles[v] for v in pair))]
    crossed = [(line, box) for route in routes for line in pairwise(route) for box in rectangles if passes(line, box)]
    assert crossed == []
    assert width <= WIDTH  # so that letters are at least as large as they are written


def routes_of(layout):
    cuts = layout.offsets.tolist()
    return [[tuple(point) for point in layout.points[a:b].tolist()] for a, b in pairwise(cuts)]


@pytest.mark.parametrize("name", U_NETS)
def test_no_line_passes_over_a_box_and_no_boxes_overlap_in_a_u(name):
    found = folded(U_NETS[name])
    assert len(found.names) > 8
    check(found.layout.nodes.tolist(), routes_of(found.layout), found.sizes, found.layout.width)


@pytest.mark.parametrize("name", U_NETS)
def test_the_two_ends_of_a_skip_connection_share_a_row_and_deeper_levels_are_lower(name):
    graph = U_NETS[name]
    found = folded(graph)
    box_of = {v: b for b, nodes in enumerate(found.nodes) for v in nodes}
    skips = [
        (u, v)
        for u, v in graph.edges.tolist()
        if "down" in graph.info[u].module.split(".") and not graph.info[v].module
    ]
    assert len(skips) >= 3
    x, y = found.layout.nodes.T.tolist()
    pairs = [(box_of[u], box_of[v]) for u, v in skips]
    for u, v in pairs:
        assert y[u] == pytest.approx(y[v], abs=0.05)
        assert x[u] < x[v]
    assert all(y[below] > y[above] for (above, _), (below, _) in pairwise(pairs))
    routes = routes_of(found.layout)
    for u, v in pairs:
        straight = [r for r in routes if len(r) == 2 and x[u] < r[0][0] < r[1][0] < x[v] and abs(r[0][1] - y[u]) < 0.05]
        assert len(straight) == 1
        assert straight[0][1][1] == pytest.approx(y[v], abs=0.05)


@pytest.mark.parametrize(
    "name", [name for name, graph in U_NETS.items() if any("embed" in i.module for i in graph.info)]
)
def test_a_time_embedding_is_computed_above_the_u_and_its_lines_are_thin(name):
    graph = U_NETS[name]
    found = folded(graph)
    last = max(v for v, info in enumerate(graph.info) if "embed" in info.module)
    uses = {v for u, v in graph.edges.tolist() if u == last}
    box_of = {v: b for b, nodes in enumerate(found.nodes) for v in nodes}
    y = found.layout.nodes[:, 1]
    embedding = {
        box_of[v] for v in range(last + 1) if (v and not graph.info[v].module) or "embed" in graph.info[v].module
    }
    others = set(range(len(found.names))) - embedding
    assert max(y[b] for b in embedding) < min(y[b] for b in others)
    assert sum(found.thin) == len({box_of[v] for v in uses})


def random_graph(seed):
    """Boxes of two widths in an order, with lines to boxes near and far."""
    rng = random.Random(seed)
    count = rng.randrange(2, 45)
    edges = {(rng.randrange(max(0, v - rng.choice((1, 2, 5))), v), v) for v in range(1, count)}
    edges |= {tuple(sorted(rng.sample(range(count), 2))) for _ in range(rng.randrange(count // 2 + 1))}
    edges |= {(1, v) for v in range(3, count, 4) if seed % 3 == 0}
    sizes = [rng.choice([(116.0, 40.0), (62.0, 30.0)]) for _ in range(count)]
    return Graph.from_edges(sorted(edges), memory=[1] * count), sizes


@pytest.mark.parametrize("seed", range(60))
def test_no_line_passes_over_a_box_and_no_boxes_overlap_in_any_graph(seed):
    graph, sizes = random_graph(seed)
    layout = in_rows(graph, sizes)
    check(layout.centres, layout.routes, sizes, layout.width)
    for (u, v), route in zip(graph.edges.tolist(), layout.routes, strict=True):
        (_, y), (left, into) = route[0], route[-1]
        assert y == layout.centres[u][1]
        assert left == pytest.approx(layout.centres[v][0] - sizes[v][0] / 2) or into != layout.centres[v][1]


def test_a_graph_without_boxes_has_no_rows():
    layout = in_rows(Graph.from_edges([], memory=[]), [])
    assert (layout.centres, layout.routes) == ([], [])


def test_the_letters_of_a_folded_graph_are_at_least_eleven_pixels_high():
    svg = Lab((3, 4, 6, 3)).explorer().to_svg()
    graph = svg[svg.rindex("<g transform") :]
    scale = float(re.search(r"scale\(([\d.]+)\)", graph)[1])
    assert min(float(size) for size in re.findall(r'font-size="([\d.]+)"', graph)) * scale >= 11


def test_the_axis_of_the_curve_ends_at_keep_all_also_if_a_table_with_pins_is_shown():
    explorer = Lab().explorer()
    table = explorer.tables[0]
    explorer.pin(recompute=[explorer.graph.names[v] for v in (~table.plans[-1].keep_mask).nonzero()[0]])
    explorer.wait()
    ends = [format_bytes(int(peaks.max())) for peaks in (table.total_peaks, explorer._selection.current.total_peaks)]
    assert ends[0] != ends[1]
    assert f">{ends[0]}<" in explorer.to_svg()
