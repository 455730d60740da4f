"""Under DistributedDataParallel, the gradients of a compiled model arrive in the order of the eager model."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from recompviz.benchmarks.ranks import buckets
from recompviz.benchmarks.ranks.processes import run_ranks


@pytest.fixture(scope="module")
def group() -> Iterator[None]:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def arrived(model: nn.Module, called: nn.Module, x: Tensor) -> list[str]:
    """Run two steps; return the parameters in the order in which they got the gradients of the second."""
    order: list[str] = []
    for key, parameter in model.named_parameters():
        parameter.register_post_accumulate_grad_hook(lambda _parameter, key=key: order.append(key))
    for _ in range(2):
        order.clear()
        called(x).sum().backward()
    return order


class Shared(nn.Module):
    """Three parameters of one call, two of which are used together elsewhere, and one that is a sum."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = (nn.Parameter(torch.randn(4)) for _ in range(3))
        self.norm = nn.GroupNorm(2, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.addcmul(self.a, self.b, self.c)
        return self.norm(x * y + (self.b + self.c))


@pytest.mark.usefixtures("group")
@pytest.mark.parametrize("name", ["branches", "lstm", "shared"])
def test_gradients_arrive_in_the_order_of_eager_autograd(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buckets, "WIDTH", 8)
    x = torch.randn(4, 4 if name == "shared" else 8)

    def model() -> nn.Module:
        return Shared() if name == "shared" else buckets.MODELS[name][0]()

    def wrapped(inner: nn.Module) -> nn.Module:
        return nn.parallel.DistributedDataParallel(inner, find_unused_parameters=name == "branches")

    plain = model()
    eager = arrived(plain, wrapped(plain), x)
    compiled = model()
    compiled.compile(backend="recompviz")
    assert arrived(compiled, wrapped(compiled), x) == eager
    assert len(eager) == len([p for p in compiled.parameters() if p.grad is not None])


def test_without_ddp_parameters_enter_the_graph_directly() -> None:
    model = Shared()
    model.compile(backend="recompviz")
    node = model(torch.randn(4, 4)).grad_fn
    assert {type(entry).__name__ for entry, _ in node.next_functions if entry is not None} == {"AccumulateGrad"}


@pytest.mark.slow
def test_ten_steps_of_three_ranks_with_several_buckets_are_bitwise_equal() -> None:
    for result in run_ranks(buckets.WORKER, [json.dumps([{"model": "tied", "place": "outside"}])], 3, seconds=600):
        (row,) = result["rows"]
        assert row["equal"]
        assert row["first"] == ""
        assert row["buckets"] > 2
