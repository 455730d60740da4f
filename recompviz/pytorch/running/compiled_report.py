"""``step_report`` describes the recorded training step of a compiled model.

The step consists of captured graphs, which run under plans, and of the eager code between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from recompviz.core.base.errors import RecompvizError
from recompviz.core.base.units import format_bytes
from recompviz.core.graphs.graph import Graph
from recompviz.core.graphs.module_paths import common_module
from recompviz.core.reports.training_step import GraphBreak, Island, StepRegion, StepReport
from recompviz.pytorch.budgeting.step_budget import StepBudget
from recompviz.pytorch.budgeting.step_model import StepModel
from recompviz.pytorch.executing.joint_at_sizes import at_sizes
from recompviz.pytorch.executing.region import Region
from recompviz.pytorch.internals.captures import Callers, breaks_at, skipped_functions
from recompviz.pytorch.running.compiled import budget_of

# Parts of a region's name that are shown.
MOST_PARTS = 3


class StepNotRecorded(RecompvizError, ValueError):
    """A compiled model has no recorded training step to show.

    Parameters
    ----------
    reason : str
        Why there is no recorded step; also an attribute.
    advice : str
        The next step for the user; also an attribute.
    """

    def __init__(self, reason: str, advice: str) -> None:
        self.reason, self.advice = reason, advice
        super().__init__(f"{reason}; {advice}")

    def __reduce__(self) -> tuple[type[StepNotRecorded], tuple[str, str]]:
        return type(self), (self.reason, self.advice)


def step_report(compiled: Any) -> StepReport:
    """Return the recorded training step of a compiled model.

    The step consists of *regions*, the captured graphs that run under plans, and of *islands*, the eager code between
    them.

    Parameters
    ----------
    compiled : torch.nn.Module or callable
        A model that was compiled by :func:`recompviz.compile` or by
        ``torch.compile(model, backend="recompviz", options={"total": …})``, and then trained for three steps.

    Returns
    -------
    StepReport
        The report as text lists each region with the bytes that the region keeps. For each island, it lists the bytes
        that the island holds, and the line and reason of the graph break before the island.

    Raises
    ------
    TypeError
        If ``compiled`` is any other object, or was compiled by ``backend="recompviz"`` and has not run yet.
    StepNotRecorded
        If no step was recorded yet, or if the model was compiled without a total.

    Examples
    --------
    >>> import torch, recompviz as rv
    >>> model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
    >>> compiled = rv.compile(model, total="1 MiB")
    >>> for _ in range(3):
    ...     torch.nn.functional.mse_loss(compiled(torch.ones(4, 8)), torch.zeros(4, 1)).backward()
    >>> report = rv.step_report(compiled)
    >>> report.summary, [region.name for region in report.regions], report.breaks
    ('one region: the compiler captured the whole model, without a graph break', ['Sequential'], ())
    """
    budget = budget_of(compiled)
    model = _recorded(budget)
    planned = budget.planned
    model_itself = getattr(compiled, "_orig_mod", compiled)
    names = _parameter_names(model_itself)
    title = type(model_itself).__name__ if isinstance(model_itself, nn.Module) else _function_name(model_itself)
    regions = tuple(_region(budget, model, i, names, title) for i in range(len(model.regions)))
    total = budget.total
    assert total is not None
    notes = []
    point = model.plans.fitting(budget.room_left)
    if planned is None:
        notes.append("the last step did not run under these plans")
    elif planned.point != point:
        notes.append(
            "the rest of the last step was planned again while it ran, because its sizes were not as predicted"
        )
    if budget.memory.held_bytes:
        notes.append(f"beside the model, {format_bytes(budget.memory.held_bytes)} are in use before the step")
    if model.symbolic:
        notes.append("bytes are for the sizes that were predicted when the last step started")
    if model.optional:
        notes.append("some steps leave out some of these regions")
    if not all(budget.regions[region].calibrated for region in model.regions):
        notes.append(
            "operators were timed once, while the memory of the step was recorded, which slows down cheap operators; "
            "rv.calibrate(rv.trace(...)) before rv.compile(...) times them better"
        )
    if point is None:
        point = len(model.plans.peak) - 1
        notes.append("no plan fits the total at these sizes; the leanest is shown")
    return StepReport(
        title,
        str(model.regions[0].device).upper(),
        total,
        total - budget.room_left,
        regions,
        tuple(_islands(model)),
        model.plans,
        point,
        model.keep_all,
        model.step_time,
        tuple(notes),
    )


def _recorded(budget: StepBudget) -> StepModel:
    """Return the model of the last planned step, or else of any recorded step.

    Raises
    ------
    StepNotRecorded
        If no step was recorded; the error gives the reason.
    """
    if budget.total is None:
        raise StepNotRecorded(
            "the model was compiled without a total, so its steps are not planned",
            'compile it with rv.compile(model, total="10 GiB")',
        )
    if budget.planned is not None:
        return budget.planned.model
    if budget.models and budget.room_left:
        return list(budget.models.values())[-1]
    if budget.attempts.flaw is not None:
        raise StepNotRecorded(
            f"no step was recorded, because {budget.attempts.flaw.reason}", budget.attempts.flaw.advice
        )
    if budget.failed_recordings:
        raise StepNotRecorded(
            f"{budget.failed_recordings} recorded steps were dropped, because no backward pass ran",
            "train steps with a backward pass, then ask again",
        )
    if not budget.regions:
        raise StepNotRecorded(
            "no graph of the model is planned yet",
            "train three steps, then ask again; a warning names each graph that cannot be planned",
        )
    raise StepNotRecorded("no step was recorded yet", "train three steps that run the same graphs, then ask again")


# -------------------------------------------------------------------- regions


def _region(budget: StepBudget, model: StepModel, run: int, names: dict[int, str], title: str) -> StepRegion:
    """Describe one run of the recorded step."""
    region = model.regions[run]
    known = budget.regions[region]
    assert known.joint is not None
    assert known.time is not None
    called_with = [reference() for reference in model.callers[run].parameters]
    owners = _owners([value for value in called_with if value is not None], names)
    root = _root(region.folded.graph, owners)
    graph = replace(region.folded.graph, time=known.time)
    if root:
        graph = replace(graph, info=tuple(replace(info, module=_moved(info.module, root)) for info in graph.info))
    line = region.capture.line if region.capture is not None else None
    caller = next(iter(model.callers[run].inside), None)
    name = root or _name(owners or [info.module for info in graph.info])
    if not name or (len(model.regions) == 1 and not root):
        name = title if len(model.regions) == 1 or not len(graph) else _operators(graph)
    sizes = model.sizes[run]
    joint = known.joint if sizes == known.sizes else at_sizes(region, known.joint, sizes)
    return StepRegion(name, line or caller, graph, joint, model.masks[run], model.options[run], model.outside[run])


def _parameter_names(model: Any) -> dict[int, str]:
    if not isinstance(model, nn.Module):
        return {}
    return {id(value): name for name, value in [*model.named_parameters(), *model.named_buffers()]}


def _owners(tensors: Sequence[torch.Tensor], names: dict[int, str]) -> list[str]:
    """Names of the modules that own these tensors, each once, in the order of the tensors."""
    found = [names[id(value)] for value in tensors if id(value) in names]
    return list(dict.fromkeys(name.rpartition(".")[0] for name in found))


def _root(graph: Graph, owners: list[str]) -> str:
    """The name of the layer that a region runs, if this layer was compiled by itself; otherwise an empty string."""
    inside = {info.module for info in graph.info}
    if not owners or not all(module in ("", "loss") or module.split(".")[0] == "module" for module in inside):
        return ""
    parts = common_module(owners).split(".")
    for count in range(len(parts), 0, -1):
        root = ".".join(parts[:count])
        if all(owner == root or "module" + owner[len(root) :] in inside for owner in owners):
            return root
    return ""


def _moved(module: str, root: str) -> str:
    return root + module.removeprefix("module") if module.startswith("module") else root


def _name(modules: list[str]) -> str:
    """One name for several modules: for each top-level module, the longest common path.

    Examples
    --------
    >>> _name(["inp.0", "inp.2", "moe.router"]), _name(["blocks.3.norm", "blocks.3.mlp"])
    ('inp, moe.router', 'blocks.3')
    """
    groups: dict[str, list[str]] = {}
    for module in modules:
        if module and module not in ("loss", "backward"):
            groups.setdefault(module.split(".")[0], []).append(module)
    names = [common_module(group) for group in groups.values()]
    return ", ".join(names[:MOST_PARTS]) + (", …" if len(names) > MOST_PARTS else "")


def _operators(graph: Graph) -> str:
    """A name for a region without parameters: its first and last operator."""
    names = [info.op.rpartition(".")[2] for info in graph.info]
    return names[0] if len(names) == 1 else f"{names[0]} … {names[-1]}"


def _function_name(function: Any) -> str:
    return str(getattr(function, "__qualname__", type(function).__name__))


# -------------------------------------------------------------------- islands


def _islands(model: StepModel) -> list[Island]:
    """Return one island before the first region, and one after each region."""
    skipped = skipped_functions()
    outside, callers = model.outside, model.callers
    found = [_island(outside[0].forward, outside[0].forward, None, None, callers[0], skipped)]
    for i, around in enumerate(outside):
        last = i + 1 == len(outside)
        after = outside[i].backward if last else outside[i + 1].forward
        most = max(around.after_forward - around.forward, 0)
        entering = None if last else callers[i + 1]
        found.append(_island(max(after - around.forward, 0), most, model.regions[i], callers[i], entering, skipped))
    return found


def _island(
    held: int,
    most: int,
    before: Region | None,
    leaving: Callers | None,
    entering: Callers | None,
    skipped: dict[tuple[str, int], GraphBreak],
) -> Island:
    """Describe the eager code between two regions, with the graph breaks that explain it.

    The region before may have ended in a graph break. A function that Dynamo skipped may call one of the two regions.
    If the region after starts in a resumed function, the break of this function comes before it.
    """
    found: list[GraphBreak] = []
    if before is not None and before.capture is not None and before.capture.ended_by is not None:
        found.append(before.capture.ended_by)
    around = [callers for callers in (leaving, entering) if callers is not None]
    inside = [line for callers in around for line in callers.inside]
    functions = [function for callers in around for function in callers.functions if function in skipped]
    if functions and leaving is not None:
        reason = skipped[functions[0]]
        found.append(reason if reason.line or not inside else replace(reason, line=inside[0]))
    if entering is not None and entering.resumed_at:
        found += breaks_at(*entering.resumed_at[0])
    if not found and inside and leaving is not None and entering is not None:
        found.append(GraphBreak(inside[0], "this function runs eagerly; Dynamo gives no reason"))
    calls = next((callers.outside for callers in around), None)
    return Island(held, max(most, held), None if found else calls, tuple(dict.fromkeys(found)))
