"""Compare two graphs of one model, before and after a change of its code: what is new, what moved, what it costs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from recompviz.core.base.units import format_bytes, format_cost
from recompviz.core.graphs.matching import Matching, match_graphs
from recompviz.core.reports.html import escaped, table

if TYPE_CHECKING:
    from recompviz.core.graphs.graph import Graph
    from recompviz.core.planning.planner import Planner

MOST_ROWS = 30
# A change of the time by less than this share is noise of the calibration.
NOISE = 0.1
STATES = ("new", "gone", "moved", "changed")


@dataclass(frozen=True)
class NodeChange:
    """One value that differs between two graphs; frozen.

    Attributes
    ----------
    state : "new", "gone", "moved" or "changed"
        A moved value has another module path; a changed one has another shape, dtype or number of bytes.
    before, after : int
        The number of the value's node in the graph before and after the change; −1 if that graph does not have it.
    key : str
        The key of the node (module path and operator), ``"before → after"`` for a moved value.
    source : str
        The line of the user's code that computes the value: ``file:line``, a tab, and the text of the line. Empty if
        the line is not known.
    shapes : str
        Shape and dtype of the value, ``"before → after"`` if they changed.
    bytes_change : int
        The bytes of the value after the change, minus its bytes before. A graph without the value counts as 0 bytes.
    time_change : float
        The cost of the value after the change, minus its cost before, in the unit of the costs. If both graphs have the
        value, a difference of at most 10 % of the larger cost counts as 0.
    """

    state: str
    before: int
    after: int
    key: str
    source: str
    shapes: str
    bytes_change: int
    time_change: float


@dataclass(frozen=True, eq=False, repr=False)
class GraphComparison:
    """What differs between two graphs of one model; frozen. :func:`recompviz.compare_traces` makes it.

    Attributes
    ----------
    before, after : Graph
    matching : Matching
        Which node of one graph corresponds to which node of the other.
    rows : tuple of NodeChange
        The values that differ, in the running order of the graph after the change. A value that differs only in its
        cost has no row.
    peaks : (int, int)
        The peak of a training step that keeps every value, before and after the change, in total bytes.
    overheads : (float, float) or None
        The least recomputation found with which the training step fits ``total``, before and after the change. Infinite
        if no plan fits. None if ``total`` is None.
    total : int or None
        The largest number of bytes that the training step may take; None if no total was given.
    cost_unit : str
        The unit of all costs, as text.
    picture : str
        An SVG picture of both graphs in one; empty if there is none.
    """

    before: Graph
    after: Graph
    matching: Matching
    rows: tuple[NodeChange, ...]
    peaks: tuple[int, int]
    overheads: tuple[float, float] | None = None
    total: int | None = None
    cost_unit: str = "time units"
    picture: str = ""

    def of_state(self, state: str) -> tuple[NodeChange, ...]:
        """Return the rows of one state: ``"new"``, ``"gone"``, ``"moved"`` or ``"changed"``.

        ``ValueError`` is raised if there is no such state.
        """
        if state not in STATES:
            raise ValueError(f"no state {state!r} of a value; there are {', '.join(STATES)}")
        return tuple(row for row in self.rows if row.state == state)

    @property
    def bytes_change(self) -> int:
        """The bytes of all values after the change, minus the bytes of all values before."""
        return int(self.after.memory.sum()) - int(self.before.memory.sum())

    @property
    def time_change(self) -> float:
        """The cost of a forward pass after the change, minus its cost before, in :attr:`cost_unit`."""
        return float(self.after.time.sum()) - float(self.before.time.sum())

    @property
    def sentence(self) -> str:
        """A sentence with the number of values that differ, and the changes of the peak and of the forward cost.

        If :attr:`total` is not None, the sentence also has the least recomputation before and after.
        """
        counts = [f"{len(self.of_state(state))} {state}" for state in STATES if self.of_state(state)]
        what = ", ".join(counts) or "no value differs"
        forward = float(self.before.time.sum())
        share = f", {self.time_change / forward:+.1%}".replace("%", " %").replace("-", "−") if forward else ""
        text = (
            f"{what}: peak {format_bytes(self.peaks[0])} → {format_bytes(self.peaks[1])} "
            f"({_signed(self.peaks[1] - self.peaks[0])}), forward {_signed_cost(self.time_change)} "
            f"{self.cost_unit}{share}"
        )
        if self.overheads is not None and self.total is not None:
            told = " → ".join(_overhead(overhead, self.cost_unit) for overhead in self.overheads)
            text += f"; recomputed within {format_bytes(self.total)}: {told}"
        return text

    def __repr__(self) -> str:
        lines = [self.sentence]
        for row in self.rows[:MOST_ROWS]:
            sign = {"new": "+", "gone": "−", "moved": "↔", "changed": "Δ"}[row.state]
            place = _place_of(row.source)
            lines.append(
                f"  {sign} {row.key}  {row.shapes}  {_signed(row.bytes_change)}  "
                f"{_signed_cost(row.time_change)} {self.cost_unit}  {place}".rstrip()
            )
        if len(self.rows) > MOST_ROWS:
            lines.append(f"showing {MOST_ROWS} of {len(self.rows):,}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        head = ("", "value", "shape", "bytes", f"time, {self.cost_unit}", "line")
        rows: Iterable[tuple[str, ...]] = (
            (
                row.state,
                escaped(row.key),
                escaped(_together(row.shapes)),
                _together(_signed(row.bytes_change)),
                _signed_cost(row.time_change),
                escaped(_place_of(row.source)),
            )
            for row in self.rows[:MOST_ROWS]
        )
        return f"<p><b>{escaped(self.sentence)}</b></p>{self.picture}" + table(
            "Values that differ", head, rows, len(self.rows)
        )


def compare_planners(
    before: Planner, after: Planner, total: int | None = None, cost_unit: str = "time units"
) -> GraphComparison:
    """Compare the graphs of two planners.

    Parameters
    ----------
    before, after : Planner
    total : int, optional
        The largest number of bytes that the training step may take. If it is given, the comparison includes the least
        recomputation within this total, which needs two searches.
    cost_unit : str
        The unit of the costs as text, for example ``"ms"``.

    Examples
    --------
    >>> from recompviz.core.planning.planner import Planner
    >>> from recompviz.core.steps.examples import chain_step
    >>> found = compare_planners(Planner(*chain_step([4, 4])), Planner(*chain_step([4, 4, 8])))
    >>> [(row.state, row.bytes_change) for row in found.rows]
    [('new', 8)]
    """
    matching = match_graphs(before.graph, after.graph)
    rows = sorted(_rows(before.graph, after.graph, matching), key=lambda found: found[0])
    peaks = (before.simulate().peak, after.simulate().peak)
    overheads = None if total is None else (_least_overhead(before, total), _least_overhead(after, total))
    return GraphComparison(
        before.graph, after.graph, matching, tuple(row for _, row in rows), peaks, overheads, total, cost_unit
    )


def _least_overhead(planner: Planner, total: int) -> float:
    table_ = planner.plans("live")
    if total < table_.least_total:
        return float("inf")
    return planner.plan(total).overhead


def _rows(before: Graph, after: Graph, matching: Matching) -> Iterable[tuple[float, NodeChange]]:
    """Return every difference, with its place in the running order of the graph after the change."""
    place: dict[int, float] = {v: float(v) for v in matching.pairs.values()}
    last = -1.0
    for u in sorted([*matching.pairs, *matching.gone]):
        if u in matching.pairs:
            last = place[matching.pairs[u]]
        else:
            info = before.info[u]
            cost = (-int(before.memory[u]), -float(before.time[u]))
            key = info.key or str(before.names[u])
            yield last + 0.5, NodeChange("gone", u, -1, key, info.source, _shape(before, u), *cost)
    for v in matching.new:
        info = after.info[v]
        cost = (int(after.memory[v]), float(after.time[v]))
        key = info.key or str(after.names[v])
        yield float(v), NodeChange("new", -1, v, key, info.source, _shape(after, v), *cost)
    for u, v in matching.pairs.items():
        was, now = before.info[u], after.info[v]
        shapes = (_shape(before, u), _shape(after, v))
        size = int(after.memory[v]) - int(before.memory[u])
        state = "moved" if u in matching.moved else "changed" if size or shapes[0] != shapes[1] else ""
        if state:
            key = f"{was.key} → {now.key}" if state == "moved" else now.key or str(after.names[v])
            shape = shapes[1] if shapes[0] == shapes[1] else f"{shapes[0]} → {shapes[1]}"
            yield float(v), NodeChange(state, u, v, key, now.source, shape, size, _time_change(before, after, u, v))


def _time_change(before: Graph, after: Graph, u: int, v: int) -> float:
    change = float(after.time[v]) - float(before.time[u])
    return change if abs(change) > NOISE * max(float(before.time[u]), float(after.time[v])) else 0.0


def _shape(graph: Graph, v: int) -> str:
    info = graph.info[v]
    return " ".join(part for part in ("×".join(map(str, info.shape)), info.dtype) if part)


def _signed(size: int) -> str:
    return ("+" if size >= 0 else "−") + format_bytes(abs(size))


def _signed_cost(cost: float) -> str:
    return ("+" if cost >= 0 else "−") + format_cost(abs(cost))


def _overhead(overhead: float, unit: str) -> str:
    return "no plan fits" if overhead == float("inf") else f"{format_cost(overhead)} {unit}"


def _place_of(source: str) -> str:
    """The file and line of a source line, with at most one folder."""
    return "/".join(source.partition("\t")[0].replace("\\", "/").split("/")[-2:])


def _together(text: str) -> str:
    """Return a text that is not broken into lines."""
    return text.replace(" ", "\u00a0")
