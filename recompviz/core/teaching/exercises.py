"""Exercises that judge themselves: every answer is checked by the core, and told why it is right or wrong.

Nothing is compared with a stored solution: a set is held against the definition, a sequence against the formula, an
optimum against the solver. So any right answer is right, and a wrong one is told what it lacks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from recompviz.core.base.errors import RecompvizError
from recompviz.core.exact.solver import solve
from recompviz.core.graphs.graph import Graph
from recompviz.core.plans.baselines import baseline
from recompviz.core.plans.plan import Plan
from recompviz.core.teaching.answers import Feedback, read_lower_set, read_number, read_plan
from recompviz.core.teaching.programme import budget_free
from recompviz.core.teaching.sets import hasse, set_text
from recompviz.core.teaching.small_graphs import even_chain, small_graph


@dataclass(frozen=True, eq=False)
class Exercise:
    """A question about a graph, and its judge.

    Attributes
    ----------
    name : str
        For example ``"1.2"``: the second of the first notebook.
    question : str
    graph : Graph
        What it is about; ``rv.playground(exercise.graph)`` opens it.
    """

    name: str
    question: str
    graph: Graph
    judge: Callable[[Graph, Any], Feedback]

    def check(self, answer: Any) -> Feedback:
        """Judge an answer: a set, a list of sets, a number or a playground, as the question asks.

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
    """One of the course's exercises.

    Parameters
    ----------
    name : str
        ``"1.1"`` to ``"4.3"``.

    Raises
    ------
    ValueError
        If there is no such exercise; the text lists all.

    Examples
    --------
    >>> exercise("2.1")
    Exercise 2.1. Diamond, sequence ∅ ⊊ {a} ⊊ {a, b, c, d} ⊊ V. How large is its overhead? Answer with a number.
    """
    found = _all().get(name)
    if found is None:
        raise ValueError(f"there is no exercise {name!r}; there are {', '.join(_all())}")
    return found


@cache
def _all() -> dict[str, Exercise]:
    made = [Exercise(name, question, graph, judge) for name, question, graph, judge in _questions()]
    return {e.name: e for e in made}


SEQUENCE = ("a", "abcd", "abcde")
TWO = 2


def _questions() -> Iterator[tuple[str, str, Graph, Callable[[Graph, Any], Feedback]]]:
    inception, u_net, branches = small_graph("inception"), small_graph("u-net"), small_graph("branches")
    diamond, chain, residual = small_graph("diamond"), small_graph("chain"), small_graph("residual")
    yield "1.1", "Inception. Find a lower set whose boundary is {a, d}.", inception, _boundary_is("ad")
    yield "1.2", "U-Net. How many lower sets does it have, ∅ and V among them?", u_net, _count
    yield "1.3", "U-Net. Which is the smallest lower set that contains d and g?", u_net, _closure_of("dg")
    yield "1.4", "Branches. Find a lower set whose boundary takes the most memory.", branches, _widest
    given = "Diamond, sequence ∅ ⊊ {a} ⊊ {a, b, c, d} ⊊ V."
    yield "2.1", f"{given} How large is its overhead? Answer with a number.", diamond, _overhead
    yield "2.2", f"{given} Predict the peak, then step through it. Answer with a number.", diamond, _peak
    yield "2.3", "Chain. Find a sequence whose peak is at most 12.", chain, _fits(12)
    yield "2.4", "Chain. Which is the least peak if at most two values are recomputed? Give a sequence.", chain, _few
    yield "3.1", "Diamond. What is R({a}, 3)? Answer with a number.", diamond, _cell("a", 3)
    yield "3.2", "Chain, budget 15. Find the memory-centric plan: the largest overhead that fits.", chain, _most(15)
    yield (
        "3.3",
        "Residual blocks, budget 23. Find a plan of least overhead.",
        residual,
        _least(23),
    )
    yield "4.1", "Branches. Beat every plan that the family {Lᵛ} allows: find a smaller overhead.", branches, _wider
    yield "4.2", "A chain of 16 equal values. Stay below the peak of Chen's √n plan.", even_chain(16), _below_chen
    yield "4.3", "Inception, budget 24. Find a plan of least overhead: the last exercise.", inception, _least(24)


# -------------------------------------------------------------------- lower sets


def _boundary_is(wanted: str) -> Callable[[Graph, Any], Feedback]:
    def judge(graph: Graph, answer: Any) -> Feedback:
        mask = read_lower_set(graph, answer)
        text, found = set_text(graph, mask), graph.boundary_mask(mask)
        if found == graph.mask(wanted):
            return Feedback(True, f"{text} is a lower set, and its boundary is {set_text(graph, found)}.")
        return Feedback(
            False, f"The boundary of {text} is {set_text(graph, found)}, not {set_text(graph, graph.mask(wanted))}."
        )

    return judge


def _count(graph: Graph, answer: Any) -> Feedback:
    number, count = read_number(answer), graph.count_lower_sets()
    if number == count:
        return Feedback(True, f"{count} of its {2 ** len(graph)} subsets are lower sets.")
    side = "more" if number < count else "fewer"
    return Feedback(False, f"There are {side} than {number:g}. `rv.playground` of its graph counts them.")


def _closure_of(nodes: str) -> Callable[[Graph, Any], Feedback]:
    def judge(graph: Graph, answer: Any) -> Feedback:
        mask, wanted = read_lower_set(graph, answer), graph.mask(graph.closure(nodes))
        missing = graph.mask(nodes) & ~mask
        if missing:
            return Feedback(False, f"{set_text(graph, missing)} is not in it.")
        if mask == wanted:
            return Feedback(True, f"{set_text(graph, mask)}: everything that {' and '.join(nodes)} are computed from.")
        return Feedback(
            False, f"It is a lower set with both, but it need not contain {set_text(graph, mask & ~wanted)}."
        )

    return judge


def _widest(graph: Graph, answer: Any) -> Feedback:
    mask = read_lower_set(graph, answer)
    size = graph.memory_of(graph.boundary_mask(mask))
    most = max(graph.memory_of(boundary) for boundary in hasse(graph).boundaries)
    text = f"M(∂({set_text(graph, mask)})) = {size}"
    return Feedback(True, f"{text}: no boundary is larger.") if size == most else Feedback(
        False, f"{text}, but there is a larger one."
    )  # fmt: skip


# -------------------------------------------------------------------- the strategy


def _overhead(graph: Graph, answer: Any) -> Feedback:
    number, plan = read_number(answer), Plan.from_lower_sets(graph, SEQUENCE)
    kept, again = (set_text(graph, graph.mask(nodes)) for nodes in (plan.keep, plan.recompute))
    if number == plan.overhead:
        return Feedback(True, f"U = {kept} is kept, {again} recomputed: T = {plan.overhead:g}.")
    return Feedback(False, f"Not {number:g}. Which values are in no boundary? Add up their T.")


def _peak(graph: Graph, answer: Any) -> Feedback:
    number, plan = read_number(answer), Plan.from_lower_sets(graph, SEQUENCE)
    if number == plan.peak:
        sums = [f"{t.cache} + {t.segment} + {t.gradients} + {t.needed} = {t.total}" for t in plan.terms]
        return Feedback(True, f"The segments need {'; '.join(sums)}; the largest is the peak.")
    side = "higher" if number < plan.peak else "lower"
    return Feedback(False, f"The peak is {side} than {number:g}. Fill in the four terms for each segment.")


def _fits(budget: int) -> Callable[[Graph, Any], Feedback]:
    def judge(graph: Graph, answer: Any) -> Feedback:
        plan = read_plan(graph, answer)
        if plan.peak <= budget:
            return Feedback(True, f"Peak {plan.peak} fits into {budget}, at overhead {plan.overhead:g}.")
        return Feedback(False, f"Peak {plan.peak} is above {budget}. {_fullest(plan)}")

    return judge


def _fullest(plan: Plan) -> str:
    terms = plan.terms
    i = max(range(len(terms)), key=lambda j: terms[j].total)
    t = terms[i]
    return (
        f"Segment {i + 1} is the fullest: cache {t.cache} + segment {t.segment} + gradients {t.gradients} + "
        f"values beside {t.needed}."
    )


def every_plan(graph: Graph) -> Iterator[Plan]:
    """The plan of every lower-set sequence of a small graph."""
    sets = hasse(graph).sets

    def grow(sequence: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        last = sequence[-1] if sequence else 0
        if last == graph.everything:
            yield sequence
        for mask in sets:
            if mask != last and last & ~mask == 0:
                yield from grow((*sequence, mask))

    return (Plan.from_masks(graph, sequence) for sequence in grow(()))


def _few(graph: Graph, answer: Any) -> Feedback:
    plan = read_plan(graph, answer)
    again = len(plan.recompute)
    if again > TWO:
        return Feedback(False, f"It recomputes {again} values, {set_text(graph, graph.mask(plan.recompute))}.")
    least = min(other.peak for other in every_plan(graph) if len(other.recompute) <= TWO)
    if plan.peak == least:
        return Feedback(True, f"Peak {least}: no sequence that recomputes so little takes less.")
    return Feedback(
        False, f"Peak {plan.peak}; with at most two values recomputed there is a lower one. {_fullest(plan)}"
    )


# -------------------------------------------------------------------- the dynamic programme


def _cell(nodes: str, t: float) -> Callable[[Graph, Any], Feedback]:
    def judge(graph: Graph, answer: Any) -> Feedback:
        number, cell = read_number(answer), budget_free(graph).cell((graph.mask(nodes), t))
        assert cell is not None
        if number == cell.value:
            best = cell.choices[cell.best]
            return Feedback(True, f"{cell.value}, by way of L′ = {set_text(graph, best.other[0])}.")
        return Feedback(False, f"Not {number:g}. It is the least of {len(cell.choices)} choices of L′.")

    return judge


def _most(budget: int) -> Callable[[Graph, Any], Feedback]:
    def judge(graph: Graph, answer: Any) -> Feedback:
        plan = read_plan(graph, answer)
        if plan.peak > budget:
            return Feedback(False, f"Peak {plan.peak} is above {budget}. {_fullest(plan)}")
        best = solve(graph, "all").plan(budget, "memory")
        if plan.overhead == best.overhead:
            return Feedback(True, f"Overhead {plan.overhead:g} at peak {plan.peak}: nothing that fits recomputes more.")
        return Feedback(False, f"It fits, with overhead {plan.overhead:g}; a plan that recomputes more fits as well.")

    return judge


def _least(budget: int) -> Callable[[Graph, Any], Feedback]:
    def judge(graph: Graph, answer: Any) -> Feedback:
        plan = read_plan(graph, answer)
        if plan.peak > budget:
            return Feedback(False, f"Peak {plan.peak} is above {budget}. {_fullest(plan)}")
        best = solve(graph, "all").plan(budget)
        if plan.overhead == best.overhead:
            return Feedback(True, f"Overhead {plan.overhead:g} at peak {plan.peak}: as good as the solver's.")
        return Feedback(False, f"It fits, with overhead {plan.overhead:g}; the solver finds {best.overhead:g}.")

    return judge


# -------------------------------------------------------------------- why


def _wider(graph: Graph, answer: Any) -> Feedback:
    plan = read_plan(graph, answer)
    best = float(solve(graph, "paper").time_centric.overheads[0])
    if plan.overhead < best:
        wider = [mask for mask in plan.masks if mask not in {*graph.ancestors, graph.everything}]
        named = ", ".join(set_text(graph, mask) for mask in wider)
        return Feedback(True, f"Overhead {plan.overhead:g} is below {best:g}. Not among the Lᵛ: {named}.")
    return Feedback(False, f"Overhead {plan.overhead:g}; the family reaches {best:g}. Cut both branches at once.")


def _below_chen(graph: Graph, answer: Any) -> Feedback:
    plan, chen = read_plan(graph, answer), baseline(graph, "chen")
    if plan.peak < chen.peak:
        least = solve(graph, "all").least_budget
        more = "; no sequence takes less" if plan.peak == least else f"; {least} is possible"
        return Feedback(True, f"Peak {plan.peak} is below Chen's {chen.peak}{more}.")
    return Feedback(False, f"Peak {plan.peak}; Chen's plan has {chen.peak}. {_fullest(plan)}")
