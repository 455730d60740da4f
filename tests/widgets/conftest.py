"""An Explorer of a small residual network, without torch."""

import dataclasses

import pytest

from recompviz.core.exact.solver import solve
from recompviz.core.plans.baselines import chen
from recompviz.core.plans.gap import gap_of
from recompviz.core.plans.plan_table import PlanTable
from recompviz.core.reports.run_report import RunReport
from recompviz.core.steps.examples import residual_step
from recompviz.core.steps.schedule import make_schedule
from recompviz.core.steps.simulation import simulate_schedule


class Lab:
    """The parts an Explorer is made of, and one made of them."""

    def __init__(self, blocks=(1, 1)):
        self.graph, self.joint = residual_step(blocks)
        curve = solve(self.graph)
        self.time = self.table(curve, "time")
        self.memory = self.table(curve, "memory")
        self.simulated = 0

    def table(self, curve, objective):
        return PlanTable.of(self.graph, objective, curve.plans(objective), lambda plan: self.simulate(plan).profile)

    def simulate(self, plan):
        self.simulated = getattr(self, "simulated", 0) + 1
        return simulate_schedule(make_schedule(self.joint, plan.keep_mask.tolist()))

    def run(self, plan, progress, _cancelled):
        progress(0.5, "half-way")
        measured = dataclasses.replace(self.simulate(plan), kind="measured")
        return RunReport(plan, measured, "CPU", 0.1, True, "bitwise equal", gap=gap_of(self.joint, plan, measured))

    def solve(self, objective, family, keep, recompute, progress):
        progress(1, 2)
        curve = solve(self.graph, family, keep=keep, recompute=recompute)
        plans = curve.plans(objective)
        return PlanTable.of(
            self.graph, objective, plans, lambda plan: self.simulate(plan).profile, with_keep_all=not recompute
        )

    def explorer(self, **options):
        from recompviz.widgets.explorer.explorer import Explorer

        defaults = {"more_tables": [self.memory], "baselines": [chen(self.graph)], "joint": self.joint}
        return Explorer(self.graph, self.time, self.simulate, **defaults | options)


@pytest.fixture(scope="session")
def lab():
    return Lab()
