"""Judges of the exercises: functions (graph, answer) → Feedback that decide whether an answer is right.

The feedback on a wrong answer does not contain the right answer. A judge raises a ``ValueError``, such as
:class:`AnswerError`, for an answer that it cannot read. Some functions here are judges. Others return a judge for a
question with numbers or sets.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from recompviz.core.exact.solver import solve
from recompviz.core.graphs.graph import Graph, Name
from recompviz.core.plans.plan import Plan
from recompviz.core.teaching.answers import AnswerError, Feedback, read_lower_set, read_number, read_plan
from recompviz.core.teaching.programme import budget_free
from recompviz.core.teaching.sets import hasse, inspect_set, set_text

Judge = Callable[[Graph, Any], Feedback]

# -------------------------------------------------------------------- notebook 1: lower sets


def boundary_is(wanted: int) -> Judge:
    """Return a judge that accepts every lower set with the boundary ``wanted``, a bit mask.

    The boundary of a lower set consists of its nodes with a successor outside the set.
    """

    def judge(graph: Graph, answer: Any) -> Feedback:
        mask = read_lower_set(graph, answer)
        text, boundary = set_text(graph, mask), set_text(graph, graph.boundary_mask(mask))
        if graph.boundary_mask(mask) == wanted:
            return Feedback(True, f"{text} is a lower set, and its boundary is {boundary}.")
        return Feedback(False, f"The boundary of {text} is {boundary}, not {set_text(graph, wanted)}.")

    return judge


def lower_set_count(graph: Graph, answer: Any) -> Feedback:
    """Accept an answer that is the number of lower sets of the graph, ∅ and V included."""
    number, count = read_number(answer), graph.count_lower_sets()
    if number == count:
        return Feedback(True, f"{count} of the {2 ** len(graph)} subsets are lower sets.")
    side = "more" if number < count else "fewer"
    return Feedback(False, f"There are {side} than {number:g}.")


def closure_of(nodes: int) -> Judge:
    """Return a judge that accepts the smallest lower set that contains ``nodes``, a bit mask."""

    def judge(graph: Graph, answer: Any) -> Feedback:
        mask, wanted = read_lower_set(graph, answer), inspect_set(graph, graph.set_of(nodes)).closure
        missing = nodes & ~mask
        if missing:
            return Feedback(False, f"It does not contain {set_text(graph, missing)}.")
        if mask == wanted:
            return Feedback(True, f"{set_text(graph, mask)}: {set_text(graph, nodes)}, and all their ancestors.")
        return Feedback(False, f"It is a lower set that contains {set_text(graph, nodes)}, but a smaller one does too.")

    return judge


def largest_boundary(graph: Graph, answer: Any) -> Feedback:
    """Accept a lower set if no other lower set of the graph has a boundary of larger size M.

    The boundary of a lower set consists of its nodes with a successor outside the set.
    """
    mask = read_lower_set(graph, answer)
    size = graph.memory_of(graph.boundary_mask(mask))
    largest = max(graph.memory_of(boundary) for boundary in hasse(graph).boundaries)
    text = f"M(∂({set_text(graph, mask)})) = {size}"
    if size == largest:
        return Feedback(True, f"{text}: no boundary is larger.")
    return Feedback(False, f"{text}, but there is a larger one.")


# -------------------------------------------------------------------- notebook 2: the canonical strategy


def overhead_is(sequence: tuple[int, ...]) -> Judge:
    """Return a judge that accepts one number: the overhead (cost of recomputation) of the given lower-set sequence.

    The sets of ``sequence`` are bit masks.
    """

    def judge(graph: Graph, answer: Any) -> Feedback:
        number, plan = read_number(answer), Plan.from_masks(graph, sequence)
        kept, recomputed = (set_text(graph, graph.mask(nodes)) for nodes in (plan.keep, plan.recompute))
        if number == plan.overhead:
            return Feedback(True, f"U = {kept} is kept and {recomputed} is recomputed: T = {plan.overhead:g}.")
        return Feedback(False, f"Not {number:g}. Which values are in no boundary? Add up their T.")

    return judge


def peak_is(sequence: tuple[int, ...]) -> Judge:
    """Return a judge that accepts one number: the peak of the given lower-set sequence by the paper's formula.

    The sets of ``sequence`` are bit masks.
    """

    def judge(graph: Graph, answer: Any) -> Feedback:
        number, plan = read_number(answer), Plan.from_masks(graph, sequence)
        if number == plan.peak:
            sums = [f"{t.cache} + {t.segment} + {t.gradients} + {t.needed} = {t.total}" for t in plan.terms]
            return Feedback(True, f"The segments need {'; '.join(sums)}. The largest is the peak.")
        side = "higher" if number < plan.peak else "lower"
        return Feedback(False, f"The peak is {side} than {number:g}. Fill in the four terms for each segment.")

    return judge


def least_peak_with_segments(count: int) -> Judge:
    """Return a judge that accepts a lower-set sequence of exactly ``count`` segments with the least peak.

    No other sequence of ``count`` segments may have a lower peak by the paper's formula.
    """

    def judge(graph: Graph, answer: Any) -> Feedback:
        plan = read_plan(graph, answer)
        segments = len(plan.masks)
        if segments != count:
            word = "segment" if segments == 1 else "segments"
            return Feedback(False, f"It has {segments} {word} (V counts as the last set); {count} are asked for.")
        least = min(other.peak for other in every_cost(graph) if len(other.masks) == count)
        if plan.peak == least:
            return Feedback(True, f"Peak {least}: no sequence of {count} segments has a lower one.")
        return Feedback(
            False, f"Peak {plan.peak}. Another sequence of {count} segments has a lower one. {fullest(plan)}"
        )

    return judge


def least_peak_recomputing(node: int) -> Judge:
    """Return a judge that accepts a lower-set sequence of least peak among those that recompute one value.

    ``node`` is the number of the value's node. The peak is computed by the paper's formula.
    """

    def judge(graph: Graph, answer: Any) -> Feedback:
        plan = read_plan(graph, answer)
        name = graph.names[node]
        if plan.keep_mask[node]:
            return Feedback(False, f"It does not recompute {name}: {name} is in a boundary.")
        least = min(other.peak for other in every_cost(graph) if other.recomputed >> node & 1)
        if plan.peak == least:
            return Feedback(True, f"Peak {least}: no sequence that recomputes {name} has a lower one.")
        return Feedback(
            False, f"Peak {plan.peak}. Another sequence that recomputes {name} has a lower one. {fullest(plan)}"
        )

    return judge


def every_plan(graph: Graph) -> Iterator[Plan]:
    """Yield the plan of each lower-set sequence of a graph.

    Raises
    ------
    TooManyLowerSets
        If the graph has more than 80 lower sets.
    """
    sets = hasse(graph).sets

    def extensions(sequence: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        last = sequence[-1] if sequence else 0
        if last == graph.everything:
            yield sequence
        for mask in sets:
            if mask != last and last & ~mask == 0:
                yield from extensions((*sequence, mask))

    return (Plan.from_masks(graph, sequence) for sequence in extensions(()))


@dataclass(frozen=True)
class SequenceCost:
    """What a lower-set sequence costs.

    Attributes
    ----------
    masks : tuple of int
        The sets of the sequence as bit masks, without ∅.
    overhead : float
        The cost of the recomputation.
    peak : int
        The peak by the paper's formula, in bytes.
    recomputed : int
        The nodes whose values are recomputed, as a bit mask.
    """

    masks: tuple[int, ...]
    overhead: float
    peak: int
    recomputed: int


@lru_cache(maxsize=16)
def every_cost(graph: Graph) -> tuple[SequenceCost, ...]:
    """Return the costs of all lower-set sequences of a graph, in the order of :func:`every_plan`.

    The result is cached, because a student answers several times.
    """
    return tuple(
        SequenceCost(plan.masks, plan.overhead, plan.peak, graph.mask(plan.recompute)) for plan in every_plan(graph)
    )


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


# -------------------------------------------------------------------- notebook 3: the dynamic programme


def table_cell(mask: int, t: float) -> Judge:
    """Return a judge that accepts one number: the value R(L, t) in the table of :func:`budget_free`.

    Parameters
    ----------
    mask : int
        The lower set L as a bit mask.
    t : float
        The overhead (cost of recomputation) after L.
    """

    def judge(graph: Graph, answer: Any) -> Feedback:
        number, cell = read_number(answer), budget_free(graph).cell((mask, t))
        assert cell is not None
        if number == cell.value:
            best = cell.candidates[cell.best]
            return Feedback(True, f"{cell.value}, with L′ = {set_text(graph, best.other[0])}.")
        return Feedback(False, f"Not {number:g}. It is the minimum over {len(cell.candidates)} candidates L′.")

    return judge


def extreme_overhead_through(through: int, budget: int, *, largest: bool = False) -> Judge:
    """Return a judge of plans whose peak is at most ``budget`` and whose sequence contains a given lower set.

    The judge accepts those of these plans that have the least overhead (cost of recomputation), or the largest overhead
    if ``largest`` is True. The peak is computed by the paper's formula.

    Parameters
    ----------
    through : int
        The lower set that the sequence must contain, as a bit mask.
    budget : int
        The largest peak allowed, in bytes.
    largest : bool
        Whether the largest overhead is asked for.
    """

    def judge(graph: Graph, answer: Any) -> Feedback:
        plan = read_plan(graph, answer)
        if through not in plan.masks:
            return Feedback(False, f"The sequence does not contain {set_text(graph, through)}.")
        if plan.peak > budget:
            return Feedback(False, f"Peak {plan.peak} is above {budget}. {fullest(plan)}")
        overheads = [other.overhead for other in every_cost(graph) if through in other.masks and other.peak <= budget]
        best = max(overheads) if largest else min(overheads)
        text = f"Overhead {plan.overhead:g} at peak {plan.peak}"
        if plan.overhead == best:
            return Feedback(True, f"{text}: no such sequence has a {'larger' if largest else 'smaller'} overhead.")
        return Feedback(False, f"{text}. Another such sequence recomputes {'more' if largest else 'less'}.")

    return judge


# -------------------------------------------------------------------- notebook 4: where simple rules fail


def fewest_segments_beyond_the_paper_family(graph: Graph, answer: Any) -> Feedback:
    """Accept a shortest lower-set sequence with less overhead than every sequence of sets from the paper's family.

    The overhead is the cost of the recomputation. The family consists of ∅, V, and for each node v the set of v and all
    its ancestors.
    """
    plan = read_plan(graph, answer)
    best = _family_overhead(graph)
    if plan.overhead >= best:
        return Feedback(
            False,
            f"Overhead {plan.overhead:g}; the family reaches {best:g}. Which values can no such sequence keep?",
        )
    fewest = min(len(other.masks) for other in every_cost(graph) if other.overhead < best)
    text = f"Overhead {plan.overhead:g} is below {best:g}, with {len(plan.masks)} segments"
    if len(plan.masks) > fewest:
        return Feedback(False, f"{text}. Fewer segments are enough.")
    outside = [mask for mask in plan.masks if mask not in {*graph.ancestors, graph.everything}]
    names = ", ".join(set_text(graph, mask) for mask in outside)
    return Feedback(True, f"{text}: no shorter sequence does it. Not in the family: {names}.")


def least_peak_of_even_chain(length: int) -> Judge:
    """Return a judge that accepts one number: the result of :func:`even_chain_least_peak`."""

    def judge(_: Graph, answer: Any) -> Feedback:
        number, least = read_number(answer), even_chain_least_peak(length)
        if number == least:
            return Feedback(True, f"{least}: no lower-set sequence of {length:,} equal values has a lower peak.")
        side = "higher" if number < least else "lower"
        return Feedback(False, f"The least peak is {side} than {number:g}.")

    return judge


def even_chain_least_peak(length: int) -> int:
    """Return the least peak of a lower-set sequence for a chain of ``length`` values of size 1.

    The peak is computed by the paper's formula.

    Examples
    --------
    >>> [even_chain_least_peak(n) for n in (4, 9, 16, 25)]
    [5, 7, 9, 11]
    """

    # Segment i of k, with s_i values, needs (i − 1) + 2 s_i + 1 if i < k, and (k − 1) + 2 s_k if i = k. A peak P allows
    # at most ⌊(P − i)/2⌋ values in segment i < k, and ⌊(P − k + 1)/2⌋ values in the last one.
    def fits(peak: int) -> bool:
        inner, k = 0, 1  # values in the first k − 1 segments
        while peak - k + 1 >= 2:
            if inner + (peak - k + 1) // 2 >= length:
                return True
            inner += (peak - k) // 2
            k += 1
        return False

    return bisect_left(range(2 * length), True, key=fits)  # one segment needs 2 · length


def most_useful_to_drop(graph: Graph, answer: Any) -> Feedback:
    """Accept a node if the least peak of the graph falls the most when the size M of this node is set to 0."""
    if isinstance(answer, (set, frozenset, list, tuple)) and len(answer) == 1:
        (answer,) = answer
    if answer not in graph.names:
        raise AnswerError(f"expected the name of one node, such as {graph.names[0]!r}, got {answer!r}")
    peaks = peaks_without(graph)
    text = f"Without the memory of {answer}, the least peak is {peaks[answer]}"
    if peaks[answer] == min(peaks.values()):
        return Feedback(True, f"{text}: no other value lowers it more.")
    return Feedback(False, f"{text}. Another value lowers it more.")


@lru_cache(maxsize=16)
def _family_overhead(graph: Graph) -> float:
    """Return the least overhead of all sequences over the paper's family."""
    return float(solve(graph, "paper").time_centric.overheads[0])


@lru_cache(maxsize=16)
def peaks_without(graph: Graph) -> Mapping[Name, int]:
    """Return for each node the least peak of the graph, in bytes, if the size of this node alone is set to 0."""
    return {name: solve(without_memory(graph, name), "all").least_budget for name in graph.names}


def without_memory(graph: Graph, name: Name) -> Graph:
    """Return a copy of the graph in which the node ``name`` has size M = 0."""
    memory = {other: 0 if other == name else int(size) for other, size in zip(graph.names, graph.memory, strict=True)}
    time = dict(zip(graph.names, map(float, graph.time), strict=True))
    edges = [(graph.names[u], graph.names[v]) for u, v in graph.edges.tolist()]
    return Graph.from_edges(edges, memory, time, names=graph.names)
