"""A linear program whose value is a lower bound on the recomputation of every plan.

A plan keeps a value until its last use, or frees it in the forward pass. A freed value that the backward pass needs is
computed again once, just before the backward call that needs it first, and held until its last use. So one decision for
each call says all about a plan. This program is much smaller than the program for all strategies
(:mod:`recompviz.core.bounds.relaxation`, which explains points, intervals and fixed bytes), and its bound is usually
larger. The variables take values from 0 to 1:

*again*     Call c runs again.
*by*        Call c has run again when the call of point k runs.
*waiting*   Storage s is in memory at point k, and is only needed by calls that run again later.

Each plan gives values of 0 and 1 that fulfil these constraints, so that the least cost is a lower bound:

- A call that runs again has done so before a backward call reads one of its outputs, and before a reader of its outputs
  runs again.
- A storage that a backward call reads after point k is in memory at point k, unless its call runs again later.
- A storage that a call reads when it runs again after point k is in memory at point k, unless the storage's own call
  runs again later.
- At each point, and at some forward calls, the fixed bytes and the bytes in memory fit in the budget.

If *again* has integer values, the other variables need no integers: they count only in memory, and so have their least
possible values. States of the random generator, and memory while a call runs again, are not counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from recompviz.core.bounds.memory_program import MemoryProgram, largest_of_parts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recompviz.core.bounds.uses import Uses

Terms = list[tuple[int, float]]


class PlanProgram(MemoryProgram):
    """The program for the plans of one training step. Budgets are in transient bytes. The class needs scipy.

    Parameters
    ----------
    uses : Uses
    most_points : int
        The largest number of backward calls, and of forward calls, at which memory is counted.
    """

    def __init__(self, uses: Uses, most_points: int) -> None:
        joint = uses.joint
        super().__init__(float(max(joint.allocated.sum(), 1)), float(uses.graph.time.sum()) or 1.0)
        self._uses = uses
        forward, calls = joint.forward_count, len(joint.calls)
        self.points = [forward - 1, *largest_of_parts(uses.fixed, forward, calls, most_points)]
        self.interval = np.searchsorted(self.points, np.arange(calls + 1))
        self._direct = [[r for r in readers if r >= forward] for readers in uses.readers]
        self._optional = np.flatnonzero(uses.optional & (uses.last_need >= 0)).tolist()
        # the calls that may run again, and for each forward call the first backward call that reads an output
        self._calls = [
            c
            for c in range(forward)
            if not joint.calls[c].pinned and any(uses.last_need[s] >= 0 for s in joint.calls[c].makes)
        ]
        self._may_run = np.zeros(calls, np.bool_)
        self._may_run[self._calls] = True
        self._first_direct = [
            min((r for s in call.makes for r in self._direct[s]), default=calls) for call in joint.calls[:forward]
        ]
        self._constrain()
        self._count_memory(most_points)
        self._count_costs()
        self._assemble()

    def keep_mask(self, solution: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return the keep mask of a solution: for each node, whether its value is kept for the backward pass."""
        keep_mask = np.ones(len(self._uses.graph), np.bool_)
        for c in self._calls:
            call = self._uses.joint.calls[c]
            if solution[self._again(c)] > 0.5:
                keep_mask[[v for v in (call.node, *call.views) if v >= 0]] = False
        return keep_mask

    # ------------------------------------------------------------ variables

    def _again(self, c: int) -> int:
        return self._column("again", c)

    def _by(self, c: int, k: int) -> int:
        """Return the column of *by*; −1 if the call has not run again by then under any plan."""
        if k <= 0:
            return -1
        # the backward pass has read an output: if the call ever runs again, it has done so
        if self._runs_before(c, k):
            return self._again(c)
        return self._column("by", c, k, fraction=True)

    def _runs_before(self, c: int, k: int) -> bool:
        """Return whether the call, if it runs again, does so before point k under every plan."""
        return k > 0 and int(self.interval[self._first_direct[c]]) <= k

    def _missing(self, s: int, k: int) -> Terms:
        """Return terms that sum to 1 if s is freed in the forward pass and is not made again by point k, else to 0."""
        maker = self._uses.joint.storages[s].maker
        if not self._may_run[maker] or self._runs_before(maker, k):
            return []
        return [(self._again(maker), 1.0), (self._by(maker, k), -1.0)]

    def _present(self, s: int, k: int) -> tuple[Terms, int]:
        """Return terms and a number with a sum of at least 1 if s is in memory at point k and needed after it.

        The fewest bytes that a plan needs give a sum of 1 or 0.
        """
        if self._direct[s] and self._direct[s][-1] > self.points[k]:
            return [(column, -value) for column, value in self._missing(s, k)], 1
        waiting = -1
        for reader in self._uses.readers[s]:
            if reader < len(self._first_direct) and self._may_run[reader] and not self._runs_before(reader, k):
                waiting = self._column("waiting", s, k, fraction=True)
                missing = [(column, -value) for column, value in self._missing(s, k)]
                self._row([(self._again(reader), 1.0), (self._by(reader, k), -1.0), *missing, (waiting, -1.0)], 0.0)
        return ([(waiting, 1.0)] if waiting >= 0 else []), 0

    # ------------------------------------------------------------ constraints

    def _constrain(self) -> None:
        joint, forward = self._uses.joint, self._uses.joint.forward_count
        for c in self._calls:
            again = self._again(c)
            readers = {r for s in joint.calls[c].makes for r in self._uses.readers[s] if r < forward}
            for k in range(1, len(self.points)):
                if self._runs_before(c, k):
                    break
                by = self._by(c, k)
                self._row([(by, 1.0), (again, -1.0)], 0.0)
                self._row([(self._by(c, k - 1), 1.0), (by, -1.0)], 0.0)
                for reader in readers:
                    if self._may_run[reader]:
                        self._row([(self._by(reader, k), 1.0), (again, 1.0), (by, -1.0)], 1.0)

    def _count_memory(self, most_points: int) -> None:
        uses, joint = self._uses, self._uses.joint
        forward = joint.forward_count
        for k, at in enumerate(self.points[1:], 1):
            read = set(joint.calls[at].reads)
            self._count([s for s in self._optional if s not in read and uses.last_need[s] > at], k, int(uses.fixed[at]))
        last_read = {s: max((r for r in uses.readers[s] if r < forward), default=-1) for s in self._optional}
        for at in largest_of_parts(uses.fixed, 0, forward, most_points):
            held = [s for s in self._optional if max(joint.storages[s].maker, last_read[s]) < at]
            self._count(held, 0, int(uses.fixed[at]))

    def _count(self, storages: list[int], k: int, fixed: int) -> None:
        """Add the constraint that ``fixed`` bytes and the storages present at point k fit in the budget."""
        size = self._uses.joint.allocated
        terms: Terms = []
        for s in storages:
            found, number = self._present(s, k)
            terms += [(column, value * float(size[s])) for column, value in found]
            fixed += number * int(size[s])
        self._memory_row(terms, fixed)

    def _count_costs(self) -> None:
        uses = self._uses
        for v, node_calls in enumerate(uses.node_calls):
            columns = [self._again(c) for c in node_calls if self._may_run[c]]
            seconds = float(uses.graph.time[v])
            if not columns or not seconds:
                continue
            whole = columns[0]
            if len(columns) > 1:
                whole = self._column("node", v, fraction=True)
                for column in columns:
                    self._row([(column, 1.0), (whole, -1.0)], 0.0)
            self._cost[whole] = self._cost.get(whole, 0.0) + seconds
