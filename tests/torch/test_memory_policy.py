"""``rv.memory_policy``: a plan as tags of a joint graph, read by PyTorch's own partitioner."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch._dynamo.backends.common import aot_autograd
from torch._functorch.aot_autograd import make_boxed_func
from torch._functorch.partitioners import min_cut_rematerialization_partition
from torch.utils.checkpoint import CheckpointPolicy

import recompviz as rv


class Network(nn.Module):
    """Three layers with a norm, and dropout if asked for."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(3))
        self.norm = nn.LayerNorm(8)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = self.dropout(torch.tanh(layer(x)))
        return self.norm(x).square().mean()


X = torch.randn(16, 8, generator=torch.Generator().manual_seed(0))


class Run:
    """Runs a model whose joint graph is tagged and then partitioned by PyTorch."""

    def __init__(self, model: nn.Module, policy: Any) -> None:
        self.saved: list[str] = []

        def partition(joint: Any, inputs: Any, **options: Any) -> Any:
            self.joint = policy(joint)
            ahead, behind = min_cut_rematerialization_partition(joint, inputs, **options)
            outputs = next(iter(reversed(ahead.graph.nodes))).args[0][options["num_fwd_outputs"] :]
            self.saved += [str(node.target) for node in outputs if node.op == "call_function"]
            return ahead, behind

        backend = aot_autograd(
            fw_compiler=lambda graph, _: make_boxed_func(graph),
            bw_compiler=lambda graph, _: make_boxed_func(graph),
            partition_fn=partition,
        )
        torch._dynamo.reset()
        torch.manual_seed(1)
        torch.compile(model, backend=backend)(X).backward()
        self.gradients = [p.grad.clone() for p in model.parameters()]
        model.zero_grad()


def eager(model: nn.Module) -> list[torch.Tensor]:
    torch.manual_seed(1)
    model(X).backward()
    found = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    return found


@pytest.mark.parametrize("kept", ["tanh", "addmm", "nothing"])
def test_pytorchs_partitioner_saves_what_the_plan_keeps(kept: str) -> None:
    model = Network()
    trace = rv.trace(model, X)
    names = [name for name in trace.graph.names if kept in name]
    plan = rv.Plan.from_keep_mask(trace.graph, names, "mine")
    run = Run(model, rv.memory_policy(plan))
    operators = [trace.graph.info[v].op for v, keeps in enumerate(plan.keep_mask.tolist()) if keeps]
    made = [target.rpartition(".")[0] for target in run.saved if target.rpartition(".")[0] in operators]
    views = {target for target in run.saved if target.startswith("aten.")} - {f"{name}.default" for name in operators}
    assert len(made) == len(names)
    assert views <= {"aten.permute.default", "aten.t.default"}  # views of parameters
    assert all(torch.equal(a, b) for a, b in zip(run.gradients, eager(model), strict=True))


def test_random_values_are_saved_and_gradients_equal() -> None:
    model = Network(dropout=0.5)
    trace = rv.trace(model, X)
    run = Run(model, rv.memory_policy(rv.Plan.from_keep_mask(trace.graph, [], "nothing")))
    tags = {str(n.target): n.meta.get("recompute") for n in run.joint.graph.nodes if n.op == "call_function"}
    assert tags["aten.native_dropout.default"] is CheckpointPolicy.MUST_SAVE
    assert tags["aten.tanh.default"] is CheckpointPolicy.MUST_RECOMPUTE
    assert tags["aten.native_dropout_backward.default"] is None
    assert all(torch.equal(a, b) for a, b in zip(run.gradients, eager(model), strict=True))


def test_another_graph_is_refused_and_not_tagged() -> None:
    trace = rv.trace(Network(), X)
    policy = rv.memory_policy(rv.Plan.keep_all(trace.graph))
    graph = torch.fx.Graph()
    x = graph.placeholder("x")
    call = graph.call_function(torch.ops.aten.tanh.default, (x,))
    graph.output(call)
    with pytest.raises(rv.PlanMismatch, match=r"has aten\.tanh where the plan has aten\.addmm \(operator 1"):
        policy(torch.fx.GraphModule(nn.Module(), graph))
    assert "recompute" not in call.meta
    with pytest.raises(TypeError, match=r"graph is 3, expected a torch\.fx\.GraphModule"):
        policy(3)
