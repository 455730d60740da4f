"""PyTorch's own min-cut partitioner, and ``torch.compile`` with its activation memory budget.

Private PyTorch used here: ``min_cut_rematerialization_partition`` of ``torch._functorch.partitioners``,
``torch._functorch.config``, and ``aot_autograd`` and ``boxed_nop`` of ``torch._dynamo.backends``. Tried on torch
2.10.0, 2.11.0, 2.12.1, 2.13.0 and 2.14.1, on the CPU.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch._dynamo.backends.common import aot_autograd
from torch._dynamo.backends.debugging import boxed_nop
from torch._functorch import config as functorch_config
from torch._functorch.partitioners import min_cut_rematerialization_partition
from torch.fx import Graph, GraphModule, Node

from recompviz.pytorch.internals.export import is_forward_output

__all__ = ["compiled_in_memory_budget", "min_cut_saved"]


def min_cut_saved(fx: GraphModule, ratio: float) -> list[Node]:
    """The values that PyTorch's min-cut partitioner carries from the forward to the backward pass of a joint graph.

    The partitioner works on a copy with its default settings: it avoids recomputing operators that it calls
    compute-intensive, and solves the knapsack by ``dp`` over counted flops. Only its merging of equal subexpressions
    is switched off, because it would change the graph.

    Returns
    -------
    list of torch.fx.Node
        Outputs of the forward graph that it made; they share their fake tensors with the nodes of ``fx``.
    """
    outputs = next(iter(reversed(fx.graph.nodes)))
    graph = Graph()
    # shallow: nodes and their meta dicts are new, the fake tensors in them are the same
    copied_output = graph.output(graph.graph_copy(fx.graph, {}))
    copied_output.meta = dict(outputs.meta)
    count = sum(map(is_forward_output, outputs.meta["desc"]))
    with functorch_config.patch(activation_memory_budget=ratio, cse=False):
        forward, _ = min_cut_rematerialization_partition(GraphModule(fx, graph), (), num_fwd_outputs=count)
    made = next(iter(reversed(forward.graph.nodes)))
    return [node for node in made.args[0][count:] if isinstance(node, Node)]


def compiled_in_memory_budget(module: torch.nn.Module, ratio: float) -> torch.nn.Module:
    """Compile a module with PyTorch's own activation memory budget.

    PyTorch's partitioner chooses which values are recomputed. The operators run eagerly, without Inductor.

    Parameters
    ----------
    module : torch.nn.Module
    ratio : float
        ``torch._functorch.config.activation_memory_budget``, 0 to 1.

    Returns
    -------
    torch.nn.Module
        It shares the parameters of ``module`` and is compiled when it is first called.
    """
    compiler = aot_autograd(
        # boxed: values that are no longer needed are freed while the step runs
        fw_compiler=boxed_nop,
        bw_compiler=boxed_nop,
        partition_fn=min_cut_rematerialization_partition,
        keep_inference_input_mutations=True,
    )

    def backend(graph: GraphModule, inputs: list[torch.Tensor]) -> Any:
        with functorch_config.patch(activation_memory_budget=ratio):
            return compiler(graph, inputs)

    compiled: Any = torch.compile(module, backend=backend, fullgraph=True, dynamic=False)
    return cast(torch.nn.Module, compiled)
