"""Explorers that record the times of each request in the kernel. The notebooks of the benchmark import this file.

The graphs are made without torch, because only the widgets are measured.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

from recompviz.core.graphs.graph import Graph
from recompviz.core.planning.planner import Planner
from recompviz.core.plans.plan import Plan
from recompviz.core.plans.plan_table import PlanObjective
from recompviz.core.steps.examples import residual_step, u_step
from recompviz.core.steps.joint import JointGraph
from recompviz.core.steps.timeline import Timeline
from recompviz.widgets.explorer import wire
from recompviz.widgets.explorer.explorer import Explorer

P = ParamSpec("P")
T = TypeVar("T")
Step = tuple[Graph, JointGraph]

STEPS: dict[str, Callable[[], Step]] = {
    "resnet152": lambda: residual_step((3, 8, 36, 3)),
    "residual900": lambda: residual_step((8, 24, 36, 22)),
    "residual3000": lambda: residual_step((30, 80, 100, 90)),
    "unet3000": lambda: u_step(3000),
    "one block": lambda: residual_step((1,)),
}
# number of a request → times in ms at which it was received, simulated, packed and sent
STAMPS: dict[int, list[float]] = {}
_current: list[float] = []  # the same times of the request that is worked on


def stamped(function: Callable[P, T]) -> Callable[P, T]:
    """Return a function that calls ``function``, and then records the time in the current request."""

    def call(*arguments: P.args, **keywords: P.kwargs) -> T:
        found = function(*arguments, **keywords)
        _current.append(1000 * time.time())
        return found

    return call


class StampedExplorer(Explorer):
    """An Explorer that records the times of each request in ``STAMPS``."""

    def _handle_msg(self, message: dict[str, Any]) -> None:
        _current[:] = [1000 * time.time()]
        super()._handle_msg(message)

    def _send(self, message: dict[str, Any], buffers: Any = None) -> None:
        super()._send(message, buffers)
        if "_reply" in message.get("state", {}):
            STAMPS[message["state"]["_reply"]["request"]] = [*_current, 1000 * time.time()]


def install() -> None:
    """Record the time at which each timeline is packed into a message."""
    wire.timeline_message = stamped(wire.timeline_message)


class StampedPlanner(Planner):
    """A planner that records the time at which each simulation ends."""

    def simulate(self, plan: Plan | None = None) -> Timeline:
        """Simulate a plan as :meth:`recompviz.Planner.simulate` does."""
        return stamped(super().simulate)(plan)


def explorer(step: Step, objectives: Sequence[PlanObjective]) -> StampedExplorer:
    """Return an Explorer of a training step, with a plan table for each objective."""
    planner = StampedPlanner(*step, most_rows=200)
    return StampedExplorer(planner, objectives=objectives, baselines=(), background=False, title="s")


def planned(name: str) -> StampedExplorer:
    """Return an Explorer of a step of ``STEPS``, with the time-centric plans of the exact solver."""
    return explorer(STEPS[name](), ["time"])


def with_first_plans(step: Step) -> StampedExplorer:
    """Return an Explorer of a training step with the plans that need no search."""
    return explorer(step, [])
