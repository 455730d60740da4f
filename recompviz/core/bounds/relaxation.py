"""A linear program whose value is a lower bound on the recomputation of every strategy in the traced order.

Some backward calls are chosen as *points*. Point 0 is the start of the backward pass. Interval k has the backward
calls after point k − 1, up to and including the call of point k. The last interval has the calls after the last point.
The *fixed bytes* of a call are the bytes that every strategy holds while the call runs. The variables of the program
take values from 0 to 1:

*present*   Storage s is in memory while the call of point k runs.
*again*     Call c runs again in interval k, before the last call of the interval.

Each strategy gives values of 0 and 1 that fulfil these constraints, so that the least cost is a lower bound:

- A storage present at a point was present at the point before, or its maker runs again in the interval between. Its
  maker is the call that allocates it.
- A storage that a backward call of an interval reads was present at the point before the interval, or its maker runs
  again in the interval.
- The same holds for a storage that a forward call reads when it runs again in the interval.
- At each point, and at some forward calls, the fixed bytes and the bytes present fit in the budget.

With variables of only 0 and 1, the bound is larger. How the program is solved is explained in
:mod:`recompviz.core.bounds.memory_program`. States of the random generator, and memory while a call runs again, are not
counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from recompviz.core.bounds.memory_program import MemoryProgram, largest_of_parts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recompviz.core.bounds.uses import Uses


class Relaxation(MemoryProgram):
    """The linear program of one training step. Budgets are in transient bytes. The class needs scipy.

    Parameters
    ----------
    uses : Uses
    most_points : int
        The largest number of backward calls, and of forward calls, at which memory is counted. More points usually give
        a larger bound, and take longer.
    """

    def __init__(self, uses: Uses, most_points: int) -> None:
        joint = uses.joint
        super().__init__(float(max(joint.allocated.sum(), 1)), float(uses.graph.time.sum()) or 1.0)
        self._uses = uses
        forward = joint.forward_count
        self.points = [forward - 1, *largest_of_parts(uses.fixed, forward, len(joint.calls), most_points)]
        self.interval = np.searchsorted(self.points, np.arange(len(joint.calls)))
        self._constrain(most_points)

    # ------------------------------------------------------------ variables

    def _present(self, s: int, k: int) -> int:
        """Return the column of *present*; −1 if the storage is present under every strategy."""
        uses, at = self._uses, self.points[k]
        if not uses.optional[s] or (k > 0 and at in uses.readers[s]):
            return -1
        return self._column("present", s, k)

    def _again(self, c: int, k: int) -> int:
        """Return the column of *again*; −1 if the call never runs again in the interval."""
        call = self._uses.joint.calls[c]
        if call.pinned:
            return -1
        if max((self._uses.last_need[s] for s in call.makes), default=-1) <= self.points[k - 1]:
            return -1
        return self._column("again", c, k)

    def interval_of(self, call: int) -> int:
        """Return the number of the interval that contains a backward call.

        The call of point k is the last call of interval k.
        """
        return int(self.interval[call]) if call < len(self.interval) else len(self.points)

    def runs(self, solution: NDArray[np.float64]) -> dict[int, list[int]]:
        """Return the forward calls that a solution runs again, by the last backward call of their interval.

        The calls run again just before that backward call. Intervals in which no call runs again are left out.
        """
        runs: dict[int, list[int]] = {}
        last = [*self.points, len(self.interval) - 1]
        for (kind, c, k), column in sorted(self._columns_of.items()):
            if kind == "again" and solution[column] > 0.5:
                runs.setdefault(last[k], []).append(c)
        return runs

    # ------------------------------------------------------------ constraints

    def _source(self, s: int, k: int) -> list[tuple[int, float]] | None:
        """Return terms whose sum is at most −1 if s can be read in interval k; None if it can be in every case."""
        before = self._present(s, k - 1)
        if before < 0:
            return None
        return [(before, -1.0), (self._again(self._uses.joint.storages[s].maker, k), -1.0)]

    def _constrain(self, most_points: int) -> None:
        uses, joint, points = self._uses, self._uses.joint, self.points
        calls, forward, intervals = joint.calls, joint.forward_count, len(self.points)
        optional = np.flatnonzero(uses.optional & (uses.last_need >= 0)).tolist()
        for s in optional:
            direct = {self.interval_of(c) for c in uses.readers[s] if c >= forward}
            for k in range(1, intervals + 1):
                if points[k - 1] >= uses.last_need[s]:
                    break
                source = self._source(s, k)
                if source is None:
                    continue
                if k in direct:
                    self._row(source, -1.0)
                elif k < intervals and uses.last_need[s] > points[k]:
                    self._row([(self._present(s, k), 1.0), *source], 0.0)
        for c in range(forward):
            again = [(k, self._again(c, k)) for k in range(1, intervals + 1)]
            again = [(k, column) for k, column in again if column >= 0]
            for k, column in again:
                for s in calls[c].reads:
                    if uses.optional[s] and (source := self._source(s, k)):
                        self._row([(column, 1.0), *source], 0.0)
        self._count_memory(optional, most_points)
        self._count_costs(intervals)
        self._assemble()

    def _count_memory(self, optional: list[int], most_points: int) -> None:
        uses, joint, size = self._uses, self._uses.joint, self._uses.joint.allocated
        forward = joint.forward_count
        for k, at in enumerate(self.points[1:], 1):
            terms, fixed = [], int(uses.fixed[at])
            for s in optional:
                if uses.last_need[s] > at and at not in uses.readers[s]:
                    column = self._present(s, k)
                    fixed += int(size[s]) if column < 0 else 0
                    terms.append((column, float(size[s])))
            self._memory_row(terms, fixed)
        last_read = {s: max((r for r in uses.readers[s] if r < forward), default=-1) for s in optional}
        for at in largest_of_parts(uses.fixed, 0, forward, most_points):
            terms = [
                (self._present(s, 0), float(size[s]))
                for s in optional
                if max(joint.storages[s].maker, last_read[s]) < at
            ]
            self._memory_row(terms, int(uses.fixed[at]))

    def _count_costs(self, intervals: int) -> None:
        uses = self._uses
        for v, node_calls in enumerate(uses.node_calls):
            again = [[self._again(c, k) for k in range(1, intervals + 1)] for c in node_calls]
            columns = [[column for column in row if column >= 0] for row in again]
            if len(node_calls) == 1 or not uses.graph.time[v]:
                for column in (column for row in columns for column in row):
                    self._cost[column] = self._cost.get(column, 0.0) + float(uses.graph.time[v])
            else:
                whole = self._column("node", v, 0)
                self._upper[whole] = float(intervals)
                self._cost[whole] = float(uses.graph.time[v])
                for row in columns:
                    self._row([*((column, 1.0) for column in row), (whole, -1.0)], 0.0)
