"""The strips of live memory: their peaks are those of the plans, and the default plans are what their names say."""

from __future__ import annotations

import re

import pytest

import recompviz as rv
from recompviz.core.teaching.small_graphs import NAMES, even_chain, small_graph
from recompviz.core.teaching.strategy import keep_all_states


@pytest.mark.parametrize("name", NAMES)
def test_the_peaks_in_the_caption_are_those_of_the_formula(name: str) -> None:
    graph = small_graph(name)
    caption = rv.memory_strips(name).caption()
    keep, _, least = map(int, re.findall(r"peak (\d+)", caption))
    assert keep == 2 * graph.memory.sum() == rv.Plan.keep_all(graph).peak
    assert least == rv.solve(graph, "all").least_budget


def test_a_strip_draws_every_computation_of_its_plan_and_stops_there() -> None:
    widget = rv.memory_strips("chain", {"two": ["abcd"]})
    plan = rv.Plan.from_lower_sets(small_graph("chain"), ["abcd", "abcdef"])
    assert len(widget.scenes[0].frames) == 12 + len(plan.recompute)
    assert f"peak {plan.peak}" in widget.caption()
    widget.frame = 1
    assert "two computes b" in widget.caption()


def test_keeping_everything_frees_at_last_use_below_the_model_of_the_paper() -> None:
    states = keep_all_states(even_chain(16))
    assert max(state.live for state in states) == 32
    assert max(state.live_until_last_use for state in states) == 17
    assert states[-1].live == 0
    every = rv.Plan.from_keep_mask(even_chain(16), even_chain(16).names, "live")
    assert "peak 32" in rv.memory_strips(every.graph, {"every": every}).caption()


def test_what_strips_cannot_show_is_refused() -> None:
    with pytest.raises(ValueError, match="1 to 40 nodes, this graph has 41"):
        rv.memory_strips(even_chain(41))
    with pytest.raises(ValueError, match="1 to 4 plans, got 0"):
        rv.memory_strips("chain", {})
    with pytest.raises(TypeError, match="plans is a list, expected a mapping of names to plans"):
        rv.memory_strips("chain", [rv.Plan.keep_all(small_graph("chain"))])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="name is 5, expected the name of a small graph"):
        small_graph(5)  # type: ignore[arg-type]
    ends = rv.Plan.from_keep_mask(even_chain(4), ["v1", "v4"], "live")
    with pytest.raises(ValueError, match="'live' plan keeps other values"):
        rv.memory_strips(ends.graph, {"ends": ends})
    with pytest.raises(rv.PlanMismatch):
        rv.memory_strips("chain", {"other": rv.Plan.keep_all(small_graph("diamond"))})
