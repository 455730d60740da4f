"""Questions that need solving again: pins, other solvers, and plans that were made elsewhere.

The answer is a table more. It is solved in the background, cancelled when a newer question comes, and shown at
the present budget; dragging in it is then as local as in the tables that were there from the start.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import anywidget
import traitlets

from recompviz.core.base.errors import PlanMismatch
from recompviz.core.base.units import format_bytes
from recompviz.core.graphs.bitsets import bits
from recompviz.core.graphs.graph import Graph, Name
from recompviz.core.plans.plan import Plan
from recompviz.core.plans.plan_table import PlanObjective, PlanTable
from recompviz.widgets.explorer import wire
from recompviz.widgets.explorer.background import Background, Progress
from recompviz.widgets.explorer.tables import FAMILIES, Tables, affordable_row

# (objective, family, names to keep, names to recompute, progress) → the table
Solve = Callable[[PlanObjective, str, Sequence[Name], Sequence[Name], Progress], PlanTable]


class Questions(anywidget.AnyWidget):
    """The part of the Explorer that asks a solver again."""

    graph: Graph
    budget: Any
    _tabled: Tables
    _background: Background
    _solve: Solve | None
    _lock: threading.RLock
    _choice: tuple[int, int]
    _request: int

    _more: Any = traitlets.List().tag(sync=True)
    _pins = traitlets.Dict().tag(sync=True)
    _solving = traitlets.Dict().tag(sync=True)

    def _choose(self, request: int, table: int, row: int, budget: int) -> None:
        raise NotImplementedError

    def pin(self, keep: Iterable[Name] = (), recompute: Iterable[Name] = ()) -> None:
        """Ask what it costs that some values must be kept, or recomputed; solved in the background.

        Parameters
        ----------
        keep, recompute : iterable of node names
            Both empty: no pins any more.
        """
        kept, again = list(bits(self.graph.mask(keep))), list(bits(self.graph.mask(recompute)))
        with self._lock:
            request = int(self._pins["request"]) + 1
            self._pins = {"request": request, "base": self._base(), "keep": kept, "recompute": again}

    def _base(self) -> int:
        """The table shown, or the one that the pins shown started from."""
        table = self._choice[0]
        if table == self._tabled.pinned:
            shown = self._tabled.shown(table)
            return shown.base if shown else 0
        return 0 if table == self._tabled.given else table

    @traitlets.observe("_pins")
    def _on_pins(self, change: Any) -> None:
        pins = change["new"]
        try:
            base, keep, recompute = int(pins["base"]), self._names(pins["keep"]), self._names(pins["recompute"])
        except (KeyError, TypeError, ValueError, IndexError):
            return
        shown = self._tabled.shown(base)
        if not keep and not recompute:
            self._unpin()
        elif self._solve is not None and shown is not None:
            solve, aim, family = self._solve, cast(PlanObjective, shown.table.objective), shown.family

            def done(table: PlanTable) -> str:
                self._tabled.pin(table, base)
                return self._show_table(
                    self._tabled.pinned, f"solved under {_counted(len(keep) + len(recompute), 'pin')}"
                )

            self._background.start(
                "solving under the pins", lambda progress: solve(aim, family, keep, recompute, progress), done
            )

    def _names(self, nodes: Sequence[int]) -> list[Name]:
        return [self.graph.names[int(v)] for v in nodes if 0 <= int(v) < len(self.graph)]

    def _unpin(self) -> None:
        with self._lock:
            self._background.cancel()
            self._tell_solving("idle", 0.0, "")
            shown = self._tabled.shown(self._tabled.pinned)
            if shown is None:
                return
            base = shown.base
            was_shown = self._choice[0] == self._tabled.pinned
            if was_shown:
                row, budget = affordable_row(self._tabled.table(base), self.budget)
                self._choose(self._request + 1, base, row, budget)
            self._tabled.pin(None)
            self._more = [wire.table_message(shown) for shown in self._tabled.more]

    def use_solver(self, family: str, objective: PlanObjective | None = None) -> None:
        """Show an objective's plans as another solver finds them; solved in the background the first time.

        Parameters
        ----------
        family : "auto", "all", "paper" or "prefixes"
            As for :func:`recompviz.solve`.
        objective : "time" or "memory", optional
            Left out: that of the table shown, or ``"time"``.
        """
        if family not in FAMILIES:
            raise ValueError(f"solver {family!r} is unknown; choose {', '.join(map(repr, FAMILIES))}")
        if objective is None:
            now = self._tabled.table(self._choice[0]).objective
            objective = now if now in ("time", "memory") else "time"
        known = self._tabled.solved(objective, family)
        solve = self._solve
        if known >= 0:
            self._show_table(known, "")
        elif solve is not None:
            aim, begun = objective, self._choice[0]

            def done(table: PlanTable) -> str:
                number, text = self._tabled.add(table, family), f"solved: {FAMILIES[family]}"
                if self._choice[0] == begun:
                    return self._show_table(number, text)
                with self._lock:  # another table was chosen meanwhile: the last choice holds
                    self._more = [wire.table_message(shown) for shown in self._tabled.more]
                return f"{text}; choose it to see it"

            self._background.start(
                f"solving, {FAMILIES[family]}", lambda progress: solve(aim, family, (), (), progress), done
            )

    def _show_table(self, number: int, text: str) -> str:
        """Choose the present budget in a table; what there is to say about it."""
        with self._lock:
            self._more = [wire.table_message(shown) for shown in self._tabled.more]
            row, budget = affordable_row(self._tabled.table(number), self.budget)
            raised = budget > self.budget
            self._choose(self._request + 1, number, row, budget)
        return f"{text}; least feasible {format_bytes(budget)}, so the budget was raised" if raised else text

    def load(self, plan: Plan | str | Path) -> None:
        """Show a plan that was made elsewhere, for example downloaded from an Explorer.

        Parameters
        ----------
        plan : Plan, str or Path
            A plan of this graph, its JSON, or the path of a file with that.

        Raises
        ------
        PlanMismatch
            If it was made for another graph.
        """
        if not isinstance(plan, Plan):
            is_text = isinstance(plan, str) and plan.lstrip().startswith("{")
            plan = Plan.from_json(self.graph, str(plan) if is_text else Path(plan).read_text(encoding="utf-8"))
        elif plan.graph.fingerprint != self.graph.fingerprint:
            raise PlanMismatch("the plan was made for another graph; plan again for this one, or see plan.on(graph)")
        with self._lock:
            found = self._tabled.find(plan)
            if found is None:
                self._tabled.give(self.graph, [(f"loaded {plan.kind}", plan)])
                self._more = [wire.table_message(shown) for shown in self._tabled.more]
                found = self._tabled.find(plan)
                assert found is not None
            table, row = found
            self._choose(self._request + 1, table, row, int(self._tabled.table(table).total_peaks[row]))

    def _tell_solving(self, state: str, fraction: float, text: str) -> None:
        self._solving = {**self._solving, "state": state, "fraction": fraction, "text": text}


def _counted(count: int, noun: str) -> str:
    """``"1 pin"``, ``"2 pins"``."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
