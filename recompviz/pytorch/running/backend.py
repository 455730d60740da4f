"""The compiler backend ``"recompviz"``: Dynamo captures, AOTAutograd makes the joint graph, a plan says what is saved.

Guards, graph breaks, side effects, module wrappers, dynamic shapes and errors are PyTorch's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch.fx import GraphModule

from recompviz.pytorch.internals.aot import compile_joint, input_sources
from recompviz.pytorch.running.region import Chooser, Region
from recompviz.pytorch.tracing.folding import Folded, fold
from recompviz.pytorch.tracing.grouping import Granularity
from recompviz.pytorch.tracing.placeholders import roles_of_inputs


def compile_region(
    graph: GraphModule, inputs: Sequence[Any], chooser: Chooser, granularity: Granularity = "operators"
) -> Callable[..., Any]:
    """Compile one graph that Dynamo captured.

    Parameters
    ----------
    graph : torch.fx.GraphModule
    inputs : sequence
        Its example inputs.
    chooser : Chooser
        Gets the region before it runs; nothing for a graph without a backward pass.
    granularity : "operators" or "paper"
        What one node of the region's graph stands for.
    """
    roles = roles_of_inputs(input_sources(graph), inputs)
    regions: list[Region] = []

    def partition(joint: GraphModule, output_count: int) -> tuple[int, int]:
        folded: Folded = fold(joint, frozenset(), granularity, output_count=output_count, role_of=roles)
        region = Region(folded, chooser)
        regions.append(region)
        return region.slots, region.unchecked_slots

    return compile_joint(
        graph,
        inputs,
        partition,
        forward=lambda: regions[-1].forward,
        backward=lambda: regions[-1].backward,
    )
