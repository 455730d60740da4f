"""Reading an answer to an exercise: what the learner typed becomes a bit mask, a plan or a number.

A set may be written ``{"a", "b"}``, ``["a", "b"]`` or, where all names are single letters, ``"ab"``. A sequence is a
list of sets. A playground is read as the set or the sequence that was clicked in it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from recompviz.core.graphs.graph import Graph, Name
from recompviz.core.plans.plan import Plan
from recompviz.core.teaching.sets import inspect_set, set_text, with_everything


@dataclass(frozen=True)
class Feedback:
    """The verdict on an answer, with the reason; true if the answer is right."""

    right: bool
    text: str

    def __bool__(self) -> bool:
        return self.right

    def __repr__(self) -> str:
        return f"{'✓' if self.right else '✗'} {self.text}"


class AnswerError(ValueError):
    """The value is not an answer to the question; the message says what is expected."""


def read_set(graph: Graph, answer: Any) -> int:
    """Read a set of node names as a bit mask."""
    if hasattr(answer, "chosen"):
        if not answer.graph.same_as(graph):
            raise AnswerError("that playground shows another graph; open one with rv.playground(exercise.graph)")
        answer = answer.chosen
    if isinstance(answer, (str, Iterable)):
        return graph.mask(answer)
    raise AnswerError(f'expected a set of nodes such as {{"{graph.names[0]}"}}, got {answer!r}')


def read_lower_set(graph: Graph, answer: Any) -> int:
    """Read a lower set as a bit mask; for any other set the error names an edge that enters it."""
    mask = read_set(graph, answer)
    report = inspect_set(graph, graph.set_of(mask))
    if report.violations:
        u, v = report.violations[0]
        raise AnswerError(
            f"{set_text(graph, mask)} is not a lower set: the edge {graph.names[u]} → {graph.names[v]} enters it. "
            f"Its closure is {set_text(graph, report.closure)}."
        )
    return mask


def read_plan(graph: Graph, answer: Any) -> Plan:
    """Read a lower-set sequence as a plan; V is appended if it is missing."""
    if hasattr(answer, "sequence"):
        answer = answer.plan
    if isinstance(answer, Plan):
        if not answer.graph.same_as(graph):
            raise AnswerError("that plan is for another graph; use exercise.graph")
        if answer.kind != "canonical":
            raise AnswerError(f"expected a lower-set sequence, got a {answer.kind!r} plan; write a list of sets")
        return answer
    if isinstance(answer, str) or not isinstance(answer, Iterable):
        raise AnswerError(f'expected a list of sets such as [{{"{graph.names[0]}"}}, …], got {answer!r}')
    sets: list[Iterable[Name]] = list(answer)
    return Plan.from_masks(graph, with_everything(graph, [read_lower_set(graph, L) for L in sets]))


def read_number(answer: Any) -> float:
    """Read a number."""
    if isinstance(answer, bool) or not isinstance(answer, (int, float)):
        raise AnswerError(f"expected a number, got {answer!r}")
    return float(answer)
