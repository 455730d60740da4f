"""The tables of two dynamic programmes. Each cell is a minimum over candidates, which are stored with the cell.

Budget-free (one table for all budgets), filled from V back to ∅: R(L, t) is the least peak of a sequence that continues
from L with remaining overhead t. Memory that is cached before L is not counted.

    R(V, 0) = 0
    R(L, t) = min over L′ ⊋ L of  max( p(L, L′),  Δm(L, L′) + R(L′, t − T((L′∖L)∖∂(L′))) )

Per budget B (the paper's form), filled from ∅ to V: opt[L′, t] is the least M(U) of a sequence from ∅ to L′ with
overhead t.

    opt[∅, 0] = 0
    opt[L′, t] = min over L ⊊ L′ of  opt[L, t − T((L′∖L)∖∂(L′))] + Δm(L, L′)   where  opt[L, …] + p(L, L′) ≤ B

M(S) and T(S) are the size and the cost of a set S of nodes, δ⁺(S) and δ⁻(S) its successors and predecessors. The
boundary ∂(L) consists of the nodes of L with a successor outside L. U is the union of the boundaries so far. Further,
Δm(L, L′) = M(∂(L′)∖L) and p(L, L′) = 2M(L′∖L) + M(δ⁺(L′)∖L′) + M(δ⁻(δ⁺(L′))∖L′).

A table has a cell for every overhead t that a sequence reaches, so it contains both the time-centric and the
memory-centric plans.

Source: Kusumoto et al. 2019, algorithm 1; the budget-free form is derived from it.
"""

from __future__ import annotations

from dataclasses import dataclass

from recompviz.core.exact.whole_times import whole_times
from recompviz.core.graphs.graph import Graph
from recompviz.core.plans.formula import inflow
from recompviz.core.plans.plan import Plan
from recompviz.core.teaching.sets import hasse

#: A larger table is too long to step through.
MOST_CELLS = 700

Place = tuple[int, float]  # a lower set as a bit mask, and an overhead


@dataclass(frozen=True)
class Transition:
    """A candidate for the value of a cell: a segment L′∖L, which connects the cell with another cell.

    The docstring of the module has the two recursions and their symbols. In the budget-free form, the cell belongs to
    L, and the other cell to L′. In the per-budget form, the cell belongs to L′, and the other cell to L.

    Attributes
    ----------
    other : (int, float)
        The place of the other cell: its lower set as a bit mask, and its overhead.
    needed : int
        The value of the other cell, in bytes.
    p : int
        2M(L′∖L) + M(δ⁺(L′)∖L′) + M(δ⁻(δ⁺(L′))∖L′), in bytes.
    delta_m : int
        M(∂(L′)∖L): the values that the segment keeps, in bytes.
    extra_t : float
        T((L′∖L)∖∂(L′)): the cost of the values that the segment recomputes.
    value : int
        The value that this candidate gives to the cell, in bytes.
    fits : bool
        Whether ``needed + p`` is at most the budget; always True in the budget-free form.
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
    """A cell of the table of a dynamic programme: the best value for one lower set and one overhead.

    Attributes
    ----------
    place : (int, float)
        The lower set L as a bit mask, and the overhead t.
    candidates : tuple of Transition
        One for each segment that may lead to the cell; empty for the first cell of the recursion.
    best : int
        Position in ``candidates`` of the candidate with the least value, among those that fit the budget; −1 if there
        is none.
    value : int
        The value of the cell, in bytes: R(L, t) or opt[L, t] of the module's docstring; −1 if no candidate fits.
    """

    place: Place
    candidates: tuple[Transition, ...]
    best: int
    value: int


@dataclass(frozen=True, eq=False)
class Programme:
    """The filled table of a dynamic programme.

    Attributes
    ----------
    graph : Graph
    budget : int or None
        The budget in bytes for the peak by the paper's formula; None for the budget-free form.
    sets : tuple of int
        The rows: all lower sets as bit masks, in the order in which they are filled.
    times : tuple of float
        The columns: every overhead t at which some row has a cell, increasing.
    cells : tuple of Cell
        The cells with a value, in the order in which they are filled.
    infeasible : tuple of Cell
        The cells whose candidates all exceed the budget; empty in the budget-free form.
    """

    graph: Graph
    budget: int | None
    sets: tuple[int, ...]
    times: tuple[float, ...]
    cells: tuple[Cell, ...]
    infeasible: tuple[Cell, ...] = ()

    def cell(self, place: Place) -> Cell | None:
        """Return the cell at ``place``, a pair (lower set as a bit mask, overhead); None if there is no value."""
        return next((cell for cell in self.cells if cell.place == place), None)

    def walk(self, place: Place) -> tuple[Place, ...]:
        """Follow the best candidates from the cell at ``place`` to the first cell of the recursion.

        The result has the places of all cells on the way, both ends included.

        Raises
        ------
        ValueError
            If the table has no value at ``place``.
        """
        path = [place]
        while True:
            cell = self.cell(path[-1])
            if cell is None:
                raise ValueError(f"the table has no value at {path[-1]}")
            if cell.best < 0:
                return tuple(path)
            path.append(cell.candidates[cell.best].other)

    def plan(self, place: Place) -> Plan:
        """Return the plan of a cell of the last row.

        Parameters
        ----------
        place : (int, float)
            The place of one of :attr:`answers`.

        Raises
        ------
        ValueError
            If the table has no value at ``place``.
        """
        masks = [mask for mask, _ in self.walk(place)]
        rising = masks if self.budget is None else masks[::-1]
        return Plan.from_masks(self.graph, rising[1:])

    @property
    def answers(self) -> tuple[Cell, ...]:
        """The cells of the last row by increasing overhead. Each has one complete plan.

        The last row belongs to ∅ in the budget-free form, and to V in the per-budget form.
        """
        return tuple(cell for cell in self.cells if cell.place[0] == self.sets[-1])

    @property
    def time_centric(self) -> tuple[Cell, ...]:
        """The cells of the plans that have the least overhead under some budget, by increasing overhead.

        A cell of the last row is left out if another cell has less overhead and at most the same peak. In the
        per-budget form, only the cell of least overhead remains. The result is empty if no sequence fits.
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
        """The cells of the plans that have the largest overhead under some budget, by decreasing overhead.

        A cell of the last row is left out if another cell has more overhead and at most the same peak. In the
        per-budget form, only the cell of largest overhead remains. The result is empty if no sequence fits.
        """
        if self.budget is not None:
            return self.answers[-1:]
        found: list[Cell] = []
        for cell in reversed(self.answers):
            if not found or cell.value < found[-1].value:
                found.append(cell)
        return tuple(found)


def budget_free(graph: Graph) -> Programme:
    """Fill the table R(L, t): the least peak of a continuation of the lower set L by segments of overhead t.

    The peak does not count the values that are kept from before L. The table serves every budget.

    Parameters
    ----------
    graph : Graph
        A graph with at most 80 lower sets.

    Returns
    -------
    Programme

    Raises
    ------
    TooManyLowerSets
        If the graph has more than 80 lower sets.
    ValueError
        If the table has more than 700 cells.

    Examples
    --------
    >>> table = budget_free(Graph.from_edges([("a", "b")], memory=dict(a=1, b=1)))
    >>> [(cell.place, cell.value) for cell in table.cells]
    [((3, 0.0), 0), ((1, 1.0), 2), ((0, 1.0), 3), ((0, 2.0), 4)]
    """
    return _fill(graph, None)


def per_budget(graph: Graph, budget: int) -> Programme:
    """Fill the paper's table opt[L, t]: the least bytes that a sequence up to the lower set L with overhead t keeps.

    The table is filled from sequences whose peak, by the paper's formula, is at most the budget. If no sequence of the
    whole graph fits, the last row of the table has no value.

    Parameters
    ----------
    graph : Graph
        A graph with at most 80 lower sets.
    budget : int
        In bytes of intermediate values and their gradients.

    Returns
    -------
    Programme

    Raises
    ------
    TooManyLowerSets
        If the graph has more than 80 lower sets.
    ValueError
        If the table has more than 700 cells.

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
    infeasible: list[Cell] = []

    def time_of(mask: int) -> int:
        return sum(t for v, t in enumerate(whole) if mask >> v & 1)

    for row in rows[1:]:
        options: dict[int, list[Transition]] = {}
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
                candidate = Transition((other, t / scale), needed, p, delta_m, extra / scale, value, fits)
                options.setdefault(t + extra, []).append(candidate)
        filled[row] = {}
        for t in sorted(options):
            candidates = tuple(options[t])
            fitting = [i for i, candidate in enumerate(candidates) if candidate.fits]
            if not fitting:
                infeasible.append(Cell((row, t / scale), candidates, -1, -1))
                continue
            best = min(fitting, key=lambda i: candidates[i].value)
            filled[row][t] = candidates[best].value
            cells.append(Cell((row, t / scale), candidates, best, candidates[best].value))
        if len(cells) > MOST_CELLS:
            raise ValueError(
                f"the table has more than {MOST_CELLS} cells, too many to step through; use a smaller graph, or costs "
                "T that are small integers"
            )
    times = sorted({cell.place[1] for cell in (*cells, *infeasible)})
    return Programme(graph, budget, rows, tuple(times), tuple(cells), tuple(infeasible))
