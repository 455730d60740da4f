"""Compile one captured graph. AOTAutograd makes its joint graph, and a plan decides which values are saved.

A graph that is compiled in this way is a *region*. Dynamo captures the graph, and PyTorch itself handles guards, graph
breaks, side effects, module wrappers, dynamic shapes and errors. A graph that cannot be planned runs eagerly, with a
warning.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from types import CodeType
from typing import Any

from torch.fx import GraphModule

from recompviz.core.base.errors import InfeasibleBudget
from recompviz.pytorch.executing.active_budget import ActiveBudget, active_of
from recompviz.pytorch.executing.autocast_backward import check_autocast
from recompviz.pytorch.executing.inference_region import InferenceRegion
from recompviz.pytorch.executing.region import Chooser, Region
from recompviz.pytorch.internals.aot import compile_joint, input_sources
from recompviz.pytorch.internals.captures import capture_of, first_user_line
from recompviz.pytorch.internals.dynamo import (
    DynamoError,
    captured_code,
    frequent_recompilation,
    guard_process_state,
    trim_metrics,
)
from recompviz.pytorch.internals.fake_tensors import example_sizes
from recompviz.pytorch.internals.user_lines import warn_user
from recompviz.pytorch.tracing.folding import Folded, fold
from recompviz.pytorch.tracing.grouping import Granularity
from recompviz.pytorch.tracing.placeholders import roles_of_inputs
from recompviz.pytorch.tracing.step import TraceError

# A function that was captured in this many training steps is reported, although Dynamo would capture it more often.
OFTEN = 8


class UnplannedGraph(UserWarning):
    """A captured graph cannot be planned, or a function is compiled in many training steps.

    A graph that cannot be planned runs eagerly and keeps every value.
    """


def active_backend(
    graph: GraphModule, inputs: Sequence[Any], *, options: Mapping[str, Any] | None = None
) -> Callable[..., Any]:
    """Compile a captured graph whose plans the active budget will choose. This is a backend of ``torch.compile``.

    The active budget is set by :func:`recompviz.pytorch.executing.active_budget.active`. It is not an option of the
    backend, because ``torch.compile`` keeps a reference to a backend and its options until the process ends.

    Parameters
    ----------
    graph : torch.fx.GraphModule
        A graph that Dynamo captured.
    inputs : sequence
        The example inputs of the graph.
    options : mapping, optional
        ``{"granularity": "operators"}`` (the default) or ``{"granularity": "paper"}``: what one node of the planned
        graph stands for; see :mod:`recompviz.pytorch.tracing.grouping`.

    Returns
    -------
    callable
        The compiled graph.

    Raises
    ------
    InfeasibleBudget, MemoryError, torch._dynamo.exc.TorchDynamoException
        As in :func:`compile_region`.

    Warns
    -----
    UnplannedGraph
        If the graph cannot be planned and runs eagerly, or if a function is compiled in many steps.
    """
    return compile_region(graph, inputs, ActiveBudget(), (options or {}).get("granularity", "operators"))


def compile_region(
    graph: GraphModule, inputs: Sequence[Any], chooser: Chooser, granularity: Granularity = "operators"
) -> Callable[..., Any]:
    """Compile one graph that Dynamo captured.

    Parameters
    ----------
    graph : torch.fx.GraphModule
    inputs : sequence
        The example inputs of the graph.
    chooser : Chooser
        Chooses the plan at each run. ``chooser.add`` is called with the :class:`Region` before this function returns,
        unless the graph has no backward pass.
    granularity : "operators" or "paper"
        What one node of the planned graph stands for; see :mod:`recompviz.pytorch.tracing.grouping`.

    Returns
    -------
    callable
        The compiled graph, or ``graph.forward`` if it cannot be planned.

    Raises
    ------
    InfeasibleBudget
        If ``chooser.add`` raises it.
    MemoryError
        If there is not enough memory to compile the graph.
    torch._dynamo.exc.TorchDynamoException
        If PyTorch raises it, for example to capture the function again.

    Warns
    -----
    UnplannedGraph
        If the graph cannot be planned and runs eagerly, or if a function is compiled in many steps.
    """
    trim_metrics()
    guard_process_state()
    if sentence := frequent_recompilation(_compiled_often(chooser)):
        warn_user(sentence, UnplannedGraph)
    regions: list[Region] = []
    capture = capture_of(graph)

    def partition(joint: GraphModule, output_count: int) -> tuple[int, int]:
        with example_sizes(node.meta.get("val") for node in joint.graph.nodes):
            folded: Folded = fold(joint, frozenset(), granularity, output_count=output_count, role_of=roles)
        regions.append(Region(folded, chooser, capture))
        chooser.add(regions[-1])
        return regions[-1].slots, regions[-1].unchecked_slots

    def infer(inference: GraphModule) -> Callable[[list[Any]], Any] | None:
        count = len(next(iter(reversed(inference.graph.nodes))).args[0])
        try:
            with example_sizes(node.meta.get("val") for node in inference.graph.nodes):
                folded: Folded = fold(inference, frozenset(), output_count=count, role_of=roles)
        except TraceError:  # for example an operator that overwrites a value of the graph
            return None
        region = InferenceRegion(folded, chooser, capture)
        regions.append(region)
        return region.infer

    try:
        roles = roles_of_inputs(input_sources(graph), inputs)
        compiled = compile_joint(
            graph,
            inputs,
            partition,
            forward=lambda: regions[-1].forward,
            backward=lambda: regions[-1].backward,
            inference=infer,
            before_backward=lambda: check_autocast(regions[-1]),
        )
    except (InfeasibleBudget, DynamoError):  # Dynamo's own: it captures again, or reports the user's error
        raise
    except Exception as error:  # whatever fails, the graph runs eagerly, with a warning
        for region in regions:
            chooser.remove(region)
        if isinstance(error, MemoryError):
            raise
        _warn(graph, error)
        eager: Callable[..., Any] = graph.forward
        return eager
    for region in regions:
        weakref.finalize(compiled, chooser.remove, region)  # when Dynamo drops what it compiled
    return compiled


_steps_by_code: weakref.WeakKeyDictionary[Any, dict[CodeType, set[int]]] = weakref.WeakKeyDictionary()


def _compiled_often(chooser: Chooser) -> bool:
    """Return whether the function that is captured now was captured in :data:`OFTEN` steps of the same budget."""
    budget = active_of(chooser)
    code = captured_code()
    if budget is None or code is None:
        return False
    steps = _steps_by_code.setdefault(budget, {}).setdefault(code, set())
    number = getattr(budget, "steps", 0)
    new = number not in steps
    steps.add(number)
    return new and len(steps) == OFTEN


def _warn(graph: GraphModule, error: Exception) -> None:
    """Warn that a graph cannot be planned, with its first line and the reason."""
    line = first_user_line(graph)
    reason = next((line for line in str(error).strip().splitlines() if line.strip()), "no reason given")
    warn_user(
        f"a graph of {len(graph.graph.nodes)} nodes{f' that starts at {line}' if line else ''} runs eagerly and keeps "
        f"every value, because it cannot be planned: {type(error).__name__}: {reason}",
        UnplannedGraph,
    )
