"""recompviz: see and control how much memory training a neural network takes.

``import recompviz as rv`` imports neither torch nor Jupyter. They are imported when a name that needs them is first
used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# public name → the module that defines it; no module has the name of a public function
_MODULES = {
    "AllocatorSettings": "recompviz.core.allocator.settings",
    "Cancelled": "recompviz.core.base.errors",
    "Category": "recompviz.core.steps.joint",
    "Certificate": "recompviz.pytorch.measuring.certificate",
    "Comparison": "recompviz.core.plans.comparison",
    "ComputationSequence": "recompviz.core.sequences.sequence_search",
    "EagerDiffers": "recompviz.pytorch.measuring.eager_forward",
    "Explorer": "recompviz.widgets.explorer.explorer",
    "FileError": "recompviz.core.base.errors",
    "Finding": "recompviz.core.reports.findings",
    "Gap": "recompviz.core.plans.gap",
    "Graph": "recompviz.core.graphs.graph",
    "GraphComparison": "recompviz.core.reports.graph_comparison",
    "GraphError": "recompviz.core.base.errors",
    "ImpossiblePin": "recompviz.core.base.errors",
    "InfeasibleBudget": "recompviz.core.base.errors",
    "MemoryReport": "recompviz.core.reports.memory_report",
    "NodeInfo": "recompviz.core.graphs.node_info",
    "PartitionerError": "recompviz.pytorch.tracing.min_cut",
    "Phase": "recompviz.core.steps.schedule",
    "Partitioner": "recompviz.pytorch.policies.inductor",
    "Plan": "recompviz.core.plans.plan",
    "PlanMismatch": "recompviz.core.base.errors",
    "PlanTable": "recompviz.core.plans.plan_table",
    "PlannedModule": "recompviz.pytorch.running.planned",
    "Planner": "recompviz.core.planning.planner",
    "RunComparison": "recompviz.core.reports.run_comparison",
    "SnapshotError": "recompviz.core.snapshots.reader",
    "RecompvizError": "recompviz.core.base.errors",
    "Race": "recompviz.core.reports.race_report",
    "RankComparison": "recompviz.core.reports.rank_comparison",
    "RankExplorer": "recompviz.widgets.ranks.rank_explorer",
    "RankStep": "recompviz.pytorch.ranks.rank_step",
    "RanksDisagree": "recompviz.pytorch.ranks.agreement",
    "Roofline": "recompviz.pytorch.tracing.costs",
    "Schedule": "recompviz.core.steps.schedule",
    "Timeline": "recompviz.core.steps.timeline",
    "TooManyLowerSets": "recompviz.core.base.errors",
    "Trace": "recompviz.pytorch.tracing.traced_step",
    "TraceError": "recompviz.pytorch.tracing.step",
    "StepReport": "recompviz.core.reports.training_step",
    "Tradeoff": "recompviz.core.plans.curve",
    "UnitPlan": "recompviz.core.ranks.unit_plan",
    "apply": "recompviz.pytorch.running.planned",
    "checkpoint_policy": "recompviz.pytorch.policies.selective",
    "memory_policy": "recompviz.pytorch.policies.graph_tags",
    "megatron_recompute": "recompviz.pytorch.ranks.megatron",
    "compile": "recompviz.pytorch.running.compiled",
    "compare_traces": "recompviz.widgets.explorer.compared_traces",
    "compare_ranks": "recompviz.core.reports.rank_comparison",
    "compare_runs": "recompviz.core.reports.run_comparison",
    "debug": "recompviz.widgets.explorer.debug_model",
    "debug_steps": "recompviz.pytorch.debugging.loop_session",
    "load_snapshot": "recompviz.core.snapshots.snapshot_report",
    "calibrate": "recompviz.pytorch.measuring.calibration",
    "baseline": "recompviz.core.plans.baselines",
    "certify": "recompviz.pytorch.measuring.certificate",
    "compare": "recompviz.core.plans.comparison",
    "confirm_plans": "recompviz.pytorch.ranks.agreement",
    "exercise": "recompviz.core.teaching.course",
    "exercises": "recompviz.core.teaching.course",
    "explore": "recompviz.widgets.explorer.explore_model",
    "explore_ranks": "recompviz.widgets.ranks.rank_explorer",
    "explain_gap": "recompviz.pytorch.measuring.gap_report",
    "fit_in": "recompviz.pytorch.measuring.budgeted",
    "measure": "recompviz.pytorch.measuring.meter",
    "measure_rank": "recompviz.pytorch.ranks.measured_rank",
    "memory_strips": "recompviz.widgets.lessons.strips",
    "playground": "recompviz.widgets.lessons.set_playground",
    "pipeline_rank": "recompviz.pytorch.ranks.interleaved_rank",
    "PipelineRank": "recompviz.pytorch.ranks.interleaved_rank",
    "plan_units": "recompviz.pytorch.ranks.planned_units",
    "quiz": "recompviz.core.teaching.course",
    "rank_kinds": "recompviz.pytorch.ranks.rank_step",
    "race": "recompviz.pytorch.measuring.racing",
    "replicate_step": "recompviz.pytorch.ranks.rank_step",
    "score": "recompviz.core.teaching.course",
    "shard_step": "recompviz.pytorch.ranks.rank_step",
    "shared_plans": "recompviz.pytorch.ranks.agreement",
    "shortest_sequence": "recompviz.core.sequences.sequence_search",
    "simulate": "recompviz.pytorch.tracing.traced_step",
    "solve": "recompviz.core.exact.solver",
    "StageStep": "recompviz.pytorch.ranks.pipeline_stage",
    "stage_step": "recompviz.pytorch.ranks.pipeline_stage",
    "step_budgets": "recompviz.widgets.lessons.budget_stepper",
    "step_programme": "recompviz.widgets.lessons.programme_stepper",
    "step_report": "recompviz.pytorch.running.compiled_report",
    "step_strategy": "recompviz.widgets.lessons.strategy_stepper",
    "trace": "recompviz.pytorch.measuring.entry",
    "write_assignment": "recompviz.core.teaching.assignment",
}

__all__ = ["__version__", *sorted(_MODULES)]

if TYPE_CHECKING:
    from recompviz.core.allocator.settings import AllocatorSettings as AllocatorSettings
    from recompviz.core.base.errors import Cancelled as Cancelled
    from recompviz.core.base.errors import FileError as FileError
    from recompviz.core.base.errors import GraphError as GraphError
    from recompviz.core.base.errors import ImpossiblePin as ImpossiblePin
    from recompviz.core.base.errors import InfeasibleBudget as InfeasibleBudget
    from recompviz.core.base.errors import PlanMismatch as PlanMismatch
    from recompviz.core.base.errors import RecompvizError as RecompvizError
    from recompviz.core.base.errors import TooManyLowerSets as TooManyLowerSets
    from recompviz.core.exact.solver import solve as solve
    from recompviz.core.graphs.graph import Graph as Graph
    from recompviz.core.graphs.node_info import NodeInfo as NodeInfo
    from recompviz.core.planning.planner import Planner as Planner
    from recompviz.core.plans.baselines import baseline as baseline
    from recompviz.core.plans.comparison import Comparison as Comparison
    from recompviz.core.plans.comparison import compare as compare
    from recompviz.core.plans.curve import Tradeoff as Tradeoff
    from recompviz.core.plans.gap import Gap as Gap
    from recompviz.core.plans.plan import Plan as Plan
    from recompviz.core.plans.plan_table import PlanTable as PlanTable
    from recompviz.core.ranks.unit_plan import UnitPlan as UnitPlan
    from recompviz.core.reports.findings import Finding as Finding
    from recompviz.core.reports.graph_comparison import GraphComparison as GraphComparison
    from recompviz.core.reports.memory_report import MemoryReport as MemoryReport
    from recompviz.core.reports.race_report import Race as Race
    from recompviz.core.reports.rank_comparison import RankComparison as RankComparison
    from recompviz.core.reports.rank_comparison import compare_ranks as compare_ranks
    from recompviz.core.reports.run_comparison import RunComparison as RunComparison
    from recompviz.core.reports.run_comparison import compare_runs as compare_runs
    from recompviz.core.reports.training_step import StepReport as StepReport
    from recompviz.core.sequences.sequence_search import ComputationSequence as ComputationSequence
    from recompviz.core.sequences.sequence_search import shortest_sequence as shortest_sequence
    from recompviz.core.snapshots.reader import SnapshotError as SnapshotError
    from recompviz.core.snapshots.snapshot_report import load_snapshot as load_snapshot
    from recompviz.core.steps.joint import Category as Category
    from recompviz.core.steps.schedule import Phase as Phase
    from recompviz.core.steps.schedule import Schedule as Schedule
    from recompviz.core.steps.timeline import Timeline as Timeline
    from recompviz.core.teaching.assignment import write_assignment as write_assignment
    from recompviz.core.teaching.course import exercise as exercise
    from recompviz.core.teaching.course import exercises as exercises
    from recompviz.core.teaching.course import quiz as quiz
    from recompviz.core.teaching.course import score as score
    from recompviz.pytorch.debugging.loop_session import debug_steps as debug_steps
    from recompviz.pytorch.measuring.budgeted import fit_in as fit_in
    from recompviz.pytorch.measuring.calibration import calibrate as calibrate
    from recompviz.pytorch.measuring.certificate import Certificate as Certificate
    from recompviz.pytorch.measuring.certificate import certify as certify
    from recompviz.pytorch.measuring.eager_forward import EagerDiffers as EagerDiffers
    from recompviz.pytorch.measuring.entry import trace as trace
    from recompviz.pytorch.measuring.gap_report import explain_gap as explain_gap
    from recompviz.pytorch.measuring.meter import measure as measure
    from recompviz.pytorch.measuring.racing import race as race
    from recompviz.pytorch.policies.graph_tags import memory_policy as memory_policy
    from recompviz.pytorch.policies.inductor import Partitioner as Partitioner
    from recompviz.pytorch.policies.selective import checkpoint_policy as checkpoint_policy
    from recompviz.pytorch.ranks.agreement import RanksDisagree as RanksDisagree
    from recompviz.pytorch.ranks.agreement import confirm_plans as confirm_plans
    from recompviz.pytorch.ranks.agreement import shared_plans as shared_plans
    from recompviz.pytorch.ranks.interleaved_rank import PipelineRank as PipelineRank
    from recompviz.pytorch.ranks.interleaved_rank import pipeline_rank as pipeline_rank
    from recompviz.pytorch.ranks.measured_rank import measure_rank as measure_rank
    from recompviz.pytorch.ranks.megatron import megatron_recompute as megatron_recompute
    from recompviz.pytorch.ranks.pipeline_stage import StageStep as StageStep
    from recompviz.pytorch.ranks.pipeline_stage import stage_step as stage_step
    from recompviz.pytorch.ranks.planned_units import plan_units as plan_units
    from recompviz.pytorch.ranks.rank_step import RankStep as RankStep
    from recompviz.pytorch.ranks.rank_step import rank_kinds as rank_kinds
    from recompviz.pytorch.ranks.rank_step import replicate_step as replicate_step
    from recompviz.pytorch.ranks.rank_step import shard_step as shard_step
    from recompviz.pytorch.running.compiled import compile as compile
    from recompviz.pytorch.running.compiled_report import step_report as step_report
    from recompviz.pytorch.running.planned import PlannedModule as PlannedModule
    from recompviz.pytorch.running.planned import apply as apply
    from recompviz.pytorch.tracing.costs import Roofline as Roofline
    from recompviz.pytorch.tracing.min_cut import PartitionerError as PartitionerError
    from recompviz.pytorch.tracing.step import TraceError as TraceError
    from recompviz.pytorch.tracing.traced_step import Trace as Trace
    from recompviz.pytorch.tracing.traced_step import simulate as simulate
    from recompviz.widgets.explorer.compared_traces import compare_traces as compare_traces
    from recompviz.widgets.explorer.debug_model import debug as debug
    from recompviz.widgets.explorer.explore_model import explore as explore
    from recompviz.widgets.explorer.explorer import Explorer as Explorer
    from recompviz.widgets.lessons.budget_stepper import step_budgets as step_budgets
    from recompviz.widgets.lessons.programme_stepper import step_programme as step_programme
    from recompviz.widgets.lessons.set_playground import playground as playground
    from recompviz.widgets.lessons.strategy_stepper import step_strategy as step_strategy
    from recompviz.widgets.lessons.strips import memory_strips as memory_strips
    from recompviz.widgets.ranks.rank_explorer import RankExplorer as RankExplorer
    from recompviz.widgets.ranks.rank_explorer import explore_ranks as explore_ranks


def __getattr__(name: str) -> Any:
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module 'recompviz' has no attribute {name!r}; it has {', '.join(sorted(_MODULES))}")
    value = getattr(importlib.import_module(module), name)
    globals()[name] = value
    return value


def load_ipython_extension(shell: Any) -> None:
    """Define the cell magic ``%%mempeak``; called by ``%load_ext recompviz``."""
    importlib.import_module("recompviz.widgets.explorer.cell_magic").define(shell)


def __dir__() -> list[str]:
    return __all__
