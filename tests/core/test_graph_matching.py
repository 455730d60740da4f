"""Two graphs of one model: what is equal is found whatever was put in, taken out or moved; and the costs add up."""

import dataclasses
import random

import pytest

from recompviz.core.graphs.graph import Graph, NodeInfo
from recompviz.core.graphs.matching import match_graphs
from recompviz.core.planning.planner import Planner
from recompviz.core.reports.graph_comparison import compare_planners
from recompviz.core.steps.examples import chain_step, residual_step

NETWORK = residual_step((2, 3))[0]


def graph_of(nodes, edges):
    """A graph of (module, op, shape) and edges, with keys numbered as in a trace."""
    seen, info = {}, []
    for module, op, shape in nodes:
        key = f"{module}/{op}"
        number = seen.get(key, 0)
        seen[key] = number + 1
        info.append(NodeInfo(key=f"{key}#{number}" if number else key, op=op, module=module, shape=shape))
    memory = [4 * shape[0] for _, _, shape in nodes]
    return dataclasses.replace(Graph.from_edges(edges, memory=memory, names=list(range(len(nodes)))), info=tuple(info))


def chain(*nodes):
    return graph_of(nodes, [(v, v + 1) for v in range(len(nodes) - 1)])


def drawn(seed, length=30):
    draw = random.Random(seed)
    return [
        (f"m{v // 4}", draw.choice(["mm", "relu", "add", "norm"]), (draw.choice([2, 4, 8]),)) for v in range(length)
    ]


def test_a_graph_is_equal_to_itself():
    found = match_graphs(NETWORK, NETWORK)
    assert found.pairs == {v: v for v in range(len(NETWORK))}
    assert (found.new, found.gone, found.moved) == ((), (), frozenset())


@pytest.mark.parametrize("seed", range(12))
def test_one_value_put_in_is_the_only_new_one_and_taken_out_the_only_one_gone(seed):
    nodes = drawn(seed)
    at = random.Random(seed + 100).randrange(1, len(nodes))
    more = [*nodes[:at], (nodes[at][0], "gelu", (3,)), *nodes[at:]]
    put_in = match_graphs(chain(*nodes), chain(*more))
    assert (put_in.new, put_in.gone, put_in.moved) == ((at,), (), frozenset())
    taken_out = match_graphs(chain(*more), chain(*nodes))
    assert (taken_out.new, taken_out.gone) == ((), (at,))


@pytest.mark.parametrize("seed", range(6))
def test_a_renamed_module_has_moved_and_nothing_is_new(seed):
    nodes = drawn(seed)
    renamed = [("other" if module == "m3" else module, op, shape) for module, op, shape in nodes]
    found = match_graphs(chain(*nodes), chain(*renamed))
    assert (found.new, found.gone) == ((), ())
    assert found.moved == {v for v, (module, _, _) in enumerate(nodes) if module == "m3"}
    assert found.pairs == {v: v for v in range(len(nodes))}


@pytest.mark.parametrize("seed", range(12))
def test_whatever_two_graphs_are_each_node_is_matched_once_with_one_of_its_operator(seed):
    before, after = chain(*drawn(seed)), chain(*drawn(seed + 50, 24))
    found = match_graphs(before, after)
    assert len(set(found.pairs.values())) == len(found.pairs)
    assert all(before.info[u].op == after.info[v].op for u, v in found.pairs.items())
    assert sorted([*found.pairs, *found.gone]) == list(range(len(before)))
    assert sorted([*found.pairs.values(), *found.new]) == list(range(len(after)))


def test_the_rows_add_up_to_the_change_of_all_bytes_and_the_peaks_are_simulated():
    before, after = Planner(*chain_step([4, 4, 16])), Planner(*chain_step([4, 8, 16, 32]))
    found = compare_planners(before, after, total=10_000)
    assert sum(row.bytes_change for row in found.rows) == found.bytes_change == 36
    assert found.peaks == (before.simulate().peak, after.simulate().peak)
    assert found.overheads == (0, 0)
    assert {row.state for row in found.rows} == {"new", "changed"}
    assert "no value differs" in compare_planners(before, before).sentence
    assert "no plan fits" in compare_planners(before, after, total=1).sentence
    with pytest.raises(ValueError, match="no state 'old'"):
        found.of_state("old")
