"""Reading an answer: what a learner writes becomes a set, a plan or a number, or a sentence why it cannot.

A set may be written ``{"a", "b"}``, ``["a", "b"]`` or, where names are single letters, ``"ab"``; a sequence as a list
of sets; both may be clicked together in a playground and handed over as such.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from recompviz.core.graphs.graph import Graph, Name
from recompviz.core.plans.plan import Plan
from recompviz.core.teaching.sets import inspect_set, set_text


@dataclass(frozen=True)
class Feedback:
    """What an answer is worth, and why; true where it is right."""

    right: bool
    text: str

    def __bool__(self) -> bool:
        return self.right

    def __repr__(self) -> str:
        return f"{'✓' if self.right else '✗'} {self.text}"


class NoAnswer(ValueError):
    """What was given is no answer to the question; the text says what is expected."""


def read_set(graph: Graph, answer: Any) -> int:
    """A set of node names as a mask."""
    if hasattr(answer, "chosen"):
        if answer.graph.fingerprint != graph.fingerprint:
            raise NoAnswer("that playground shows another graph; open one with rv.playground(exercise.graph)")
        answer = answer.chosen
    if isinstance(answer, (str, Iterable)):
        return graph.mask(answer)
    raise NoAnswer(f'expected a set of nodes such as {{"{graph.names[0]}"}}, got {answer!r}')


def read_lower_set(graph: Graph, answer: Any) -> int:
    """A lower set as a mask; where it is none, the violating edge is named."""
    mask = read_set(graph, answer)
    report = inspect_set(graph, graph.set_of(mask))
    if report.violations:
        u, v = report.violations[0]
        raise NoAnswer(
            f"{set_text(graph, mask)} is not a lower set: the edge {graph.names[u]} → {graph.names[v]} enters it. "
            f"Its closure is {set_text(graph, report.closure)}."
        )
    return mask


def read_plan(graph: Graph, answer: Any) -> Plan:
    """A lower-set sequence as a plan; V is added where it is missing."""
    if hasattr(answer, "sequence"):
        answer = answer.plan
    if isinstance(answer, Plan):
        if answer.graph.fingerprint != graph.fingerprint:
            raise NoAnswer("that plan is for another graph; use exercise.graph")
        if answer.kind != "canonical":
            raise NoAnswer(f"a {answer.kind!r} plan is no lower-set sequence")
        return answer
    if isinstance(answer, str) or not isinstance(answer, Iterable):
        raise NoAnswer(f'expected a list of sets such as [{{"{graph.names[0]}"}}, …], got {answer!r}')
    sets: list[Iterable[Name]] = list(answer)
    masks = [read_lower_set(graph, L) for L in sets]
    if not masks or masks[-1] != graph.everything:
        masks.append(graph.everything)
    return Plan.from_masks(graph, masks)


def read_number(answer: Any) -> float:
    """A number."""
    if isinstance(answer, bool) or not isinstance(answer, (int, float)):
        raise NoAnswer(f"expected a number, got {answer!r}")
    return float(answer)
