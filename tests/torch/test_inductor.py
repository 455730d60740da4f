"""``rv.Partitioner``: Inductor runs a plan."""

from __future__ import annotations

import shutil

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import recompviz as rv
from recompviz.pytorch.internals.tensors import storage_key

pytestmark = [
    pytest.mark.slow,
    # Inductor imports torch.jit, which warns
    pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning"),
    pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="Inductor needs a C++ compiler"),
]


class Block(nn.Module):
    """A transformer block with attention and dropout."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(0.2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, width = x.shape
        q, k, v = self.qkv(self.norms[0](x)).view(batch, length, 3, 2, width // 2).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(x.shape)
        x = x + self.dropout(self.out(attended))
        return x + self.dropout(self.down(F.gelu(self.up(self.norms[1](x)))))


def mlp() -> nn.Module:
    layers = [layer for _ in range(4) for layer in (nn.Linear(32, 32), nn.GELU(), nn.Dropout(0.2))]
    return nn.Sequential(*layers, nn.BatchNorm1d(32))


def step(model: nn.Module, partitioner: rv.Partitioner | None, x: torch.Tensor) -> tuple[nn.Module, int]:
    """One step of a copy of a model; the copy, and the bytes saved besides parameters, buffers and inputs."""
    torch._dynamo.reset()
    torch.manual_seed(1)
    compiled = torch.compile(model, options={} if partitioner is None else {"custom_partitioner_fn": partitioner})
    output = compiled(x)
    given = {storage_key(t) for t in (*model.parameters(), *model.buffers(), x)}
    saved = {storage_key(t): t.untyped_storage().nbytes() for t in output.grad_fn.saved_tensors}
    output.square().mean().backward()
    return model, sum(size for key, size in saved.items() if key not in given)


@pytest.mark.parametrize(
    ("make", "x", "total"),
    [
        (mlp, torch.randn(128, 32), "200 KiB"),
        (lambda: nn.Sequential(Block(16), Block(16)), torch.randn(2, 64, 16), "370 KiB"),
    ],
    ids=["mlp", "transformer"],
)
def test_inductor_saves_what_the_plan_saves_and_computes_the_same_gradients(make, x, total) -> None:
    """The seed is the same, and so are the dropped elements, whether or not the backward pass computes them again."""
    torch.manual_seed(0)
    state = make().state_dict()

    def run(partitioner: rv.Partitioner | None) -> tuple[nn.Module, int]:
        model = make()
        model.load_state_dict(state)
        return step(model, partitioner, x)

    expected, most = run(None)
    partitioner = rv.Partitioner(total=total)
    model, saved = run(partitioner)
    (graph,) = partitioner.graphs
    assert saved == graph.saved < most
    assert partitioner.predicted <= partitioner.total
    for one, other in zip(model.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)
    for one, other in zip(model.buffers(), expected.buffers(), strict=True):
        torch.testing.assert_close(one, other)


def test_a_total_is_checked_when_the_partitioner_is_made() -> None:
    with pytest.raises(ValueError, match="is not a size"):
        rv.Partitioner(total="ten")
