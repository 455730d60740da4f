"""A model under FSDP2, compiled by ``backend="recompviz"``: what its rank stores counts in the total."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import fully_shard

import recompviz as rv
from recompviz.pytorch.internals.sharded_parameters import sharded_of


@pytest.fixture
def group() -> Iterator[None]:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(32, 32)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.linear(x))


class Blocks(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block() for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = block(x)
        return x


def resident(kind: type[torch.optim.Optimizer]) -> int:
    """Train four steps; return the bytes that are counted before a step."""
    torch._dynamo.reset()
    model = Blocks()
    for block in model.blocks:
        fully_shard(block)
    fully_shard(model)
    model.compile(backend="recompviz", options={"total": "1 GiB"})
    optimizer = kind(model.parameters(), lr=0.1)
    x = torch.randn(64, 32)
    for _ in range(4):
        model(x).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return rv.step_report(model).resident


@pytest.mark.slow
# Dynamo asks gathered activations for their gradient
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")
@pytest.mark.usefixtures("group")
def test_the_state_of_an_optimizer_of_sharded_parameters_counts() -> None:
    parameters = list(Blocks().parameters())
    state = sum(2 * p.nbytes + 4 for p in parameters)  # two moments, and one number of a step for each parameter
    assert resident(torch.optim.Adam) - resident(torch.optim.SGD) == state


@pytest.mark.usefixtures("group")
def test_the_sharded_parameters_of_gathered_ones_are_found() -> None:
    linear = nn.Linear(4, 4)
    plain = list(linear.parameters())
    fully_shard(linear)
    gathered: list[torch.Tensor] = []
    linear.register_forward_hook(lambda module, *_: gathered.extend(module.parameters()))
    linear(torch.ones(2, 4))
    linear.reshard()
    assert list(map(id, sharded_of(gathered))) == list(map(id, linear.parameters()))
    assert sharded_of(plain) == []
    assert list(map(id, sharded_of([*plain, *gathered]))) == list(map(id, linear.parameters()))
