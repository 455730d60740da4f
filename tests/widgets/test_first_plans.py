"""A large Explorer opens with plans that need no search, and better ones replace them as one change."""

import threading

import pytest

from recompviz.core.examples import residual_step, u_step
from recompviz.core.liveness import profiler
from recompviz.core.schedule import make_schedule
from recompviz.core.simulation import simulate_schedule
from recompviz.widgets.explorer import Explorer
from recompviz.widgets.first_plans import first_plans


@pytest.mark.parametrize("step", [residual_step((2, 2)), u_step(200)])
def test_the_first_plans_are_canonical_and_reach_from_keep_all_to_far_less(step):
    graph, joint = step
    table = first_plans(graph, lambda plan: simulate_schedule(make_schedule(joint, plan.kept.tolist())).profile)
    assert table.plans[0].kept.all()
    assert len(table) >= 5
    assert table.least_total < 0.8 * table.total_peaks[0]
    for plan in table.plans[1:]:
        assert plan.on(graph).peak == plan.peak == max(terms.total for terms in plan.terms)


def test_better_plans_replace_the_first_ones_at_the_same_budget_and_as_one_change(lab):
    go = threading.Event()

    def later():
        assert go.wait(20)
        return [lab.time, lab.memory]

    table = first_plans(lab.graph, profiler(lab.graph, lab.joint))
    explorer = Explorer(lab.graph, table, lab.simulate, later=later)
    assert "better ones" in explorer._waiting
    budget, request = explorer.budget, explorer._reply["request"]
    sent = []
    explorer.send_state = lambda key=None: sent.append(set(key) if isinstance(key, (list, set, tuple)) else {key})
    go.set()
    explorer.wait_for_plans(20)
    assert explorer.tables == (lab.time, lab.memory)
    assert explorer._waiting == ""
    assert explorer.budget == max(budget, lab.time.least_total)
    assert explorer._reply["request"] == request + 1
    assert explorer.plan is lab.time.plans[explorer._reply["row"]]
    assert any({"_tables", "_reply", "_waiting"} <= keys for keys in sent)


def test_a_search_that_fails_is_told_and_the_first_plans_stay(lab):
    def later():
        raise MemoryError("no room for the search")

    explorer = Explorer(lab.graph, lab.time, lab.simulate, later=later)
    explorer.wait_for_plans(20)
    assert "no room for the search" in explorer._waiting
    assert explorer.tables == (lab.time,)
