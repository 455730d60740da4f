"""The fault benchmarks at a small size: nothing is wrong, and the benchmark finds what is wrong."""

from __future__ import annotations

import random
import time

import numpy as np
import pytest

import recompviz as rv
from recompviz.benchmarks.faults import cases, core, messages, recordings
from recompviz.benchmarks.faults.counts import FaultCount
from recompviz.benchmarks.faults.definitions import Dag, front


def wrong(rows: list[FaultCount]) -> list[str]:
    return [text for row in rows for text in row.wrong]


def test_random_graphs_are_as_the_definitions_say() -> None:
    rows = core.cases(range(25), seed=1)
    assert wrong(rows) == []
    assert sum(row.tried for row in rows) == 25 * 10


def test_mutated_recordings_open_or_are_refused() -> None:
    rows = recordings.run(120, seed=1)  # in a process of its own
    assert wrong(rows) == []
    assert sum(row.tried for row in rows) == 120


def test_messages_of_damaged_pages_are_answered() -> None:
    rows = messages.cases(range(120), seed=1)
    assert wrong(rows) == []
    assert sum(row.tried for row in rows) == 120


def test_a_wrong_peak_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Dag, "terms_after", lambda _dag, _lower: 0)
    assert any("front" in text for text in wrong(core.cases(range(20), seed=1)))


def test_a_crash_and_a_hang_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    (row,) = cases.run_in_processes("no_such_part", 3, seed=0)
    assert (row.kind, row.tried, len(row.wrong)) == ("crashes", 3, 1)
    with pytest.raises(cases.TooLong), cases.limited(0.05):
        time.sleep(5)
    monkeypatch.setattr(cases, "SECONDS", -125)
    (row,) = cases.run_in_processes("core", 1, seed=0)
    assert row.kind == "hangs"


def test_errors_that_recompviz_does_not_raise_itself_are_unclear() -> None:
    for call, clear in ((lambda: {}["x"], False), (lambda: int("a message of words"), False), (_no_graph, True)):
        with pytest.raises(Exception, match=r"x|words|cycle") as raised:
            call()
        assert (cases.unclear(raised.value) is None) == clear


def _no_graph() -> None:
    rv.Graph.from_edges([(0, 0)], [1])


def test_the_definitions_on_a_chain_worked_out_by_hand() -> None:
    dag = Dag([(0, 1), (1, 2)], memory=[1, 1, 1], time=[1, 1, 1], order=[0, 1, 2])
    one, two, everything = frozenset({0}), frozenset({0, 1}), frozenset({0, 1, 2})
    assert dag.lower_sets == [frozenset(), one, two, everything]
    assert dag.point([one, everything]) == (2, 5)  # M(U_1) = 1, 2 M(V_2) = 4
    assert dag.point([everything]) == (3, 6)
    assert dag.point([one, two, everything]) == (1, 4)
    assert front(dag.points(dag.lower_sets), 1) == [(1, 4)]
    assert front(dag.points(dag.lower_sets, sign=-1), -1) == [(3, 6), (2, 5), (1, 4)]
    assert dag.simulated_peak(everything) == 4  # two values, and the gradients of the third and the second


def test_the_definitions_use_nothing_of_recompviz() -> None:
    drawn = random.Random(3)
    graph, dag = core.random_pair(drawn)
    assert isinstance(graph, rv.Graph)
    assert dag.memory == graph.memory.tolist()
    assert np.array_equal(sorted(dag.edges), graph.edges)
