"""What the prose of the course claims, checked by definitions and enumeration. Every number in it has a check here.

A check is found by a fragment of the text. If a text changes, its check must change with it: a fragment that is gone
is an error, and so is a number that no fragment contains. Numbers that a cell prints are checked with the cell.
"""

from __future__ import annotations

import ast
import inspect
import json
import math
import random
import re
from collections.abc import Callable
from functools import cache
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import pytest

import recompviz as rv
from recompviz.core.teaching import small_graphs
from recompviz.core.teaching.judges import even_chain_least_peak
from recompviz.core.teaching.small_graphs import NAMES, even_chain, small_graph
from recompviz.core.teaching.strategy import canonical_strategy, keep_all_states
from recompviz.core.teaching.varied_graphs import random_graph
from tests.core.test_oracle import cost_by_definition, sequences

NOTEBOOKS = {path.stem[0]: path for path in sorted((Path(rv.__file__).parent.parent / "notebooks").glob("[0-9]-*"))}
Names = frozenset[object]


@cache
def cells(stem: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(NOTEBOOKS[stem].read_text(encoding="utf-8"))["cells"]
    return found


def prose(stem: str) -> str:
    return "\n\n".join("".join(cell["source"]) for cell in cells(stem) if cell["cell_type"] == "markdown")


# --------------------------------------------------------------------------------- definitions, taken literally


def lower_sets(graph: rv.Graph) -> list[Names]:
    """Every set that no edge enters, by trying all subsets."""
    edges = [(graph.names[u], graph.names[v]) for u, v in graph.edges.tolist()]
    subsets = [frozenset(nodes) for size in range(len(graph) + 1) for nodes in combinations(graph.names, size)]
    return [nodes for nodes in subsets if all(u in nodes for u, v in edges if v in nodes)]


def boundary(graph: rv.Graph, lower: Names) -> Names:
    edges = [(graph.names[u], graph.names[v]) for u, v in graph.edges.tolist()]
    return frozenset(u for u, v in edges if u in lower and v not in lower)


@cache
def costs(name: str) -> list[tuple[float, int, Names]]:
    """(overhead, peak, recomputed values) of every sequence of a small graph."""
    graph = small_graph(name)
    found = []
    for sequence in sequences(graph):
        kept = frozenset().union(*(boundary(graph, lower) for lower in sequence))
        found.append((*cost_by_definition(graph, sequence), frozenset(graph.names) - kept))
    return found


def least_peak(name: str) -> int:
    return min(peak for _, peak, _ in costs(name))


def optimal(name: str, budget: int) -> list[Names]:
    """The recomputed values of every plan of least overhead under a budget."""
    least = min(t for t, peak, _ in costs(name) if peak <= budget)
    return [recomputed for t, peak, recomputed in costs(name) if peak <= budget and t == least]


def random_graphs() -> list[rv.Graph]:
    return [random_graph(random.Random(seed)) for seed in range(40)]


# --------------------------------------------------------------------------------- notebook 0


def block_has_thirteen_values() -> None:
    assert len(small_graph("transformer block")) == 13


def strips_of_three_segments() -> None:
    order = [str(name) for name in small_graph("transformer block").names]
    lengths = [len(order) * i // 3 for i in range(4)]
    assert {end - start for start, end in pairwise(lengths)} <= {4, 5}
    assert math.isqrt(13) == 3
    thirds = [frozenset(order[:end]) for end in lengths[1:]]
    overhead, peak = cost_by_definition(small_graph("transformer block"), thirds)  # type: ignore[arg-type]
    total = float(small_graph("transformer block").time.sum())
    assert overhead / total > 0.5  # "most of the forward pass"
    least = least_peak("transformer block")
    assert least < peak
    assert round(5 * min(t for t, p, _ in costs("transformer block") if p == least) / total) == 1  # "a fifth"
    shown = rv.memory_strips("transformer block").caption()
    assert f"3 segments of equal length: peak {peak}," in shown
    assert f"Least peak: peak {least}," in shown


def peaks_if_freed_at_last_use() -> None:
    block = small_graph("transformer block")
    keep = max(state.live_until_last_use for state in keep_all_states(block))
    thirds = [block.names[: 13 * i // 3] for i in (1, 2, 3)]
    rest = [rv.Plan.from_lower_sets(block, thirds), rv.solve(block, "all").plan(least_peak("transformer block"))]
    assert [keep, *(canonical_strategy(plan).peak_with_liveness for plan in rest)] == [32, 25, 23]
    assert re.findall(r"or (\d+) if", rv.memory_strips("transformer block").caption()) == ["32", "25", "23"]


def diamond_has_seven_lower_sets() -> None:
    assert len(lower_sets(small_graph("diamond"))) == 7


def inception_is_stopped_inside_two_branches() -> None:
    assert [nodes for nodes in ("bg", "cdg", "efg") if 0 < len(set(nodes[:-1]) & set("bce")) < len(nodes[:-1])] == [
        "cdg",
        "efg",
    ]


def segment_two_of_the_diamond() -> None:
    terms = rv.Plan.from_lower_sets(small_graph("diamond"), ["ab", "abcd", "abcde"]).terms[1]
    assert (terms.cache, terms.segment, terms.gradients, terms.needed, terms.total) == (3, 4, 3, 0, 10)


def a_chain_has_one_lower_set_more() -> None:
    assert [len(lower_sets(even_chain(n))) for n in range(1, 9)] == list(range(2, 10))


def fourteen_exercises() -> None:
    assert len(rv.exercises()) == 14


def what_the_block_recomputes() -> None:
    block = small_graph("transformer block")
    size, cost = (dict(zip(block.names, column.tolist(), strict=True)) for column in (block.memory, block.time))
    assert (size["g"], cost["g"]) == (size["p"], cost["p"])
    every = costs("transformer block")
    points = {(t, min(peak for u, peak, _ in every if u <= t)) for t, _, _ in every}
    order = []
    for budget in sorted({peak for _, peak in points}, reverse=True):
        found = set(optimal("transformer block", budget))
        assert all("y" in recomputed for recomputed in found)  # in no boundary
        assert not any("g" in recomputed for recomputed in found)
        order.append(found)
    assert order[0] == {frozenset("y")}
    assert order[1] == {frozenset("py")}
    for found in order[2:]:
        assert all("p" in recomputed for recomputed in found)
    assert all("s" in recomputed for recomputed in order[-1])


# --------------------------------------------------------------------------------- notebook 1


def inception_has_twenty_lower_sets() -> None:
    found = lower_sets(small_graph("inception"))
    assert len(found) == 20
    assert sum("a" in lower and "g" not in lower for lower in found) == 2 * 3 * 3 == 18
    assert [len(lower_sets(even_chain(n))) for n in (1, 2, 2)] == [2, 3, 3]


def unions_and_intersections_are_lower_sets() -> None:
    for graph in random_graphs():
        found = set(lower_sets(graph))
        assert {a | b for a in found for b in found} == {a & b for a in found for b in found} == found


def the_picture_has_three_segments() -> None:
    assert len(rv.Plan.from_lower_sets(small_graph("inception"), ["a", "abce", "abcdefg"]).masks) == 3


def boundaries_of_the_diamond() -> None:
    diamond = small_graph("diamond")
    assert boundary(diamond, frozenset("abc")) == set("bc")
    assert boundary(diamond, frozenset("ab")) == set("ab")
    assert boundary(diamond, frozenset("abcde")) == set()


# --------------------------------------------------------------------------------- notebook 2


def the_least_overhead_is_the_cost_of_the_sinks() -> None:
    for name in ("diamond", "branches", "inception"):
        graph = small_graph(name)
        sinks = [v for v in range(len(graph)) if v not in graph.edges[:, 0]]
        assert min(t for t, _, _ in costs(name)) == graph.time[sinks].sum() > 0
    free = rv.Graph.from_edges([("a", "b")], memory={"a": 1, "b": 1}, time={"a": 1, "b": 0})
    assert min(cost_by_definition(free, sequence)[0] for sequence in sequences(free)) == 0


def the_uneven_chain_under_74() -> None:
    graph = small_graph("uneven chain")
    plans = [rv.Plan.from_lower_sets(graph, sequence) for sequence in sequences(graph)]
    fitting = [plan for plan in plans if plan.peak <= 74]
    live = {plan: canonical_strategy(plan).peak_with_liveness for plan in fitting}
    least, most = min(plan.overhead for plan in fitting), max(plan.overhead for plan in fitting)
    assert {live[plan] for plan in fitting if plan.overhead == least} == {63}
    assert min(live[plan] for plan in fitting if plan.overhead == most) == 56
    curve = rv.solve(graph, "all")
    assert [canonical_strategy(curve.plan(74, kind)).peak_with_liveness for kind in ("time", "memory")] == [63, 56]
    assert min(live[plan] for plan in fitting if plan.overhead == 2) == 56


def more_recomputation_is_no_theorem() -> None:
    """Under one budget, the memory-centric plan needs less with liveness analysis in some graphs, more in others."""
    signs = set()
    for graph in random_graphs():
        curve = rv.solve(graph, "all")
        for budget in curve.memory_centric.peaks.tolist():
            time, memory = (canonical_strategy(curve.plan(budget, kind)) for kind in ("time", "memory"))
            difference = memory.peak_with_liveness - time.peak_with_liveness
            signs.add((difference > 0) - (difference < 0))
    assert signs == {-1, 0, 1}


# --------------------------------------------------------------------------------- notebook 3


def numbers_of_sequences() -> None:
    assert len(costs("diamond")) == 24
    assert sum(1 for _ in sequences(even_chain(9))) == 2**8 == 256


def the_cache_is_not_counted_twice() -> None:
    for graph in random_graphs():
        found = lower_sets(graph)
        assert all(
            boundary(graph, large) & small <= boundary(graph, small)
            for small in found
            for large in found
            if small < large
        )


def the_family_of_closures_is_small() -> None:
    for graph in random_graphs():
        closures = {frozenset(), frozenset(graph.names), *(frozenset(graph.closure({v})) for v in graph.names)}
        assert rv.solve(graph, "paper").lower_set_count == len(closures) <= len(graph) + 2


# --------------------------------------------------------------------------------- notebook 4


def segments_of_an_even_chain() -> None:
    for lengths in ((3, 2, 1), (1, 1), (4,), (2, 5, 2, 1)):
        names = [f"v{i}" for i in range(1, sum(lengths) + 1)]
        ends = [sum(lengths[: i + 1]) for i in range(len(lengths))]
        terms = rv.Plan.from_lower_sets(even_chain(len(names)), [names[:end] for end in ends]).terms
        k = len(lengths)
        needs = [(i - 1) + 2 * s + (i < k) for i, s in enumerate(lengths, start=1)]
        assert [term.total for term in terms] == needs


def equal_segments(n: int, k: int) -> int:
    names = even_chain(n).names
    return rv.Plan.from_lower_sets(even_chain(n), [names[: n * i // k] for i in range(1, k + 1)]).peak


def the_table_of_even_chains() -> None:
    for root in range(2, 7):
        n = root * root
        assert rv.solve(even_chain(n), "all").least_budget == even_chain_least_peak(n) == 2 * root + 1
        assert equal_segments(n, root) == 3 * root - 1
        assert (3 * root - 1) / (2 * root + 1) < 1.5
    for half in range(2, 7):  # n = 2 half²: the best number of equal segments is √(2n) = 2 half
        n = 2 * half * half
        peaks = {k: equal_segments(n, k) for k in range(1, n + 1) if n % k == 0}
        assert min(peaks.values()) == peaks[2 * half] == 4 * half - 1 == round(2 * math.sqrt(2 * n) - 1)


def three_segments_of_the_uneven_chain() -> None:
    thirds = [frozenset(names) for names in ("abc", "abcdef", "abcdefghi")]
    overhead, peak = cost_by_definition(small_graph("uneven chain"), thirds)  # type: ignore[arg-type]
    assert any(t < overhead and p < peak for t, p, _ in costs("uneven chain"))
    assert "first ones are large" in prose("4")
    assert small_graph("uneven chain").memory.tolist() == sorted(small_graph("uneven chain").memory.tolist())[::-1]


def closures_follow_one_branch() -> None:
    graph = small_graph("branches")
    both = frozenset("abcdefg")
    assert both in lower_sets(graph)
    closures = [graph.closure({v}) for v in "abcdefg"]
    assert not any(set("bcd") & closure and set("efg") & closure for closure in map(set, closures))
    wide, narrow = (rv.solve(graph, family) for family in ("prefixes", "paper"))
    assert wide.lower_set_count > narrow.lower_set_count
    assert wide.time_centric.overheads[0] < narrow.time_centric.overheads[0]
    assert not any(set("dg") <= plan.keep for plan in map(narrow.plan_at, range(len(narrow.time_centric))))


def the_long_skip_is_in_every_boundary() -> None:
    graph = small_graph("long skip")
    between = [lower for lower in lower_sets(graph) if lower and "h" not in lower]
    assert between
    assert all("a" in boundary(graph, lower) for lower in between)
    assert least_peak("long skip") == 33


def the_block_has_fourteen_lower_sets() -> None:
    assert len(lower_sets(small_graph("transformer block"))) == 14


Check = Callable[[], None]
CLAIMS: dict[str, dict[str, Check]] = {
    "0": {
        "one transformer block, thirteen values": block_has_thirteen_values,
        "Middle: three segments of equal length, the usual √n rule. It recomputes most of": strips_of_three_segments,
        "recomputes a fifth of the forward pass": strips_of_three_segments,
        "its peaks are 32, 25 and 23": peaks_if_freed_at_last_use,
        "which of the thirteen values": block_has_thirteen_values,
        "(there are 7)": diamond_has_seven_lower_sets,
        "Three branches, stopped in the middle of two of them": inception_is_stopped_inside_two_branches,
        "compute segment 2 on paper (3 + 4 + 3 + 0 = 10)": segment_two_of_the_diamond,
        "a chain of $n$ values has $n + 1$": a_chain_has_one_lower_set_more,
        "Thirteen values: the block's input": block_has_thirteen_values,
        "The softmax $p$ is recomputed first": what_the_block_recomputes,
        "The GELU $g$ is as large and as cheap": what_the_block_recomputes,
        "At the least peak the scores $s$ follow": what_the_block_recomputes,
        "lists fourteen exercises": fourteen_exercises,
    },
    "1": {
        "Blue marks its boundary $\\{b, c\\}$": boundaries_of_the_diamond,
        "unions and intersections of lower sets are lower sets": unions_and_intersections_are_lower_sets,
        "A chain of $n$ values has only $n + 1$ lower sets": a_chain_has_one_lower_set_more,
        "three branches of 1, 2 and 2 values": inception_has_twenty_lower_sets,
        "$2 \\cdot 3 \\cdot 3 = 18$ lower sets": inception_has_twenty_lower_sets,
        "that makes 20": inception_has_twenty_lower_sets,
        "a sequence of three segments": the_picture_has_three_segments,
    },
    "2": {
        "it is 0 only if the sinks cost nothing": the_least_overhead_is_the_cost_of_the_sinks,
        "Both plans below fit a budget of 74": the_uneven_chain_under_74,
        "the time-centric plan needs 63 bytes, and the memory-centric plan 56": the_uneven_chain_under_74,
        "a plan of overhead 2 also reaches 56": the_uneven_chain_under_74,
        "This is a rule of thumb, not a theorem": more_recomputation_is_no_theorem,
    },
    "3": {
        "the diamond has 24, a chain of 9 values has 256": numbers_of_sequences,
        "So the member is in $\\partial(L)$": the_cache_is_not_counted_twice,
        "at most $\\#V + 2$ rows": the_family_of_closures_is_small,
    },
    "4": {
        "(size 1) it has the right order: at most 1.5 times the optimum": the_table_of_even_chains,
        "segment $i < k$ needs $(i - 1) + 2 s_i + 1$ and the last one $(k - 1) + 2 s_k$": segments_of_an_even_chain,
        "the least peak in the table below is $2\\sqrt n + 1$": the_table_of_even_chains,
        "equal segments need $3\\sqrt n - 1$": the_table_of_even_chains,
        "about $\\sqrt{2n}$, needs about $2\\sqrt{2n} - 1$": the_table_of_even_chains,
        "Three segments of three values recompute more *and* take more memory": three_segments_of_the_uneven_chain,
        "every $L^v$ follows one branch only": closures_follow_one_branch,
        "the early value is in the boundary of *every* lower set between": the_long_skip_is_in_every_boundary,
        "with thirteen values": block_has_thirteen_values,
        "it has 14 lower sets": the_block_has_fourteen_lower_sets,
        "the softmax $p$ is recomputed first": what_the_block_recomputes,
        "at the least peak the scores $s$": what_the_block_recomputes,
    },
}


@pytest.mark.parametrize("check", sorted({c for s in CLAIMS.values() for c in s.values()}, key=lambda c: c.__name__))
def test_a_claim_of_the_prose_is_true(check: Check) -> None:
    check()


@pytest.mark.parametrize("stem", sorted(CLAIMS))
def test_every_checked_claim_is_still_in_the_prose(stem: str) -> None:
    text = " ".join(prose(stem).split())
    assert [fragment for fragment in CLAIMS[stem] if fragment not in text] == []


# numbers that claim nothing: names of notebooks, of exercises and of a network, minutes, years, links, code
NO_CLAIM = re.compile(
    r"(?m)^#+ \d.*$|\]\([^)]*\)|```.*?```|`[^`]*`|\[\d[^\]]*\]|(?i:notebooks?) \d|Minutes \d+ to \d+|et al\.\s+2019"
    r"|ResNet-50",
    re.DOTALL,
)
FORMULA = re.compile(r"\$\$.*?\$\$|\$[^$]*\$", re.DOTALL)
NUMBER = re.compile(r"\d+|\b(thirteen|fourteen|fifth|half|twice|most of the forward)\b", re.IGNORECASE)


@pytest.mark.parametrize("stem", sorted(CLAIMS))
def test_every_number_in_the_prose_has_a_check(stem: str) -> None:
    text = " ".join(NO_CLAIM.sub(" ", prose(stem)).split())
    for fragment in CLAIMS[stem]:
        text = text.replace(fragment, " ")
    # a formula claims a number if it has one of two digits; others are definitions
    text = FORMULA.sub(lambda found: found[0] if re.search(r"\d\d", found[0]) else " ", text)
    assert [text[max(0, m.start() - 40) : m.end() + 20] for m in NUMBER.finditer(text)] == []


def test_sizes_are_compared_with_numbers() -> None:
    for stem in NOTEBOOKS:
        assert not re.search(r"\b(far|much) (less|more|above|below|larger|smaller)\b", prose(stem)), stem


# --------------------------------------------------------------------------------- the cells


@pytest.mark.parametrize("stem", sorted(CLAIMS))
def test_no_widget_is_shown_by_two_cells(stem: str) -> None:
    """A widget has one state: a click in one cell would change the other, too."""
    shown: list[str] = []
    for cell in cells(stem):
        if cell["cell_type"] == "code":
            last = ast.parse("".join(cell["source"])).body[-1]
            if isinstance(last, ast.Expr) and isinstance(last.value, ast.Name):
                shown.append(last.value.id)
    assert len(shown) == len(set(shown))


@pytest.mark.parametrize("stem", sorted(CLAIMS))
def test_no_cell_gives_an_answer_away(stem: str) -> None:
    """Cells with a check have a wrong answer, and no stepper before or after shows a right sequence."""
    names: dict[str, Any] = {}
    right: list[str] = []
    for cell in cells(stem):
        source = "".join(cell["source"])
        if cell["cell_type"] != "code":
            continue
        if "import torch" in source:
            break
        *lines, last = ast.parse(source).body
        exec(compile(ast.Module(lines, []), "cell", "exec"), names)
        if not isinstance(last, ast.Expr):
            exec(compile(ast.Module([last], []), "cell", "exec"), names)
            continue
        value = eval(compile(ast.Expression(last.value), "cell", "eval"), names)
        if ".check(" in source and value.right:
            right.append(source)
        for plan in [names[name] for name in names if isinstance(names[name], rv.Plan)]:
            right += [f"{source}: {e}" for e in rv.exercises() if plan.graph.same_as(e.graph) and e.check(plan).right]
    assert right == []


def test_the_course_opens_with_memory_over_a_step() -> None:
    for stem in "01":
        first = next(cell for cell in cells(stem) if cell["cell_type"] == "code")
        assert "rv.memory_strips" in "".join(first["source"])
        assert any("image/png" in output.get("data", {}) for output in first["outputs"])


def test_formula_bytes_are_defined_where_they_are_first_used() -> None:
    text = "\n".join(map(prose, sorted(NOTEBOOKS)))
    assert text.index("formula bytes") == text.index("*formula bytes*: they count") + 1


def test_sizes_and_costs_of_the_small_graphs_are_as_their_docstring_says() -> None:
    graphs = [small_graph(name) for name in NAMES]
    sizes = {int(size) for graph in graphs for size in graph.memory}
    times = {float(time) for graph in graphs for time in graph.time}
    assert "Sizes M_v are integers from 1 to 16, in bytes. Costs T_v are integers from 1 to 5." in str(
        small_graphs.__doc__
    )
    assert (min(sizes), max(sizes)) == (1, 16)
    assert times == {1, 2, 3, 4, 5}


def test_only_calls_that_take_a_device_are_shown_with_one() -> None:
    text = prose("4")
    called = re.findall(r"rv\.(\w+)\([^`]*?device=", text)
    assert called == ["trace"]
    assert all("device" in inspect.signature(getattr(rv, name)).parameters for name in called)


def test_the_table_s_columns_are_named_by_what_remains() -> None:
    first, second = rv.step_programme("diamond").scenes
    assert any("columns: remaining overhead t" in element.text for element in first.elements)
    assert any("columns: overhead so far t" in element.text for element in second.elements)


def test_the_lecture_takes_forty_minutes_and_each_slide_has_notes() -> None:
    start, spoken, kinds = 0, 0, []
    for cell in cells("0"):
        kind = cell["metadata"]["slideshow"]["slide_type"]
        text = "".join(cell["source"])
        kinds.append(kind)
        if cell["cell_type"] == "markdown":
            spoken += len(re.findall(r"[\w']+", text))
        if kind == "notes":
            found = re.match(r"\*\*Minutes (\d+) to (\d+)\.\*\*", text)
            assert found is not None
            assert int(found[1]) == start
            start = int(found[2])
            assert spoken / 130 + 1 < start - int(found[1])  # 130 words a minute, and time for questions
            spoken = 0
    assert start == 40
    assert kinds.count("notes") == 8
    assert kinds.count("slide") == 9  # the last one is for exercises


def test_the_real_block_saves_memory_and_recomputes_less_than_a_checkpoint_per_block() -> None:
    texts = ["".join(out.get("text", "")) for cell in cells("4") for out in cell.get("outputs", [])]
    table = next(text for text in texts if "plan for the same peak" in text)
    rows = re.findall(r"simulated ([\d.]+) MiB, measured ([\d.]+) MiB, recomputes (\d+)%", table)
    keep, per_block, plan = [tuple(map(float, row)) for row in rows]
    assert all(simulated == pytest.approx(measured, rel=0.01) for simulated, measured, _ in (keep, per_block, plan))
    assert plan[1] <= 0.6 * keep[1]  # at least 40 % less
    assert plan[1] <= per_block[1]
    assert plan[2] < per_block[2]
