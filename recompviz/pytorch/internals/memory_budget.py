"""``torch.compile`` with PyTorch's own activation memory budget.

Private PyTorch used here: ``min_cut_rematerialization_partition`` of ``torch._functorch.partitioners``,
``torch._functorch.config``, ``aot_autograd`` and ``boxed_nop`` of ``torch._dynamo.backends``, ``compile_fx``,
``select_decomp_table``, ``config`` and ``CustomPartitionerFn`` of ``torch._inductor``. Tried on torch 2.11.0,
2.12.1, 2.13.0 and 2.14.1, on the CPU; Inductor on 2.13.0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch._dynamo.backends.common import aot_autograd
from torch._dynamo.backends.debugging import boxed_nop
from torch._functorch import config as functorch_config
from torch._functorch.partitioners import min_cut_rematerialization_partition
from torch.fx import GraphModule, Node

__all__ = ["Engine", "Partition", "compiled_in_memory_budget"]

# How PyTorch runs the two graphs of a partition: ATen operators as captured, operators after Inductor's decompositions
# (the backend aot_eager_decomp_partition), or Inductor's own kernels.
Engine = Literal["operators", "decomposed", "inductor"]


@dataclass(frozen=True, eq=False)
class Partition:
    """The choice of PyTorch's partitioner for one joint graph; frozen.

    Attributes
    ----------
    forward : tuple of torch.fx.Node
        The operators of the forward graph.
    recomputed : tuple of torch.fx.Node
        The operators of the forward graph that the backward graph runs again.
    """

    forward: tuple[Node, ...]
    recomputed: tuple[Node, ...]

    @classmethod
    def of(cls, forward: GraphModule, backward: GraphModule) -> Partition:
        """Return the partition of a forward and a backward graph.

        An operator counts as recomputed if the backward graph has an operator of the same name.
        """
        again = {node.name for node in backward.graph.nodes if node.op == "call_function"}
        nodes = tuple(node for node in forward.graph.nodes if node.op == "call_function")
        return cls(nodes, tuple(node for node in nodes if node.name in again))


def compiled_in_memory_budget(
    module: torch.nn.Module,
    ratio: float,
    engine: Engine = "operators",
    observe: Callable[[Partition], None] | None = None,
) -> torch.nn.Module:
    """Compile a module with ``torch.compile`` and PyTorch's own activation memory budget.

    Parameters
    ----------
    module : torch.nn.Module
    ratio : float
        The budget: the value of ``torch._functorch.config.activation_memory_budget``, from 0 to 1.
    engine : "operators", "decomposed" or "inductor"
        Runs the forward and backward graphs. ``"operators"`` runs the captured ATen operators eagerly, and
        ``"decomposed"`` the operators after Inductor's decompositions. ``"inductor"`` compiles kernels.
    observe : callable (Partition) → None, optional
        Called with each partition that PyTorch makes.

    Returns
    -------
    torch.nn.Module
        A module that shares the parameters of ``module``. The new module is compiled at its first call.
    """

    def partition(joint: GraphModule, inputs: Any, **options: Any) -> tuple[GraphModule, GraphModule]:
        if engine != "operators":
            options.setdefault("compiler", "inductor")
        forward, backward = min_cut_rematerialization_partition(joint, inputs, **options)
        if observe is not None:
            observe(Partition.of(forward, backward))
        return forward, backward

    def backend(graph: GraphModule, inputs: list[torch.Tensor]) -> Any:
        with functorch_config.patch(activation_memory_budget=ratio):
            if engine == "inductor":
                return _inductor(graph, inputs, partition)
            return _eager_compiler(partition, engine == "decomposed")(graph, inputs)

    # a new backend each time: Dynamo compiles the module again for it
    compiled: Any = torch.compile(module, backend=backend, fullgraph=True, dynamic=False)
    return cast(torch.nn.Module, compiled)


def _eager_compiler(partition: Callable[..., Any], decomposed: bool) -> Any:
    options: dict[str, Any] = {"keep_inference_input_mutations": True}
    if decomposed:
        from torch._inductor.decomposition import select_decomp_table

        options["decompositions"] = select_decomp_table()
    # boxed: values that are no longer needed are freed while the step runs
    return aot_autograd(fw_compiler=boxed_nop, bw_compiler=boxed_nop, partition_fn=partition, **options)


def _inductor(graph: GraphModule, inputs: list[torch.Tensor], partition: Callable[..., Any]) -> Any:
    from torch._inductor import config
    from torch._inductor.compile_fx import compile_fx
    from torch._inductor.custom_graph_pass import CustomPartitionerFn

    class Observed(CustomPartitionerFn):
        def __call__(self, gm: GraphModule, joint_inputs: Sequence[object], **kwargs: Any) -> Any:
            return partition(gm, joint_inputs, **kwargs)

        def uuid(self) -> None:
            """Return None, so that Inductor caches nothing."""

    # the partitioner is a local class that no cache can pickle
    caches = config.patch(fx_graph_cache=False), functorch_config.patch(enable_autograd_cache=False)
    with caches[0], caches[1], config.patch(custom_partitioner_fn=Observed()):
        return compile_fx(graph, inputs)
