"""Each exercise accepts exactly the right answers, by brute force over all candidates."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import pytest

import recompviz as rv
from recompviz.core.teaching.answers import read_number, read_plan, read_set
from recompviz.core.teaching.exercises import all_exercises
from recompviz.core.teaching.judges import every_plan
from tests.core.test_oracle import cost_by_definition, sequences

CHECKED_SETS: dict[str, Callable[[rv.Graph, frozenset[str]], bool]] = {
    "1.1": lambda g, S: g.is_lower_set(S) and g.boundary(S) == set("ad"),
    "1.3": lambda g, S: g.closure("dg") == S,
    "1.4": lambda g, S: (
        g.is_lower_set(S)
        and g.memory_of(g.mask(g.boundary(S))) == max(g.memory_of(g.mask(g.boundary(L))) for L in g.lower_sets())
    ),
}


@pytest.mark.parametrize("name", sorted(CHECKED_SETS))
def test_a_set_is_accepted_exactly_if_the_definition_says_so(name: str) -> None:
    exercise = rv.exercise(name)
    graph = exercise.graph
    right = 0
    for size in range(len(graph) + 1):
        for nodes in combinations(graph.names, size):
            answer = frozenset(map(str, nodes))
            expected = CHECKED_SETS[name](graph, answer)
            assert bool(exercise.check(answer)) == expected, answer
            right += expected
    assert right > 0


CHECKED_PLANS: dict[str, Callable[[list[tuple[float, int, int]], tuple[float, int, int]], bool]] = {
    "2.3": lambda _, own: own[1] <= 12,
    "2.4": lambda every, own: own[2] <= 2 and own[1] == min(peak for _, peak, again in every if again <= 2),
    "3.2": lambda every, own: own[1] <= 15 and own[0] == max(t for t, peak, _ in every if peak <= 15),
    "3.3": lambda every, own: own[1] <= 23 and own[0] == min(t for t, peak, _ in every if peak <= 23),
    "4.3": lambda every, own: own[1] <= 24 and own[0] == min(t for t, peak, _ in every if peak <= 24),
}


@pytest.mark.parametrize("name", sorted(CHECKED_PLANS))
def test_a_sequence_is_accepted_exactly_if_no_other_is_better(name: str) -> None:
    exercise = rv.exercise(name)
    graph = exercise.graph
    found = list(sequences(graph))
    costs = [
        (*cost_by_definition(graph, sequence), len(rv.Plan.from_lower_sets(graph, sequence).recompute))
        for sequence in found
    ]
    verdicts = [bool(exercise.check(sequence)) for sequence in found]
    assert verdicts == [CHECKED_PLANS[name](costs, own) for own in costs]
    assert 0 < sum(verdicts) < len(found)
    assert len(found) == sum(1 for _ in every_plan(graph))


@pytest.mark.parametrize("name", ["1.2", "2.1", "2.2", "3.1"])
def test_exactly_one_number_is_accepted(name: str) -> None:
    exercise = rv.exercise(name)
    right = [n for n in range(100) if exercise.check(n)]
    graph = exercise.graph
    overhead, peak = (
        cost_by_definition(graph, [frozenset(L) for L in ("a", "abcd", "abcde")]) if name[0] == "2" else (0, 0)
    )
    after_a = [cost_by_definition(graph, sequence) for sequence in sequences(graph) if sequence[0] == {"a"}]
    cell = min((peak - int(graph.memory[0]) for t, peak in after_a if t == 3), default=0)
    assert right == [{"1.2": graph.count_lower_sets(), "2.1": overhead, "2.2": peak, "3.1": cell}[name]]


def test_the_simple_rules_do_not_solve_their_exercises_and_the_solver_does() -> None:
    branches, chain = rv.exercise("4.1"), rv.exercise("4.2")
    assert branches.check(rv.solve(branches.graph, "all").plan_at(0))
    assert not branches.check(rv.solve(branches.graph, "paper").plan_at(0))
    exact = rv.solve(chain.graph, "all")
    assert chain.check(exact.plan(exact.least_budget))
    assert not chain.check(rv.baseline(chain.graph, "chen").lower_sets)


def test_an_unknown_exercise_is_refused_with_the_list_of_names() -> None:
    assert len(all_exercises()) == 14
    with pytest.raises(ValueError, match=r"'9\.9'; there are 1\.1, 1\.2"):
        rv.exercise("9.9")


def test_an_unreadable_answer_gives_feedback_and_no_exception() -> None:
    exercise = rv.exercise("2.3")
    assert "enters it" in repr(exercise.check([{"b"}]))
    assert "does not contain" in repr(exercise.check(["ab", "a"]))
    assert "'z' is no node" in repr(exercise.check([{"z"}]))
    assert "expected a list of sets" in repr(exercise.check(7))
    assert "another graph" in repr(exercise.check(rv.playground("diamond")))
    assert "expected a number, got 'many'" in repr(rv.exercise("1.2").check("many"))
    assert "expected a set" in repr(rv.exercise("1.1").check(7))


def test_a_playground_is_accepted_as_an_answer() -> None:
    widget = rv.playground(rv.exercise("1.1").graph)
    widget.chosen = set("acd")
    assert rv.exercise("1.1").check(widget)
    widget = rv.playground(rv.exercise("3.2").graph)
    widget.sequence = ["abc"]
    assert rv.exercise("3.2").check(widget)


def test_an_answer_that_cannot_be_read_is_an_error_of_recompviz() -> None:
    graph = rv.exercise("4.3").graph
    for read in (lambda: read_set(graph, 5), lambda: read_plan(graph, "abc"), lambda: read_number("5")):
        with pytest.raises(rv.RecompvizError, match="expected"):
            read()
