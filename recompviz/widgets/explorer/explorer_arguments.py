"""The arguments of an Explorer as one checked value, which a background thread can make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from recompviz.core.base.arguments import expect, expect_flag
from recompviz.core.base.units import parse_total
from recompviz.core.planning.planner import Planner
from recompviz.core.plans.baselines import METHODS
from recompviz.core.plans.plan_table import PlanObjective, check_objective
from recompviz.widgets.explorer.budgets import fits
from recompviz.widgets.explorer.resizing import Resizer
from recompviz.widgets.explorer.runs import Runner
from recompviz.widgets.explorer.script_names import ScriptNames

OBJECTIVES: tuple[PlanObjective, ...] = ("live", "time", "memory")
# the plan that keeps all is a point of each curve already
BASELINES = tuple(name for name in METHODS if name != "keep-all")


@dataclass(frozen=True, eq=False, kw_only=True)
class ExplorerArguments:
    """The arguments of :class:`recompviz.Explorer`, which explains them; frozen. ``names`` are for code to copy.

    Raises
    ------
    TypeError
        If ``planner`` is not a Planner, ``theory`` is neither True nor False, ``baselines`` is neither a tuple nor a
        list, or ``capacity`` is neither a number nor a string.
    ValueError
        If ``capacity`` is not a size, or is 0, or if an objective is unknown.
    """

    planner: Planner
    runner: Runner | None = None
    objectives: Sequence[PlanObjective] = OBJECTIVES
    baselines: Sequence[str] = BASELINES
    background: bool | None = None
    budget: int | float | str | None = None
    capacity: int | float | str | None = None
    title: str = "training step"
    device: str | None = None
    cost_unit: str = "time units"
    theory: bool = False
    resizer: Resizer | None = None
    names: ScriptNames | None = None

    def __post_init__(self) -> None:
        advice = "write rv.Explorer(rv.Planner(graph)), or rv.explore(model, x, …)"
        expect_flag(self.theory, "theory")
        expect(self.planner, Planner, "planner", "a Planner", advice)
        expect(self.baselines, (tuple, list), "baselines", "a tuple of names", 'write baselines=("chen",)')
        for objective in self.objectives:
            check_objective(objective)
        self.capacity_bytes  # noqa: B018 (an error must come before any work)

    @property
    def capacity_bytes(self) -> int | None:
        """The memory of the device in bytes; None if none is marked."""
        return None if self.capacity is None else parse_total(self.capacity, "capacity")

    @property
    def device_name(self) -> str:
        """The name of the device to show."""
        return self.planner.device.upper() if self.device is None else self.device

    @property
    def searches(self) -> bool:
        """Whether there is a search for plans, now or in the background."""
        return bool(self.objectives)

    @property
    def searches_now(self) -> bool:
        """Whether the constructor of the Explorer searches, and not a background thread.

        It searches if ``background`` is False, or if it is None and the graph is small. It also searches if every plan
        that needs no search is too large for the first budget. Without objectives, it does not search.
        """
        background = not self.planner.is_quick if self.background is None else self.background
        if background and self.budget is not None:
            background = fits(self.planner.first_plans(), self.budget)
        return self.searches and not background
