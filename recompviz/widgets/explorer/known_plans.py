"""The plan tables that an Explorer has found, and the plans that the user loaded, for each size of its training step.

When the user returns to a size, its plans are shown without another search. At a new size, the plans of the size before
are shown until the search has ended. Those of them that are better than the plans of the search are then added to the
new table of the objective ``"live"``.
"""

from __future__ import annotations

from collections.abc import Sequence

from recompviz.core.planning.planner import Planner
from recompviz.core.plans.plan import Plan
from recompviz.core.plans.plan_table import PlanTable
from recompviz.widgets.explorer.background_search import tables_with, with_baselines
from recompviz.widgets.explorer.tables import Tables


class KnownPlans:
    """The plan tables found so far, by planner. There is one planner for each size.

    Parameters
    ----------
    baselines : sequence of str
        The names of the baselines that are shown beside the tables.
    """

    def __init__(self, baselines: Sequence[str]) -> None:
        self._baselines = baselines
        self._found: dict[Planner, Sequence[PlanTable]] = {}
        self._loaded: dict[Planner, list[tuple[str, Plan]]] = {}
        self._carried: PlanTable | None = None  # plans found at the size before

    def searched(self, planner: Planner) -> bool:
        """Return whether a search by this planner has ended and found plans. A stopped search does not count."""
        return planner in self._found

    def shown(self, planner: Planner) -> Tables:
        """Return the tables to show first, together with the baselines.

        These are the tables that a search by this planner found. Before such a search, there is one table: its plans
        are those taken over by :meth:`carry`, or else plans that need no search.
        """
        tables = self._found.get(planner)
        if tables is None:
            plans = planner.first_plans() if self._carried is None else self._carried
            tables = [with_baselines(planner, plans, self._baselines)]
        return tables_with(planner, tables, self._baselines, self.searched(planner))

    def carry(self, table: PlanTable, planner: Planner) -> None:
        """Take over the plans of a table that was made at another batch size or sequence length.

        These plans are shown until a search by this planner ends. The search gives a table for each objective. The
        plans taken over that are better than the plans of the table ``"live"`` are then added to that table.

        Parameters
        ----------
        table : PlanTable
        planner : Planner
            The planner of the present size. Its graph has the same nodes.
        """
        self._carried = planner.table([plan.on(planner.graph) for plan in table.plans], "live")

    def add(self, planner: Planner, tables: Sequence[PlanTable]) -> Sequence[PlanTable]:
        """Remember the tables of a search, and return them.

        If the objective of a table is ``"live"``, the plans taken over by :meth:`carry` that are better than the plans
        of the table are added to it.
        """
        self._found[planner] = [self._with_carried(planner, table) for table in tables]
        return self._found[planner]

    def keep(self, planner: Planner, named: tuple[str, Plan]) -> None:
        """Remember a plan that the user loaded, as (name, plan)."""
        self._loaded.setdefault(planner, []).append(named)

    def loaded(self, planner: Planner) -> list[tuple[str, Plan]]:
        """Return the plans that the user loaded for this planner, as (name, plan), each once, in the order of loading.

        A plan that was loaded several times has the name of its first load and the place of its last load.
        """
        plans = {plan.keep_mask.tobytes(): (name, plan) for name, plan in reversed(self._loaded.get(planner, []))}
        return list(reversed(plans.values()))

    def _with_carried(self, planner: Planner, table: PlanTable) -> PlanTable:
        if self._carried is None or table.objective != "live":
            return table
        return planner.table([*table.plans, *self._carried.plans], "live")
