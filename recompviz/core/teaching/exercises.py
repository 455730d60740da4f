"""The exercises of the course: fourteen questions, each about one small graph.

:mod:`recompviz.core.teaching.judges` checks the answers with the definitions and the solvers. Every correct answer is
accepted. The feedback on a wrong answer gives the reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from recompviz.core.base.arguments import expect
from recompviz.core.base.errors import RecompvizError
from recompviz.core.graphs.graph import Graph
from recompviz.core.teaching import judges
from recompviz.core.teaching.answers import Feedback
from recompviz.core.teaching.judges import Judge
from recompviz.core.teaching.small_graphs import even_chain, small_graph


@dataclass(frozen=True, eq=False)
class Exercise:
    """A question about a small graph.

    Attributes
    ----------
    name : str
        Numbers of notebook and exercise, for example ``"1.2"`` for the second exercise of notebook 1.
    question : str
        The question, as shown in the notebook.
    graph : Graph
        The graph of the question; ``rv.playground(exercise.graph)`` draws it.
    judge : callable (graph, answer) → Feedback
        Decides whether an answer is right.
    """

    name: str
    question: str
    graph: Graph
    judge: Judge

    def check(self, answer: Any) -> Feedback:
        """Check an answer to the question.

        Parameters
        ----------
        answer : set of node names, list of sets, number, Plan or Playground
            The question says whether a lower set, a sequence of lower sets or a number is expected. A Playground stands
            for its chosen set or sequence.

        Returns
        -------
        Feedback
            ``.right`` says whether the answer is right, ``.text`` gives the reason. An answer that cannot be read is
            wrong.

        Examples
        --------
        >>> exercise("1.1").check({"a"})
        ✗ The boundary of {a} is {a}, not {a, d}.
        >>> exercise("1.1").check("acd")
        ✓ {a, c, d} is a lower set, and its boundary is {a, d}.
        """
        try:
            return self.judge(self.graph, answer)
        except (RecompvizError, ValueError) as error:
            return Feedback(False, str(error))

    def __repr__(self) -> str:
        return f"Exercise {self.name}. {self.question}"

    def _repr_markdown_(self) -> str:
        return f"**Exercise {self.name}.** {self.question}"


def exercise(name: str) -> Exercise:
    """Return an exercise of the course.

    Parameters
    ----------
    name : str
        Numbers of notebook and exercise, from ``"1.1"`` to ``"4.3"``.

    Returns
    -------
    Exercise
        A notebook cell shows its question; ``.check(answer)`` checks an answer.

    Raises
    ------
    ValueError
        If there is no exercise of this name. The message lists all names.
    TypeError
        If ``name`` is not a str.

    Examples
    --------
    >>> exercise("2.1")
    Exercise 2.1. Diamond, sequence ∅ ⊊ {a} ⊊ {a, b, c, d} ⊊ V. What is its overhead? Answer with a number.
    """
    expect(name, str, "name", "the name of an exercise", 'write for example "2.1"')
    found = all_exercises().get(name)
    if found is None:
        raise ValueError(f"there is no exercise {name!r}; there are {', '.join(all_exercises())}")
    return found


@cache
def all_exercises() -> dict[str, Exercise]:
    """Return all exercises by name, in the order of the course."""
    made = [Exercise(name, question, graph, judge) for name, question, graph, judge in _questions()]
    return {e.name: e for e in made}


def _questions() -> Iterator[tuple[str, str, Graph, Judge]]:
    inception, u_net, branches = small_graph("inception"), small_graph("u-net"), small_graph("branches")
    diamond, chain, residual = small_graph("diamond"), small_graph("chain"), small_graph("residual")
    yield "1.1", "Inception. Find a lower set whose boundary is {a, d}.", inception, judges.boundary_is("ad")
    yield "1.2", "U-Net. How many lower sets does it have, including ∅ and V?", u_net, judges.lower_set_count
    yield "1.3", "U-Net. What is the smallest lower set that contains d and g?", u_net, judges.closure_of("dg")
    yield "1.4", "Branches. Find a lower set whose boundary takes the most memory.", branches, judges.largest_boundary

    given, sequence = "Diamond, sequence ∅ ⊊ {a} ⊊ {a, b, c, d} ⊊ V.", ("a", "abcd", "abcde")
    yield "2.1", f"{given} What is its overhead? Answer with a number.", diamond, judges.overhead_of(sequence)
    question = f"{given} Predict its peak, then step through it. Answer with a number."
    yield "2.2", question, diamond, judges.peak_of(sequence)
    yield "2.3", "Chain. Find a sequence whose peak is at most 12.", chain, judges.peak_at_most(12)
    question = "Chain. Find the sequence of least peak that recomputes at most two values."
    yield "2.4", question, chain, judges.least_peak_recomputing(2)

    yield "3.1", "Diamond. What is R({a}, 3)? Answer with a number.", diamond, judges.table_cell("a", 3)
    question = "Chain, budget 15. Find the memory-centric plan: the largest overhead that fits."
    yield "3.2", question, chain, judges.largest_overhead(15)
    question = "Residual blocks, budget 23. Find a plan of least overhead."
    yield "3.3", question, residual, judges.least_overhead(23)

    question = "Branches. Find a plan with less overhead than every plan over the family {Lᵛ}."
    yield "4.1", question, branches, judges.better_than_the_paper_family
    question = "A chain of 16 equal values. Find a plan whose peak is below that of Chen's plan."
    yield "4.2", question, even_chain(16), judges.below_chen
    yield "4.3", "Inception, budget 24. Find a plan of least overhead.", inception, judges.least_overhead(24)
