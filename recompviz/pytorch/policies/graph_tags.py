"""``rv.memory_policy`` writes a plan as tags on the nodes of a joint graph, for trainers that work on graphs.

PyTorch's partitioner and torchtitan's graph trainer read ``node.meta["recompute"]`` of the forward nodes. The plan's
node for an operator is found by the order and the names of the operators.
"""

from __future__ import annotations

from typing import Any

from torch.fx import GraphModule, Node
from torch.utils.checkpoint import CheckpointPolicy

from recompviz.core.base.arguments import expect
from recompviz.core.base.errors import PlanMismatch
from recompviz.core.plans.plan import Plan, expect_plan
from recompviz.pytorch.internals.export import placeholder_role
from recompviz.pytorch.internals.operators import draws_random_numbers, operator_name


def memory_policy(plan: Plan) -> MemoryPolicy:
    """Return a pass that tags the forward nodes of a joint graph: a value is saved if the plan keeps it.

    Parameters
    ----------
    plan : Plan
        A plan of a traced step; see :func:`recompviz.trace`.

    Returns
    -------
    MemoryPolicy
        Call it with the joint graph. It returns the same graph, with ``node.meta["recompute"]``.

    Raises
    ------
    TypeError
        If ``plan`` is not a Plan.
    PlanMismatch
        When the returned pass is called, if the graph has other forward operators than the plan.

    Notes
    -----
    ``CheckpointPolicy.MUST_SAVE`` and ``MUST_RECOMPUTE`` tag the values of the plan. ``PREFER_RECOMPUTE`` tags the
    results of operators that the plan does not contain, such as views. Results of random operators are saved, because
    a second run of a random operator in the joint graph would draw other numbers. The program that reads the tags
    decides when a value is computed again, so the peak can be above the simulated peak of the plan.

    PyTorch's own partitioner reads the tags: tests compare what it saves with the plan. For torchtitan's graph trainer,
    register the pass as one of its memory policies (written after its published source, not run with it)::

        from torchtitan.experiments.graph_trainer.memory_policy import register_memory_policy

        register_memory_policy("recompviz")(rv.memory_policy(plan))  # then compile.memory_policy = "recompviz"

    Examples
    --------
    >>> import torch, recompviz as rv
    >>> from functorch.compile import aot_module, make_boxed_func, min_cut_rematerialization_partition
    >>> model = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.Tanh(), torch.nn.Linear(32, 1))
    >>> x = torch.ones(4, 8)
    >>> trace = rv.trace(model, x)
    >>> policy = rv.memory_policy(rv.Plan.from_keep_mask(trace.graph, ["0/addmm"], "mine"))
    >>> def partition(joint, inputs, **options):
    ...     return min_cut_rematerialization_partition(policy(joint), inputs, **options)
    >>> step = aot_module(model, lambda graph, _: make_boxed_func(graph), partition_fn=partition)
    >>> step(x).sum().backward()
    """
    expect_plan(plan)
    return MemoryPolicy(plan)


class MemoryPolicy:
    """A pass that tags a joint graph; made by :func:`memory_policy`.

    Attributes
    ----------
    plan : Plan
        The plan that the tags describe.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        keep = plan.keep_mask.tolist()
        inside = [v for v, info in enumerate(plan.graph.info) if info.op]
        self._names = [plan.graph.info[v].op for v in inside]
        self._saves = [bool(keep[v]) for v in inside]

    def __call__(self, graph: GraphModule, *_inputs: Any, **_options: Any) -> GraphModule:
        """Tag the forward nodes of a joint graph, in place, and return the graph.

        Raises
        ------
        TypeError
            If ``graph`` is not a ``torch.fx.GraphModule``.
        PlanMismatch
            If the graph has other forward operators than the plan. Nothing is tagged then.
        """
        expect(graph, GraphModule, "graph", "a torch.fx.GraphModule", "give the joint graph of forward and backward")
        backward = _backward_nodes(graph)
        tags: dict[Node, CheckpointPolicy] = {}
        known, position = set(self._names), 0
        for node in graph.graph.nodes:
            if node.op != "call_function" or node in backward:
                continue
            name = operator_name(node.target).removesuffix("_")
            if getattr(node.target, "__name__", "") == "getitem" and node.args[0] in tags:
                tags[node] = tags[node.args[0]]
            elif name not in known:
                tags[node] = CheckpointPolicy.PREFER_RECOMPUTE
            elif position == len(self._names) or name != self._names[position]:
                raise self._mismatch(name, position)
            else:
                saved = self._saves[position] or draws_random_numbers(node.target, node.args)
                tags[node] = CheckpointPolicy.MUST_SAVE if saved else CheckpointPolicy.MUST_RECOMPUTE
                position += 1
        if position < len(self._names):
            raise self._mismatch("nothing more", position)
        for node, tag in tags.items():
            node.meta["recompute"] = tag
            node.meta["ac_graph_id"] = 0  # PyTorch's partitioner compares it between checkpoints
        return graph

    def _mismatch(self, name: str, position: int) -> PlanMismatch:
        expected = self._names[position] if position < len(self._names) else "nothing more"
        return PlanMismatch(
            f"the joint graph has {name} where the plan has {expected} (operator {position + 1} of "
            f"{len(self._names)}); trace the model and the loss as the trainer captures them, without decompositions"
        )


def _backward_nodes(graph: GraphModule) -> set[Node]:
    """Return the nodes of the backward pass: marked as such, or computed from gradients of the outputs."""
    found: set[Node] = set()
    for node in graph.graph.nodes:
        marked = node.meta.get("autograd_backward") or node.meta.get("partitioner_tag") == "is_backward"
        tangent = node.op == "placeholder" and (
            node.name.startswith("tangents") or ("desc" in node.meta and placeholder_role(node)[0] == "tangent")
        )
        if marked or tangent or any(source in found for source in node.all_input_nodes):
            found.add(node)
    return found
