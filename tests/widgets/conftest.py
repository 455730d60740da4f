"""An Explorer of a small residual network, without torch."""

import copy
import dataclasses

import pytest

from recompviz.core.planning.planner import Planner
from recompviz.core.plans.gap import gap_of
from recompviz.core.reports.run_report import RunReport
from recompviz.core.steps.examples import residual_step


class Lab:
    """The parts an Explorer is made of, and one made of them. It is a runner itself."""

    def __init__(self, blocks=(1, 1)):
        self.planner = Planner(*residual_step(blocks))
        self.graph, self.joint = self.planner.graph, self.planner.joint
        self.time, self.memory = self.planner.plans("time"), self.planner.plans("memory")

    def simulate(self, plan):
        return self.planner.simulate(plan)

    def run(self, plan, progress):
        progress(1, 2, "half-way")
        measured = dataclasses.replace(self.planner.simulate(plan), kind="measured")
        return RunReport(plan, measured, "CPU", 0.1, True, "bitwise equal", gap=gap_of(self.joint, plan, measured))

    def planner_with(self, **methods):
        """The planner with some of its methods replaced."""
        other = copy.copy(self.planner)
        vars(other).update(methods)
        return other

    def explorer(self, planner=None, runner=None, **options):
        from recompviz.widgets.explorer.explorer import Explorer

        defaults = {"objectives": ["time", "memory"], "baselines": ["chen"], "background": False}
        return Explorer(planner or self.planner, runner, **defaults | options)


class RunnerOf:
    """A runner from a function."""

    def __init__(self, run):
        self.run = run


@pytest.fixture(scope="session")
def lab():
    return Lab()
