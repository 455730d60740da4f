"""Each exercise accepts exactly the right answers, by brute force over all candidates."""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from itertools import combinations
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest

import recompviz as rv
from recompviz.core.teaching import record
from recompviz.core.teaching.answers import Feedback, read_number, read_plan, read_set
from recompviz.core.teaching.judges import even_chain_least_peak, every_plan, without_memory
from recompviz.core.teaching.questions import MOST_SEQUENCES, sequence_count
from recompviz.core.teaching.small_graphs import NAMES, even_chain, small_graph
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


# own (overhead, peak, whether f is recomputed, segments, contains the given set), and the same of all sequences
Cost = tuple[float, int, bool, int, bool]
CHECKED_PLANS: dict[str, tuple[str, Callable[[list[Cost], Cost], bool]]] = {
    "2.3": ("", lambda every, own: own[3] == 2 and own[1] == min(c[1] for c in every if c[3] == 2)),
    "2.4": ("", lambda every, own: own[2] and own[1] == min(c[1] for c in every if c[2])),
    "3.2": (
        "ab",
        lambda every, own: own[4] and own[1] <= 15 and own[0] == max(c[0] for c in every if c[4] and c[1] <= 15),
    ),
    "3.3": (
        "abc",
        lambda every, own: own[4] and own[1] <= 23 and own[0] == min(c[0] for c in every if c[4] and c[1] <= 23),
    ),
}


@pytest.mark.parametrize("name", sorted(CHECKED_PLANS))
def test_a_sequence_is_accepted_exactly_if_no_other_is_better(name: str) -> None:
    exercise = rv.exercise(name)
    graph = exercise.graph
    found = list(sequences(graph))
    through, accepted = CHECKED_PLANS[name]
    costs = [
        (
            *cost_by_definition(graph, sequence),
            "f" in rv.Plan.from_lower_sets(graph, sequence).recompute,
            len(sequence),
            frozenset(through) in sequence,
        )
        for sequence in found
    ]
    verdicts = [bool(exercise.check(sequence)) for sequence in found]
    assert verdicts == [accepted(costs, own) for own in costs]
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
    cell = min((peak - int(graph.memory[0]) for t, peak in after_a if t == 5), default=0)
    assert right == [{"1.2": graph.count_lower_sets(), "2.1": overhead, "2.2": peak, "3.1": cell}[name]]


def test_the_shortest_sequence_beyond_the_family_is_the_one_that_keeps_both_branches() -> None:
    exercise = rv.exercise("4.1")
    family = rv.solve(exercise.graph, "paper").time_centric.overheads[0]
    right = [plan for plan in every_plan(exercise.graph) if exercise.check(plan)]
    assert right
    assert all(plan.overhead < family and len(plan.masks) == 2 for plan in right)
    assert not exercise.check(rv.solve(exercise.graph, "paper").plan_at(0))


def test_the_least_peak_of_an_even_chain_is_the_solver_s_and_two_roots_plus_one() -> None:
    for n in range(1, 31):
        assert even_chain_least_peak(n) == rv.solve(even_chain(n), "all").least_budget
    assert all(even_chain_least_peak(r * r) == 2 * r + 1 for r in range(2, 60))
    assert [n for n in range(150, 260) if rv.exercise("4.2").check(n)] == [201]


def test_the_most_useful_value_is_found_by_brute_force() -> None:
    exercise = rv.exercise("4.3")
    graph = exercise.graph
    peaks = {
        name: min(cost_by_definition(without, sequence)[1] for sequence in sequences(without))
        for name in graph.names
        for without in [without_memory(graph, name)]
    }
    right = [name for name in graph.names if exercise.check(name)]
    assert right == [name for name in graph.names if peaks[name] == min(peaks.values())]
    assert exercise.check({right[0]})
    assert "one node" in repr(exercise.check("none"))
    assert "one node" in repr(exercise.check(["a", "b"]))


@pytest.mark.parametrize("name", [exercise.name for exercise in rv.exercises()])
def test_no_single_call_of_the_solver_answers_an_exercise(name: str) -> None:
    exercise = rv.exercise(name)
    for family in ("all", "paper", "prefixes"):
        curve = rv.solve(exercise.graph, family)
        for kind in ("time", "memory"):
            if name in ("2.3", "2.4", "3.2", "4.1"):
                assert not any(exercise.check(plan) for plan in curve.plans(kind))
            elif name == "3.3":
                assert not exercise.check(curve.plan(23, kind))
        if name == "4.2":
            assert not exercise.check(curve.least_budget)


@pytest.mark.parametrize("seed", [1, 2, "m0042"])
def test_a_seed_gives_other_exercises_that_have_an_answer(seed: int | str) -> None:
    again = [exercise.question for exercise in rv.exercises(seed)]
    assert again == [exercise.question for exercise in rv.exercises(seed)]
    assert len(rv.exercises(seed)) == 14
    for own, course in zip(rv.exercises(seed), rv.exercises(), strict=True):
        assert own.name == course.name
        assert own.question != course.question or not own.graph.same_as(course.graph)
        assert _has_right_and_wrong_answers(own), own


def _has_right_and_wrong_answers(exercise: rv.core.teaching.course.Exercise) -> bool:
    graph = exercise.graph
    candidates: list[Any] = [graph.set_of(mask) for mask in graph.lower_set_masks()]
    candidates += [*range(100), *(2 * root + 1 for root in range(60, 400)), *graph.names]
    if sequence_count(graph) <= MOST_SEQUENCES:
        candidates += every_plan(graph)
    seen: set[bool] = set()
    for candidate in candidates:
        seen.add(exercise.check(candidate).right)
        if len(seen) == 2:
            return True
    return False


@pytest.mark.parametrize("name", NAMES)
def test_a_quiz_about_any_graph_has_questions_with_an_answer(name: str) -> None:
    graph = small_graph(name)
    asked = rv.quiz(graph, seed=3)
    assert len(asked) >= 4
    assert all(_has_right_and_wrong_answers(exercise) for exercise in asked)
    assert [e.question for e in asked] == [e.question for e in rv.quiz(name, seed=3)]
    assert "rv.exercise" not in asked[0]._repr_markdown_()  # a quiz has no exercise of this name


def test_a_quiz_refuses_a_graph_that_is_too_large_or_too_small() -> None:
    wide = rv.Graph.from_edges(
        [("a", f"v{i}") for i in range(12)], memory=dict.fromkeys(["a"] + [f"v{i}" for i in range(12)], 1)
    )
    with pytest.raises(ValueError, match="more than 80 lower sets"):
        rv.quiz(wide)
    with pytest.raises(ValueError, match="no node to ask about"):
        rv.quiz(rv.Graph.from_edges([], memory={}))
    with pytest.raises(TypeError, match="expected an int or a str as seed"):
        rv.quiz("chain", seed=1.5)  # type: ignore[arg-type]


def test_hints_go_from_first_to_last_and_the_score_counts_them() -> None:
    record.forget()
    exercise = rv.exercise("2.1", seed="hints")
    assert [exercise.hint() for _ in range(4)] == [*exercise.hints, exercise.hints[-1]]
    assert exercise.hint(1) == exercise.hints[0]
    with pytest.raises(ValueError, match="no hint 9"):
        exercise.hint(9)
    right = next(n for n in range(100) if exercise.check(n))
    exercise.check(right + 1)  # after the right answer, nothing counts
    assert exercise.hint() == f"Already solved. {exercise.hints[-1]}"
    score = rv.score("hints")
    assert (score.points, score.total) == (1, 14)
    attempt = next(a for a in score.attempts if a.name == "2.1")
    assert (attempt.tries, attempt.hints, attempt.right) == (right + 1, 3, True)
    assert rv.score().points == 0
    assert "1 of 14" in repr(score)
    assert "| 2.1 | ✓ |" in score._repr_markdown_()


def test_hints_of_a_solved_exercise_say_so_and_go_on() -> None:
    record.forget()
    exercise = rv.exercise("1.1")
    assert exercise.check("acd")
    assert [exercise.hint() for _ in exercise.hints] == [f"Already solved. {hint}" for hint in exercise.hints]
    assert next(a for a in rv.score().attempts if a.name == "1.1").hints == 0


def test_no_hint_or_feedback_on_a_wrong_answer_gives_the_answer() -> None:
    assert "{a, b, c, d" not in repr(rv.exercise("1.3").check("dg"))  # not its closure
    for exercise in rv.exercises():
        assert len(exercise.hints) >= 2
    counts = {n: repr(rv.exercise("1.2").check(n)) for n in range(30)}
    answer = str(rv.exercise("1.2").graph.count_lower_sets())
    assert not any(answer in text for n, text in counts.items() if text.startswith("✗") and str(n) != answer)


@pytest.mark.parametrize(
    "eleven", [11, 11.0, np.int64(11), np.float32(11), np.array([11]), Fraction(22, 2), Decimal(11), "11", " 11 "]
)
def test_a_number_may_have_any_type(eleven: Any) -> None:
    assert read_number(eleven) == 11


@pytest.mark.parametrize(
    "no_number", [True, np.bool_(True), "eleven", None, [1, 2], np.array([1, 2]), 1j, float("nan")]
)
def test_what_is_no_number_is_refused(no_number: Any) -> None:
    with pytest.raises(rv.RecompvizError, match="expected a number"):
        read_number(no_number)


def test_a_name_in_place_of_a_set_is_not_read_letter_by_letter() -> None:
    graph = rv.Graph.from_edges([("in", "out")], memory={"in": 1, "out": 1})
    with pytest.raises(rv.RecompvizError, match=r"list of sets; write {'in'} in place of 'in'"):
        read_plan(graph, ["in"])
    assert read_plan(graph, [{"in"}]).masks == (1, 3)


def test_a_sequence_may_begin_with_the_empty_set_and_end_without_everything() -> None:
    graph = rv.exercise("2.3").graph
    plans = [read_plan(graph, answer) for answer in (["", "abcd", "abcdef"], ["abcd"], [set(), "abcd"])]
    assert len({plan.masks for plan in plans}) == 1


def test_feedback_is_shown_as_text_whatever_the_names_of_the_nodes() -> None:
    right = Feedback(True, "{a_b, *c*, <d>, $e$} is a lower set.")
    shown = right._repr_markdown_()
    assert html.unescape(shown) == repr(right) == "✓ {a_b, *c*, <d>, $e$} is a lower set."
    assert not set(shown) & set("*_<$")
    assert rv.exercise("1.1").check("acd")._repr_markdown_() == repr(rv.exercise("1.1").check("acd"))


def test_an_unknown_exercise_is_refused_with_the_list_of_names() -> None:
    assert len(rv.exercises()) == 14
    with pytest.raises(ValueError, match=r"'9\.9'; there are 1\.1, 1\.2"):
        rv.exercise("9.9")
    with pytest.raises(KeyError, match=r"there are 1\.1, 1\.2"):
        rv.exercises()["9.9"]


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
    assert not rv.exercise("3.2").check(widget)
    right = next(plan for plan in every_plan(widget.graph) if rv.exercise("3.2").check(plan))
    widget.sequence = right.lower_sets[:-1]
    assert rv.exercise("3.2").check(widget)


def test_an_answer_that_cannot_be_read_is_an_error_of_recompviz() -> None:
    graph = rv.exercise("4.3").graph
    for read in (lambda: read_set(graph, 5), lambda: read_plan(graph, "abc"), lambda: read_number("five")):
        with pytest.raises(rv.RecompvizError, match="expected"):
            read()


def test_an_assignment_is_a_notebook_whose_grades_follow_the_answers(tmp_path: Path) -> None:
    path = rv.write_assignment(tmp_path / "homework.ipynb", ["1.1", "2.1"], seed="m0042", points=3)
    notebook: Any = nbformat.from_dict(json.loads(path.read_text(encoding="utf-8")))  # type: ignore[no-untyped-call]
    nbformat.validate(notebook)
    cells = {cell.metadata.nbgrader.grade_id: cell for cell in notebook.cells}
    assert len(cells) == len(notebook.cells) == 8
    assert [cells[f"grade-{n}"].metadata.nbgrader.points for n in ("1-1", "2-1")] == [3, 3]
    assert all(cell.metadata.nbgrader.locked != cell.metadata.nbgrader.solution for cell in notebook.cells)
    right = next(n for n in range(200) if rv.exercise("2.1", seed="m0042").check(n))
    names: dict[str, Any] = {}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            *lines, last = cell.source.replace("answer_2_1 = None", f"answer_2_1 = {right}").split("\n")
            exec("\n".join(lines), names)
            if last.startswith("import"):
                exec(last, names)
            else:
                names[cell.metadata.nbgrader.grade_id] = eval(last, names)
    assert (names["grade-1-1"], names["grade-2-1"]) == (0, 3)
    with pytest.raises(ValueError, match="no exercise '7'"):
        rv.write_assignment(tmp_path / "other.ipynb", ["7"])
    assert not (tmp_path / "other.ipynb").exists()


@pytest.mark.parametrize("answer", [np.array(1.0), np.ones((2, 2)), 1.0, None, [["a"]]])
def test_an_answer_that_is_no_set_is_wrong_and_no_error(answer: object) -> None:
    assert not rv.exercise("1.1").check(answer)
