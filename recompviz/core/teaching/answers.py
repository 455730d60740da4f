"""Read an answer to an exercise as a bit mask, a plan or a number.

A set may be written ``{"a", "b"}``, ``["a", "b"]`` or, if all names are single letters, ``"ab"``. A sequence is a list
of sets. If a playground (the widget of :func:`recompviz.playground`) is given, its chosen set or sequence is the
answer.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from recompviz.core.base.errors import RecompvizError
from recompviz.core.graphs.graph import Graph
from recompviz.core.plans.plan import Plan
from recompviz.core.teaching.sets import inspect_set, set_text, with_everything


@dataclass(frozen=True)
class Feedback:
    """The verdict on an answer. ``bool(feedback)`` is True if the answer is right.

    Attributes
    ----------
    right : bool
        Whether the answer is right.
    text : str
        The reason, in one to three sentences.
    """

    right: bool
    text: str

    def __bool__(self) -> bool:
        return self.right

    def __repr__(self) -> str:
        return f"{'✓' if self.right else '✗'} {self.text}"

    def _repr_markdown_(self) -> str:
        # a notebook breaks plain text within words; names of nodes may have letters that Markdown reads
        return re.sub(r"[*_<\[`$~\\]", lambda letter: f"&#{ord(letter[0])};", repr(self))


class AnswerError(RecompvizError, ValueError):
    """Raised if a value cannot be read as an answer. The message names the expected answer."""


def read_set(graph: Graph, answer: Any) -> int:
    """Return the bit mask of an answer that is a set of node names, or a playground with a chosen set.

    Parameters
    ----------
    graph : Graph
    answer : iterable of node names, or Playground

    Raises
    ------
    AnswerError
        If the answer cannot be a set of names, or is a playground of another graph.
    GraphError
        If a name is not a node.
    """
    if hasattr(answer, "chosen"):
        if not answer.graph.same_as(graph):
            raise AnswerError("that playground shows another graph; open one with rv.playground(exercise.graph)")
        answer = answer.chosen
    if isinstance(answer, Iterable):
        with contextlib.suppress(TypeError):  # an array or tensor, whose elements are no names
            return graph.mask(answer)
    raise AnswerError(f'expected a set of nodes such as {{"{graph.names[0]}"}}, got {answer!r}')


def read_lower_set(graph: Graph, answer: Any) -> int:
    """Return the bit mask of an answer that is a lower set, in one of the forms of :func:`read_set`.

    Raises
    ------
    AnswerError
        If the answer cannot be read as a set, is a playground of another graph, or is not a lower set.
    GraphError
        If a name is not a node.
    """
    mask = read_set(graph, answer)
    report = inspect_set(graph, graph.set_of(mask))
    if report.violations:
        u, v = report.violations[0]
        raise AnswerError(
            f"{set_text(graph, mask)} is not a lower set: the edge {graph.names[u]} → {graph.names[v]} enters it. "
            f"A lower set that contains {graph.names[v]} also contains {graph.names[u]}."
        )
    return mask


def read_plan(graph: Graph, answer: Any) -> Plan:
    """Return the plan of an answer that is a lower-set sequence.

    Parameters
    ----------
    graph : Graph
    answer : list of sets, Plan, or Playground
        ∅ may be written at the beginning of a list of sets. V may be left out at the end.

    Raises
    ------
    AnswerError
        If the answer is a plan of another graph, cannot be read as a list of sets, or has a set that is not a lower
        set. Also if it is a plan that is not a lower-set sequence.
    GraphError
        If a name is not a node.
    ValueError
        If a set does not strictly contain the set before it.
    """
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
    sets: list[Any] = list(answer)
    single = [name for name in sets if name in graph.names and not (isinstance(name, str) and len(name) == 1)]
    if single:  # a name in place of a set would be read letter by letter
        raise AnswerError(f"a sequence is a list of sets; write {{{single[0]!r}}} in place of {single[0]!r}")
    masks = [read_lower_set(graph, L) for L in sets]
    if masks[:1] == [0]:  # L₀ = ∅ is part of every sequence, whether it is written or not
        masks = masks[1:]
    return Plan.from_masks(graph, with_everything(graph, masks))


def read_number(answer: Any) -> float:
    """Return a number of any type as a float.

    Parameters
    ----------
    answer : int, float, Fraction, Decimal, NumPy number, array or tensor of one number, or str
        A str is read as Python writes a number, for example ``"11"``.

    Raises
    ------
    AnswerError
        If the answer is no finite real number. A bool is no number.

    Examples
    --------
    >>> from fractions import Fraction
    >>> read_number(Fraction(22, 2)), read_number("11")
    (11.0, 11.0)
    """
    refused = AnswerError(f"expected a number, got {answer!r}")
    value = answer
    numel = getattr(value, "numel", None)  # of a tensor; an array has a size
    if hasattr(value, "item") and (numel() if callable(numel) else getattr(value, "size", 1)) == 1:
        value = value.item()
    if isinstance(value, (bool, complex, bytes)):
        raise refused
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise refused from None
    if not math.isfinite(number):
        raise refused
    return number
