"""The questions of the exercises, posed about a graph.

A *poser* is a function (graph, title, chance) → :class:`Posed` that makes a question of one kind. If ``chance`` is
None, it makes the question of the course. Otherwise the nodes, sequences and budgets of the question are random. A
poser returns None if the graph has no interesting question of its kind. No hint contains the answer.

No question is answered by one call of :func:`recompviz.solve`: the solver knows neither the number of segments nor a
lower set that a sequence must contain.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from recompviz.core.base.errors import TooManyLowerSets
from recompviz.core.exact.solver import solve
from recompviz.core.graphs.graph import Graph
from recompviz.core.teaching import judges
from recompviz.core.teaching.judges import Judge, SequenceCost, every_cost
from recompviz.core.teaching.programme import budget_free
from recompviz.core.teaching.sets import hasse, set_text

# A question about all sequences needs a graph with at most this many.
MOST_SEQUENCES = 3_000
# A question about all lower sets needs a graph with at most this many.
MOST_LOWER_SETS = 80


@dataclass(frozen=True)
class Posed:
    """A question about one graph.

    Attributes
    ----------
    question : str
        The text of the question.
    judge : callable (graph, answer) → Feedback
        Decides whether an answer is right.
    hints : tuple of str
        Hints, from the most general to the most specific one.
    """

    question: str
    judge: Judge
    hints: tuple[str, ...]


Poser = Callable[[Graph, str, random.Random | None], Posed | None]


def has_few_lower_sets(graph: Graph) -> bool:
    """Return whether the graph has at most 80 lower sets."""
    try:
        graph.count_lower_sets(MOST_LOWER_SETS)
    except TooManyLowerSets:
        return False
    return True


def sequence_count(graph: Graph, limit: int = MOST_SEQUENCES) -> int:
    """Return the number of lower-set sequences of a graph, or ``limit + 1`` if there are more than ``limit``.

    The result is also ``limit + 1`` if the graph has more than 80 lower sets.

    Examples
    --------
    >>> sequence_count(Graph.from_edges([("a", "b"), ("b", "c")], memory=dict(a=1, b=1, c=1)))
    4
    """
    if not has_few_lower_sets(graph):
        return limit + 1
    sets = hasse(graph).sets
    ways = {0: 1}  # sequences that end with this set
    for mask in sets[1:]:
        ways[mask] = sum(number for other, number in ways.items() if other & ~mask == 0)
    return min(ways[graph.everything], limit + 1)


def _sets_of(graph: Graph, sequence: tuple[int, ...]) -> str:
    inner = " ⊊ ".join(set_text(graph, mask) for mask in sequence[:-1])
    return f"∅ ⊊ {inner} ⊊ V" if inner else "∅ ⊊ V"


def _sequence(graph: Graph, sets: tuple[str, ...]) -> tuple[int, ...]:
    return (*(graph.mask(nodes) for nodes in sets), graph.everything)


# -------------------------------------------------------------------- notebook 1: lower sets


def ask_boundary(graph: Graph, title: str, chance: random.Random | None) -> Posed | None:
    """Pose the task: find a lower set with a given boundary."""
    if chance is None:
        wanted = graph.mask("ad")
    else:
        if not has_few_lower_sets(graph):
            return None
        diagram = hasse(graph)
        wide = sorted({b for b in diagram.boundaries if b.bit_count() >= 2 and b not in diagram.sets})
        if not wide:
            return None
        wanted = chance.choice(wide)
    return Posed(
        f"{title} Find a lower set whose boundary is {set_text(graph, wanted)}.",
        judges.boundary_is(wanted),
        (
            "A node of the set is in the boundary if some node outside of the set is computed from it.",
            "The set contains its boundary, and every node that the boundary is computed from.",
            "A node of the set that shall not be in the boundary needs all its successors in the set.",
        ),
    )


def ask_count(graph: Graph, title: str, _: random.Random | None) -> Posed | None:
    """Pose the question: how many lower sets are there?"""
    if not has_few_lower_sets(graph):
        return None
    return Posed(
        f"{title} How many lower sets does the graph have, including ∅ and V?",
        judges.lower_set_count,
        (
            "A chain of n nodes has n + 1 lower sets: one for each place where the computation can stop.",
            "Divide the lower sets by one node: those that contain it contain its ancestors; the others contain "
            "nothing that is computed from it.",
            "Draw the lattice from ∅: which nodes can be added to each set?",
        ),
    )


def ask_closure(graph: Graph, title: str, chance: random.Random | None) -> Posed | None:
    """Pose the task: find the smallest lower set that contains two given nodes."""
    if chance is None:
        u, v = graph.names.index("d"), graph.names.index("g")
    else:
        lows = graph.ancestors
        pairs = [
            (u, v)
            for u in range(len(graph))
            for v in range(u)
            if lows[u] | lows[v] not in (lows[u], lows[v], graph.everything) and (lows[u] | lows[v]).bit_count() > 2
        ]
        if not pairs:
            return None
        v, u = chance.choice(pairs)
    return Posed(
        f"{title} What is the smallest lower set that contains {graph.names[u]} and {graph.names[v]}?",
        judges.closure_of(1 << u | 1 << v),
        (
            "With a node, a lower set contains everything that the node is computed from.",
            "Follow the edges backward from both nodes, up to the nodes that no edge enters.",
        ),
    )


def ask_largest_boundary(graph: Graph, title: str, _: random.Random | None) -> Posed | None:
    """Pose the task: find the lower set whose boundary takes the most memory."""
    if not has_few_lower_sets(graph):
        return None
    return Posed(
        f"{title} Find a lower set whose boundary takes the most memory.",
        judges.largest_boundary,
        (
            "Only sizes count here: M(∂(L)) is the sum of the sizes of the boundary.",
            "A boundary is large where many values wait for one node that is not computed yet.",
            "Stop right before a join, in all its branches. Then move the stop in each branch to its largest value.",
        ),
    )


# -------------------------------------------------------------------- notebook 2: the canonical strategy


def ask_overhead(graph: Graph, title: str, chance: random.Random | None) -> Posed | None:
    """Pose the question: what is the overhead of a given lower-set sequence?"""
    sequence = _given_sequence(graph, chance)
    if sequence is None:
        return None
    return Posed(
        f"{title} Sequence {_sets_of(graph, sequence)}. What is its overhead? Answer with a number.",
        judges.overhead_is(sequence),
        (
            "The overhead is the cost T of all values that are in no boundary.",
            "Write down the boundary of each set of the sequence. The boundary of V is empty.",
            "U_k is the union of the boundaries. Add the costs T of the other nodes.",
        ),
    )


def ask_peak(graph: Graph, title: str, chance: random.Random | None) -> Posed | None:
    """Pose the question: what is the peak of a given lower-set sequence?"""
    sequence = _given_sequence(graph, chance)
    if sequence is None:
        return None
    return Posed(
        f"{title} Sequence {_sets_of(graph, sequence)}. Predict its peak by the formula. Answer with a number.",
        judges.peak_is(sequence),
        (
            "The peak is the largest of one sum for each segment.",
            "Each sum has four terms: the cache of the earlier segments, twice the segment, the gradients that flow "
            "in, and the values that those later nodes need.",
            "Make a table with a row for each segment and a column for each term, and begin with the last segment: its "
            "last two terms are 0.",
        ),
    )


def _given_sequence(graph: Graph, chance: random.Random | None) -> tuple[int, ...] | None:
    """Return the sequence of the course, or a random one of three segments that keeps some value."""
    if chance is None:
        return _sequence(graph, ("a", "abcd"))
    if not has_few_lower_sets(graph):
        return None
    sets = hasse(graph).sets[1:-1]
    pairs = [(L, above) for L in sets for above in sets if above != L and L & ~above == 0 and graph.boundary_mask(L)]
    return (*chance.choice(pairs), graph.everything) if pairs else None


def ask_least_peak(graph: Graph, title: str, chance: random.Random | None) -> Posed | None:
    """Pose the task: find a lower-set sequence of least peak with a given number of segments."""
    if sequence_count(graph) > MOST_SEQUENCES:
        return None
    if chance is None:
        segments = 2
    else:
        least: dict[int, int] = {}
        for plan in every_cost(graph):
            least[len(plan.masks)] = min(plan.peak, least.get(len(plan.masks), plan.peak))
        best = min(least.values())
        choices = [n for n, size in least.items() if n in (2, 3, 4) and size > best]  # else the solver answers it
        if not choices:
            return None
        segments = chance.choice(sorted(choices))
    return Posed(
        f"{title} Find a sequence of exactly {_word(segments)} segments with the least peak. "
        f"(V is the last set, so you choose {_word(segments - 1)}.)",
        judges.least_peak_with_segments(segments),
        (
            "The sum of a segment is large if the segment has much memory, or if the cache before it is large.",
            "Begin with cuts where the boundary is small.",
            "Compute the sum of every segment, and move a cut so that the largest sum shrinks. The feedback names it.",
        ),
    )


def ask_one_recomputation(graph: Graph, title: str, chance: random.Random | None) -> Posed | None:
    """Pose the task: find a lower-set sequence of least peak that recomputes a given value."""
    if sequence_count(graph) > MOST_SEQUENCES:
        return None
    if chance is None:
        node = graph.names.index("f")
    else:
        plans = every_cost(graph)
        choices = [v for v in range(len(graph)) if not _on_a_front(plans, [p for p in plans if p.recomputed >> v & 1])]
        if not choices:
            return None
        node = chance.choice(choices)
    name = graph.names[node]
    return Posed(
        f"{title} Find a sequence of least peak that recomputes {name}.",
        judges.least_peak_recomputing(node),
        (
            f"The values in no boundary are recomputed. When is {name} in no boundary?",
            f"All successors of {name} must be in the first set that contains {name}.",
            "So one segment is given in part. Choose the cuts before and after it, and let the feedback name the "
            "segment with the largest sum.",
        ),
    )


def _on_a_front(plans: Sequence[SequenceCost], asked: Sequence[SequenceCost]) -> bool:
    """Whether a plan of least peak among ``asked`` may be on a front of the solver, which then answers the question."""
    least = min(plan.peak for plan in asked)
    best = [plan for plan in asked if plan.peak == least]
    return any(
        not any(p.overhead < plan.overhead and p.peak <= plan.peak for p in plans)
        or not any(p.overhead > plan.overhead and p.peak <= plan.peak for p in plans)
        for plan in best
    )


# -------------------------------------------------------------------- notebook 3: the dynamic programme


def ask_table_cell(graph: Graph, title: str, chance: random.Random | None) -> Posed | None:
    """Pose the question: what is a given entry in the table of the budget-free recursion?"""
    if chance is None:
        mask, t = graph.mask("a"), 5.0
    else:
        if not has_few_lower_sets(graph):
            return None
        try:
            cells = budget_free(graph).cells
        except ValueError:  # more cells than a table shows
            return None
        inner = [c for c in cells if c.place[0] and 2 <= len(c.candidates) <= 5 and c.value >= 0]
        if not inner:
            return None
        mask, t = chance.choice(inner).place
    return Posed(
        f"{title} What is R({set_text(graph, mask)}, {t:g})? Answer with a number.",
        judges.table_cell(mask, t),
        (
            "R(L, t) is the least peak of a sequence that continues from L with remaining overhead t. The cache before "
            "L does not count.",
            "List the lower sets L′ that contain L, and T′ for each. Keep those for which R(L′, t − T′) exists.",
            "For each of them compute max(p(L, L′), Δm(L, L′) + R(L′, t − T′)). Take the smallest.",
        ),
    )


def ask_memory_centric(graph: Graph, title: str, chance: random.Random | None) -> Posed | None:
    """Pose the task: find, of the lower-set sequences that fit a budget and contain a given set, one of most overhead.

    The set and the budget are chosen so that each of them changes the answer.
    """
    return _through(graph, title, chance, ("ab", 15), largest=True)


def ask_time_centric(graph: Graph, title: str, chance: random.Random | None) -> Posed | None:
    """Pose the task: find, of the lower-set sequences that fit a budget and contain a given set, one of least overhead.

    The set and the budget are chosen so that each of them changes the answer.
    """
    return _through(graph, title, chance, ("abc", 23), largest=False)


def _through(
    graph: Graph, title: str, chance: random.Random | None, course: tuple[str, int], *, largest: bool
) -> Posed | None:
    if chance is None:
        through, budget = graph.mask(course[0]), course[1]
    else:
        if sequence_count(graph) > MOST_SEQUENCES:
            return None
        plans = every_cost(graph)
        best = max if largest else min
        choices = []
        for size in sorted({plan.peak for plan in plans})[1:]:
            fitting = [plan for plan in plans if plan.peak <= size]
            free = best(plan.overhead for plan in fitting)
            for mask in sorted({mask for plan in fitting for mask in plan.masks} - {graph.everything}):
                own = [plan.overhead for plan in fitting if mask in plan.masks]
                # the solver's plan does not contain this set, and the budget excludes a better sequence that does
                bound = best(plan.overhead for plan in plans if mask in plan.masks)
                if free != best(own) != bound and len(set(own)) > 1:
                    choices.append((mask, size))
        if not choices:
            return None
        through, budget = chance.choice(choices)
    word, name = ("largest", "memory-centric") if largest else ("least", "time-centric")
    return Posed(
        f"{title} Budget {budget}. Of the sequences that contain {set_text(graph, through)}, find one of {word} "
        f"overhead ({name}).",
        judges.extreme_overhead_through(through, budget, largest=largest),
        (
            "The set divides the problem: choose segments up to it, then segments after it.",
            f"After the set, the row R({set_text(graph, through)}, t) of the table gives the least peak for each t; "
            "`rv.step_programme` of the graph draws it. Add the cache of the boundaries up to the set.",
            "Up to the set there are few sequences: compute Δm and T′ of each, and look for the "
            f"{word} t in the row that still fits.",
        ),
    )


# -------------------------------------------------------------------- notebook 4: where simple rules fail


def ask_beyond_the_family(graph: Graph, title: str, chance: random.Random | None) -> Posed | None:
    """Pose the task: find the shortest lower-set sequence with less overhead than all those of the paper's family."""
    if sequence_count(graph) > MOST_SEQUENCES:
        return None
    if chance is not None:
        exact = float(solve(graph, "all").time_centric.overheads[0])
        if exact >= float(solve(graph, "paper").time_centric.overheads[0]):
            return None
    return Posed(
        f"{title} Find a sequence of the fewest segments that has less overhead than every sequence over the family "
        "{Lᵛ}.",
        judges.fewest_segments_beyond_the_paper_family,
        (
            "Before the branches join, each Lᵛ reaches into one branch only.",
            "Which expensive values can a sequence over {Lᵛ} not keep? Look for a lower set with several of them in "
            "its boundary.",
            "Cut so that each expensive value is in some boundary. Then join segments as long as the overhead allows.",
        ),
    )


def ask_even_chain(graph: Graph, _: str, chance: random.Random | None) -> Posed:
    """Pose the question: what is the least peak of a chain of thousands of values of size 1?"""
    root = 100 if chance is None else chance.randrange(60, 400)
    return Posed(
        f"A chain of {root * root:,} values, each of size 1. What is the least peak of a lower-set sequence? Answer "
        f"with a number. (`.graph` of this exercise is a chain of {len(graph)} values, to try.)",
        judges.least_peak_of_even_chain(root * root),
        (
            "Find the least peak of short chains of 4, 9 and 16 values first, as in the table of notebook 4.",
            "Segment i < k needs (i − 1) + 2 sᵢ + 1. If all segments need the same, how does sᵢ fall with i?",
            "For a given peak P, how many values fit into the k segments together? Choose k so that this is the most.",
        ),
    )


def ask_most_useful_value(graph: Graph, title: str, chance: random.Random | None) -> Posed | None:
    """Pose the question: which value lowers the least peak the most if its size is set to 0?"""
    if sequence_count(graph) > MOST_SEQUENCES:
        return None
    if chance is not None:
        peaks = list(judges.peaks_without(graph).values())
        if peaks.count(min(peaks)) > 1:
            return None
    return Posed(
        f"{title} One value can be made so small that neither it nor its gradient takes memory (M = 0). Which one "
        "lowers the least peak the most? Answer with its name.",
        judges.most_useful_to_drop,
        (
            "A value counts twice in its own segment and once in the cache of later ones; its gradient counts once "
            "more in every earlier segment that has an edge to it.",
            "Which segment has the largest sum in a plan of least peak? Its values are candidates.",
            "Write a loop: for each name, make the graph without this size, and ask rv.solve for its least budget.",
        ),
    )


def _word(number: int) -> str:
    words = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    return words[number] if number < len(words) else str(number)
