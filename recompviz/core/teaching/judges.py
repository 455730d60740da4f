"""Judges of the exercises: functions (graph, answer) → Feedback that decide whether an answer is right.

A judge checks a set against the definition of a lower set, a sequence against the paper's peak formula, and an optimum
against the exact solver or against all sequences. It raises a ``ValueError``, such as :class:`AnswerError`, for an
answer that it cannot read. Functions of this file with other parameters than (graph, answer) return a judge.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from recompviz.core.exact.solver import solve
from recompviz.core.graphs.graph import Graph
from recompviz.core.plans.baselines import baseline
from recompviz.core.plans.plan import Plan
from recompviz.core.teaching.answers import Feedback, read_lower_set, read_number, read_plan
from recompviz.core.teaching.programme import budget_free
from recompviz.core.teaching.sets import hasse, set_text

Judge = Callable[[Graph, Any], Feedback]

# -------------------------------------------------------------------- notebook 1: lower sets


def boundary_is(wanted: str) -> Judge:
    """Return a judge that accepts every lower set with a given boundary: the nodes with a successor outside the set.

    ``wanted`` has one letter for each node of the boundary.
    """

    def judge(graph: Graph, answer: Any) -> Feedback:
        mask = read_lower_set(graph, answer)
        text, boundary = set_text(graph, mask), set_text(graph, graph.boundary_mask(mask))
        if graph.boundary_mask(mask) == graph.mask(wanted):
            return Feedback(True, f"{text} is a lower set, and its boundary is {boundary}.")
        return Feedback(False, f"The boundary of {text} is {boundary}, not {set_text(graph, graph.mask(wanted))}.")

    return judge


def lower_set_count(graph: Graph, answer: Any) -> Feedback:
    """Accept an answer that is the number of lower sets of the graph, ∅ and V included."""
    number, count = read_number(answer), graph.count_lower_sets()
    if number == count:
        return Feedback(True, f"{count} of the {2 ** len(graph)} subsets are lower sets.")
    side = "more" if number < count else "fewer"
    return Feedback(False, f"There are {side} than {number:g}. `rv.playground` of its graph counts them.")


def closure_of(nodes: str) -> Judge:
    """Return a judge that accepts the smallest lower set that contains ``nodes``, one letter each."""

    def judge(graph: Graph, answer: Any) -> Feedback:
        mask, wanted = read_lower_set(graph, answer), graph.mask(graph.closure(nodes))
        missing = graph.mask(nodes) & ~mask
        if missing:
            return Feedback(False, f"It does not contain {set_text(graph, missing)}.")
        if mask == wanted:
            return Feedback(True, f"{set_text(graph, mask)}: {' and '.join(nodes)}, and all their ancestors.")
        extra = set_text(graph, mask & ~wanted)
        return Feedback(False, f"It is a lower set that contains both, but a smaller one does without {extra}.")

    return judge


def largest_boundary(graph: Graph, answer: Any) -> Feedback:
    """Accept a lower set whose boundary takes the most memory of all lower sets of the graph.

    The boundary consists of the nodes with a successor outside the set.
    """
    mask = read_lower_set(graph, answer)
    size = graph.memory_of(graph.boundary_mask(mask))
    largest = max(graph.memory_of(boundary) for boundary in hasse(graph).boundaries)
    text = f"M(∂({set_text(graph, mask)})) = {size}"
    if size == largest:
        return Feedback(True, f"{text}: no boundary is larger.")
    return Feedback(False, f"{text}, but there is a larger one.")


# -------------------------------------------------------------------- notebook 2: the canonical strategy


def overhead_of(sequence: tuple[str, ...]) -> Judge:
    """Return a judge that accepts one number: the overhead (cost of recomputation) of the given lower-set sequence.

    Each set of ``sequence`` is a string with one letter for each node.
    """

    def judge(graph: Graph, answer: Any) -> Feedback:
        number, plan = read_number(answer), Plan.from_lower_sets(graph, sequence)
        kept, recomputed = (set_text(graph, graph.mask(nodes)) for nodes in (plan.keep, plan.recompute))
        if number == plan.overhead:
            return Feedback(True, f"U = {kept} is kept and {recomputed} is recomputed: T = {plan.overhead:g}.")
        return Feedback(False, f"Not {number:g}. Which values are in no boundary? Add up their T.")

    return judge


def peak_of(sequence: tuple[str, ...]) -> Judge:
    """Return a judge that accepts one number: the peak of the given lower-set sequence by the paper's formula.

    Each set of ``sequence`` is a string with one letter for each node.
    """

    def judge(graph: Graph, answer: Any) -> Feedback:
        number, plan = read_number(answer), Plan.from_lower_sets(graph, sequence)
        if number == plan.peak:
            sums = [f"{t.cache} + {t.segment} + {t.gradients} + {t.needed} = {t.total}" for t in plan.terms]
            return Feedback(True, f"The segments need {'; '.join(sums)}. The largest is the peak.")
        side = "higher" if number < plan.peak else "lower"
        return Feedback(False, f"The peak is {side} than {number:g}. Fill in the four terms for each segment.")

    return judge


def peak_at_most(budget: int) -> Judge:
    """Return a judge that accepts every lower-set sequence whose peak by the paper's formula fits ``budget`` bytes."""

    def judge(graph: Graph, answer: Any) -> Feedback:
        plan = read_plan(graph, answer)
        if plan.peak > budget:
            return _too_high(plan, budget)
        return Feedback(True, f"Peak {plan.peak} fits in {budget}, at overhead {plan.overhead:g}.")

    return judge


def least_peak_recomputing(most: int) -> Judge:
    """Return a judge that accepts a lower-set sequence that recomputes at most ``most`` values, with the least peak.

    No other sequence that recomputes at most ``most`` values may have a lower peak by the paper's formula.
    """

    def judge(graph: Graph, answer: Any) -> Feedback:
        plan = read_plan(graph, answer)
        count = len(plan.recompute)
        if count > most:
            recomputed = set_text(graph, graph.mask(plan.recompute))
            return Feedback(False, f"It recomputes {count} values, {recomputed}; at most {most} are allowed.")
        least = min(other.peak for other in every_plan(graph) if len(other.recompute) <= most)
        if plan.peak == least:
            return Feedback(True, f"Peak {least}: no sequence that recomputes at most {most} values has a lower one.")
        return Feedback(
            False, f"Peak {plan.peak}. Another sequence that recomputes at most {most} has a lower one. {fullest(plan)}"
        )

    return judge


def every_plan(graph: Graph) -> Iterator[Plan]:
    """Iterate over the plans of all lower-set sequences of a graph with at most 80 lower sets."""
    sets = hasse(graph).sets

    def extensions(sequence: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        last = sequence[-1] if sequence else 0
        if last == graph.everything:
            yield sequence
        for mask in sets:
            if mask != last and last & ~mask == 0:
                yield from extensions((*sequence, mask))

    return (Plan.from_masks(graph, sequence) for sequence in extensions(()))


def fullest(plan: Plan) -> str:
    """Return a sentence about the segment of a plan that takes the most memory in the paper's peak formula.

    The sentence gives the four terms of the formula for this segment.
    """
    terms = plan.terms
    i = max(range(len(terms)), key=lambda j: terms[j].total)
    t = terms[i]
    return (
        f"Segment {i + 1} needs the most: cache {t.cache} + segment {t.segment} + gradients {t.gradients} + "
        f"needed values {t.needed}."
    )


def _too_high(plan: Plan, budget: int) -> Feedback:
    return Feedback(False, f"Peak {plan.peak} is above {budget}. {fullest(plan)}")


# -------------------------------------------------------------------- notebook 3: the dynamic programme


def table_cell(nodes: str, t: float) -> Judge:
    """Return a judge that accepts one number: the value R(L, t) in the table of :func:`budget_free`.

    Parameters
    ----------
    nodes : str
        The nodes of the lower set L, one letter each.
    t : float
        The overhead (cost of recomputation) after L.
    """

    def judge(graph: Graph, answer: Any) -> Feedback:
        number, cell = read_number(answer), budget_free(graph).cell((graph.mask(nodes), t))
        assert cell is not None
        if number == cell.value:
            best = cell.candidates[cell.best]
            return Feedback(True, f"{cell.value}, with L′ = {set_text(graph, best.other[0])}.")
        return Feedback(False, f"Not {number:g}. It is the minimum over {len(cell.candidates)} candidates L′.")

    return judge


def largest_overhead(budget: int) -> Judge:
    """Return a judge that accepts the plans of largest overhead whose peak is at most ``budget`` bytes.

    The overhead is the cost of the recomputation. The peak is computed by the paper's formula.
    """

    def judge(graph: Graph, answer: Any) -> Feedback:
        plan = read_plan(graph, answer)
        if plan.peak > budget:
            return _too_high(plan, budget)
        best = solve(graph, "all").plan(budget, "memory")
        if plan.overhead == best.overhead:
            return Feedback(True, f"Overhead {plan.overhead:g} at peak {plan.peak}: no plan that fits recomputes more.")
        return Feedback(False, f"It fits, with overhead {plan.overhead:g}. Another plan that fits recomputes more.")

    return judge


def least_overhead(budget: int) -> Judge:
    """Return a judge that accepts the plans of least overhead whose peak is at most ``budget`` bytes.

    The overhead is the cost of the recomputation. The peak is computed by the paper's formula.
    """

    def judge(graph: Graph, answer: Any) -> Feedback:
        plan = read_plan(graph, answer)
        if plan.peak > budget:
            return _too_high(plan, budget)
        best = solve(graph, "all").plan(budget)
        if plan.overhead == best.overhead:
            return Feedback(True, f"Overhead {plan.overhead:g} at peak {plan.peak}: as good as the solver's plan.")
        return Feedback(False, f"It fits, with overhead {plan.overhead:g}. The solver finds {best.overhead:g}.")

    return judge


# -------------------------------------------------------------------- notebook 4: where simple rules fail


def better_than_the_paper_family(graph: Graph, answer: Any) -> Feedback:
    """Accept a lower-set sequence with less overhead than every sequence in the paper's family of lower sets.

    The overhead is the cost of the recomputation. The family consists of ∅, V, and for each node v the set of v and all
    its ancestors.
    """
    plan = read_plan(graph, answer)
    best = float(solve(graph, "paper").time_centric.overheads[0])
    if plan.overhead < best:
        outside = [mask for mask in plan.masks if mask not in {*graph.ancestors, graph.everything}]
        names = ", ".join(set_text(graph, mask) for mask in outside)
        return Feedback(True, f"Overhead {plan.overhead:g} is below {best:g}. Not in the family: {names}.")
    return Feedback(
        False,
        f"Overhead {plan.overhead:g}; the family reaches {best:g}. Use more segments, with lower sets that contain "
        "nodes of both branches.",
    )


def below_chen(graph: Graph, answer: Any) -> Feedback:
    """Accept a lower-set sequence whose peak by the paper's formula is below the peak of Chen's √n plan."""
    plan, chen = read_plan(graph, answer), baseline(graph, "chen")
    if plan.peak < chen.peak:
        least = solve(graph, "all").least_budget
        rest = "no sequence has a lower one" if plan.peak == least else f"the least possible peak is {least}"
        return Feedback(True, f"Peak {plan.peak} is below Chen's {chen.peak}; {rest}.")
    return Feedback(False, f"Peak {plan.peak}; Chen's plan has {chen.peak}. {fullest(plan)}")
