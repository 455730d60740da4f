"""recompviz: see and control how much memory training a neural network takes.

``import recompviz as rv`` is lazy: nothing of torch or Jupyter is imported until a name that needs
it is asked for, so the pure core works where neither is installed.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# public name → the module it lives in; no module bears the name of a public verb
_HOMES = {
    "Cancelled": "recompviz.core.errors",
    "Category": "recompviz.core.joint",
    "Certificate": "recompviz.pytorch.certificate",
    "Comparison": "recompviz.core.comparison",
    "Explorer": "recompviz.widgets.explorer",
    "Finding": "recompviz.core.attribution",
    "Gap": "recompviz.core.gap",
    "Graph": "recompviz.core.graph",
    "GraphError": "recompviz.core.errors",
    "ImpossiblePin": "recompviz.core.errors",
    "InfeasibleBudget": "recompviz.core.errors",
    "MemoryReport": "recompviz.core.attribution",
    "NodeInfo": "recompviz.core.node_info",
    "PartitionerError": "recompviz.pytorch.min_cut",
    "Phase": "recompviz.core.schedule",
    "Plan": "recompviz.core.plan",
    "PlanMismatch": "recompviz.core.errors",
    "PlanTable": "recompviz.core.plan_table",
    "PlannedModule": "recompviz.pytorch.planned",
    "RunComparison": "recompviz.core.run_comparison",
    "SnapshotError": "recompviz.core.snapshot_reader",
    "RecompvizError": "recompviz.core.errors",
    "Roofline": "recompviz.pytorch.costs",
    "Schedule": "recompviz.core.schedule",
    "Timeline": "recompviz.core.timeline",
    "TooManyLowerSets": "recompviz.core.errors",
    "Trace": "recompviz.pytorch.traced_step",
    "TraceError": "recompviz.pytorch.step",
    "Tradeoff": "recompviz.core.tradeoff",
    "apply": "recompviz.pytorch.planned",
    "compare_runs": "recompviz.core.run_comparison",
    "debug": "recompviz.widgets.debug_model",
    "load_snapshot": "recompviz.core.snapshot",
    "calibrate": "recompviz.pytorch.calibration",
    "baseline": "recompviz.core.baselines",
    "certify": "recompviz.pytorch.certificate",
    "compare": "recompviz.core.comparison",
    "exercise": "recompviz.core.teaching.exercises",
    "explore": "recompviz.widgets.explore_model",
    "explain_gap": "recompviz.pytorch.gap_report",
    "fit_in": "recompviz.pytorch.budgeted",
    "measure": "recompviz.pytorch.meter",
    "playground": "recompviz.widgets.set_playground",
    "simulate": "recompviz.pytorch.traced_step",
    "solve": "recompviz.core.solver",
    "step_programme": "recompviz.widgets.programme_stepper",
    "step_strategy": "recompviz.widgets.strategy_stepper",
    "trace": "recompviz.pytorch.tracer",
}

__all__ = ["__version__", *sorted(_HOMES)]

if TYPE_CHECKING:
    from recompviz.core.attribution import Finding as Finding
    from recompviz.core.attribution import MemoryReport as MemoryReport
    from recompviz.core.baselines import baseline as baseline
    from recompviz.core.comparison import Comparison as Comparison
    from recompviz.core.comparison import compare as compare
    from recompviz.core.errors import Cancelled as Cancelled
    from recompviz.core.errors import GraphError as GraphError
    from recompviz.core.errors import ImpossiblePin as ImpossiblePin
    from recompviz.core.errors import InfeasibleBudget as InfeasibleBudget
    from recompviz.core.errors import PlanMismatch as PlanMismatch
    from recompviz.core.errors import RecompvizError as RecompvizError
    from recompviz.core.errors import TooManyLowerSets as TooManyLowerSets
    from recompviz.core.gap import Gap as Gap
    from recompviz.core.graph import Graph as Graph
    from recompviz.core.joint import Category as Category
    from recompviz.core.node_info import NodeInfo as NodeInfo
    from recompviz.core.plan import Plan as Plan
    from recompviz.core.plan_table import PlanTable as PlanTable
    from recompviz.core.run_comparison import RunComparison as RunComparison
    from recompviz.core.run_comparison import compare_runs as compare_runs
    from recompviz.core.schedule import Phase as Phase
    from recompviz.core.schedule import Schedule as Schedule
    from recompviz.core.snapshot import load_snapshot as load_snapshot
    from recompviz.core.snapshot_reader import SnapshotError as SnapshotError
    from recompviz.core.solver import solve as solve
    from recompviz.core.teaching.exercises import exercise as exercise
    from recompviz.core.timeline import Timeline as Timeline
    from recompviz.core.tradeoff import Tradeoff as Tradeoff
    from recompviz.pytorch.budgeted import fit_in as fit_in
    from recompviz.pytorch.calibration import calibrate as calibrate
    from recompviz.pytorch.certificate import Certificate as Certificate
    from recompviz.pytorch.certificate import certify as certify
    from recompviz.pytorch.costs import Roofline as Roofline
    from recompviz.pytorch.gap_report import explain_gap as explain_gap
    from recompviz.pytorch.meter import measure as measure
    from recompviz.pytorch.min_cut import PartitionerError as PartitionerError
    from recompviz.pytorch.planned import PlannedModule as PlannedModule
    from recompviz.pytorch.planned import apply as apply
    from recompviz.pytorch.step import TraceError as TraceError
    from recompviz.pytorch.traced_step import Trace as Trace
    from recompviz.pytorch.traced_step import simulate as simulate
    from recompviz.pytorch.tracer import trace as trace
    from recompviz.widgets.debug_model import debug as debug
    from recompviz.widgets.explore_model import explore as explore
    from recompviz.widgets.explorer import Explorer as Explorer
    from recompviz.widgets.programme_stepper import step_programme as step_programme
    from recompviz.widgets.set_playground import playground as playground
    from recompviz.widgets.strategy_stepper import step_strategy as step_strategy


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'recompviz' has no attribute {name!r}; it has {', '.join(sorted(_HOMES))}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
