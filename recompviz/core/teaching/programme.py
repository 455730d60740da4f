"""The two dynamic programmes, one table cell at a time, with everything each cell was made from.

Budget-free (every budget at once), from V back to ∅: R(L, t) is the least peak of the remaining sequence from L on at
remaining overhead t, measured above what is cached already:

    R(V, 0) = 0
    R(L, t) = min over L′ ⊋ L of  max( p(L, L′),  Δm(L, L′) + R(L′, t − T((L′∖L)∖∂(L′))) )

Per budget B, as the paper has it, from ∅ on: opt[L′, t] is the least M(U) at overhead t on the way to L′:

    opt[∅, 0] = 0
    opt[L′, t] = min over L ⊊ L′ of  opt[L, t − T((L′∖L)∖∂(L′))] + Δm(L, L′)   where  opt[L, …] + p(L, L′) ≤ B

with Δm(L, L′) = M(∂(L′)∖L) and p(L, L′) = 2M(L′∖L) + M(δ⁺(L′)∖L′) + M(δ⁻(δ⁺(L′))∖L′). Here every
reachable t has its cell, so that one table holds the time-centric and the memory-centric answer.

Source: Kusumoto et al. 2019, algorithm 1; the budget-free form is derived from it.
"""

from __future__ import annotations

from dataclasses import dataclass

from recompviz.core.exact.whole_times import whole_times
from recompviz.core.graphs.graph import Graph
from recompviz.core.plans.formula import inflow
from recompviz.core.plans.plan import Plan
from recompviz.core.teaching.sets import hasse

#: tables with more cells than this are not for stepping through
MOST_CELLS = 700

Place = tuple[int, float]  # a lower set as a mask, and an overhead


@dataclass(frozen=True)
class Choice:
    """One segment L → L′ that a cell may begin (budget-free) or end (per budget) with.

    Attributes
    ----------
    other : (int, float)
        The cell it needs: (L′, remaining t), or (L, t so far) in the per-budget form.
    needed : int
        That cell's value.
    p : int
        2M(L′∖L) + M(δ⁺(L′)∖L′) + M(δ⁻(δ⁺(L′))∖L′), formula bytes.
    delta_m : int
        M(∂(L′)∖L), formula bytes.
    extra_t : float
        T((L′∖L)∖∂(L′)).
    value : int
        What the cell would get by it.
    fits : bool
        Whether it obeys the budget; always in the budget-free form.
    """

    other: Place
    needed: int
    p: int
    delta_m: int
    extra_t: float
    value: int
    fits: bool = True


@dataclass(frozen=True)
class Cell:
    """A filled cell: where it is, what it was chosen from, which choice won (−1 for the first cell)."""

    place: Place
    choices: tuple[Choice, ...]
    best: int
    value: int


@dataclass(frozen=True, eq=False)
class Programme:
    """A whole table.

    Attributes
    ----------
    graph : Graph
    budget : int or None
        None for the budget-free form.
    sets : tuple of int
        The rows: lower sets as masks, in the order in which they are filled.
    times : tuple of float
        The columns that any row has a value in, rising.
    cells : tuple of Cell
        In the order in which they are filled; cells without a value are not among them.
    refused : tuple of Cell
        Per budget only: cells that had choices, none of which fits.
    """

    graph: Graph
    budget: int | None
    sets: tuple[int, ...]
    times: tuple[float, ...]
    cells: tuple[Cell, ...]
    refused: tuple[Cell, ...] = ()

    def cell(self, place: Place) -> Cell | None:
        """The filled cell at a place, if there is one."""
        return next((cell for cell in self.cells if cell.place == place), None)

    def walk(self, place: Place) -> tuple[Place, ...]:
        """The cells that an answer was made from, one after the other, itself first."""
        path = [place]
        while True:
            cell = self.cell(path[-1])
            if cell is None:
                raise ValueError(f"the table has no value at {path[-1]}")
            if cell.best < 0:
                return tuple(path)
            path.append(cell.choices[cell.best].other)

    def plan(self, place: Place) -> Plan:
        """The plan that an answer in the last row stands for."""
        masks = [mask for mask, _ in self.walk(place)]
        rising = masks if self.budget is None else masks[::-1]
        return Plan.from_masks(self.graph, rising[1:])

    @property
    def answers(self) -> tuple[Cell, ...]:
        """The last row, ∅ (budget-free) or V (per budget), by rising overhead."""
        return tuple(cell for cell in self.cells if cell.place[0] == self.sets[-1])

    @property
    def time_centric(self) -> tuple[Cell, ...]:
        """Answers that no other beats in both overhead and value, by rising overhead.

        Per budget it is the answer of least overhead alone.
        """
        if self.budget is not None:
            return self.answers[:1]
        found: list[Cell] = []
        for cell in self.answers:
            if not found or cell.value < found[-1].value:
                found.append(cell)
        return tuple(found)

    @property
    def memory_centric(self) -> tuple[Cell, ...]:
        """Answers of largest overhead for their value, by falling overhead; per budget the largest alone."""
        if self.budget is not None:
            return self.answers[-1:]
        found: list[Cell] = []
        for cell in reversed(self.answers):
            if not found or cell.value < found[-1].value:
                found.append(cell)
        return tuple(found)


def budget_free(graph: Graph) -> Programme:
    """The table R(L, t) for every budget at once.

    Raises
    ------
    TooManyLowerSets, ValueError
        If the table is too large to step through.

    Examples
    --------
    >>> table = budget_free(Graph.from_edges([("a", "b")], memory=dict(a=1, b=1)))
    >>> [(cell.place, cell.value) for cell in table.cells]
    [((3, 0.0), 0), ((1, 1.0), 2), ((0, 1.0), 3), ((0, 2.0), 4)]
    """
    return _fill(graph, None)


def per_budget(graph: Graph, budget: int) -> Programme:
    """The paper's table opt[L, t] for one budget in formula bytes.

    Examples
    --------
    >>> table = per_budget(Graph.from_edges([("a", "b")], memory=dict(a=1, b=1)), 3)
    >>> [(cell.place, cell.value) for cell in table.cells]
    [((0, 0.0), 0), ((1, 0.0), 1), ((3, 1.0), 1)]
    """
    return _fill(graph, budget)


def _fill(graph: Graph, budget: int | None) -> Programme:
    sets = hasse(graph).sets
    rows = sets[::-1] if budget is None else sets
    quanta, scale = whole_times(graph.time)
    whole = quanta.tolist()
    inflows = {mask: sum(inflow(graph, mask)) for mask in sets}
    boundaries = {mask: graph.boundary_mask(mask) for mask in sets}
    filled: dict[int, dict[int, int]] = {rows[0]: {0: 0}}
    cells = [Cell((rows[0], 0.0), (), -1, 0)]
    refused: list[Cell] = []

    def time_of(mask: int) -> int:
        return sum(t for v, t in enumerate(whole) if mask >> v & 1)

    for row in rows[1:]:
        options: dict[int, list[Choice]] = {}
        for other in rows:
            small, large = (row, other) if budget is None else (other, row)
            if small == large or small & ~large or other not in filled:
                continue
            part = large & ~small
            extra = time_of(part & ~boundaries[large])
            p = 2 * graph.memory_of(part) + inflows[large]
            delta_m = graph.memory_of(boundaries[large] & ~small)
            for t, needed in filled[other].items():
                value = max(p, delta_m + needed) if budget is None else needed + delta_m
                fits = budget is None or needed + p <= budget
                choice = Choice((other, t / scale), needed, p, delta_m, extra / scale, value, fits)
                options.setdefault(t + extra, []).append(choice)
        filled[row] = {}
        for t in sorted(options):
            choices = tuple(options[t])
            fitting = [i for i, choice in enumerate(choices) if choice.fits]
            if not fitting:
                refused.append(Cell((row, t / scale), choices, -1, -1))
                continue
            best = min(fitting, key=lambda i: choices[i].value)
            filled[row][t] = choices[best].value
            cells.append(Cell((row, t / scale), choices, best, choices[best].value))
        if len(cells) > MOST_CELLS:
            raise ValueError(
                f"the table has more than {MOST_CELLS} cells, too many to step through; take a smaller graph, or "
                "costs T that are small whole numbers"
            )
    times = sorted({cell.place[1] for cell in (*cells, *refused)})
    return Programme(graph, budget, rows, tuple(times), tuple(cells), tuple(refused))
