"""Hooks that pack saved tensors: copies change nothing, and a changed token is refused."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import recompviz as rv
from recompviz.pytorch.budgeting.recorded_models import RecordedModels
from recompviz.pytorch.budgeting.recording_attempts import UnplannedStep
from recompviz.pytorch.executing.region import SavedTensorsChanged

Pack = Callable[[torch.Tensor], torch.Tensor]


def contiguous_copy(tensor: torch.Tensor) -> torch.Tensor:
    """Copy as ``save_on_cpu(pin_memory=True)`` does, which keeps no strides."""
    copy = torch.empty(tensor.size(), dtype=tensor.dtype)
    return copy.copy_(tensor)


def half(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to(torch.bfloat16)


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(64, 128), nn.GELU(), nn.Dropout(0.1), nn.Linear(128, 128), nn.GELU(), nn.Linear(128, 1)
    )


def train(called: nn.Module, model: nn.Module, contexts: list[Any]) -> list[torch.Tensor]:
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    for seed, context in enumerate(contexts):
        torch.manual_seed(seed)
        with context:
            called(torch.randn(256, 64)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return [parameter.detach() for parameter in model.parameters()]


@pytest.mark.slow
@pytest.mark.parametrize("pack", [torch.Tensor.clone, contiguous_copy])
@pytest.mark.parametrize("before", [0, 4], ids=["from the start", "after a plan was chosen"])
def test_steps_whose_saved_tensors_are_copied_are_those_of_eager(
    pack: Pack, before: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RecordedModels, "search_seconds", 0.05)
    hooks = [torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor) for _ in range(5)]
    contexts = [*(contextlib.nullcontext() for _ in range(before)), *hooks]
    eager, mine = net(), net()
    compiled = rv.compile(mine, total="1 MiB")
    expected = train(eager, eager, contexts)
    if before:
        found = train(compiled, mine, contexts)
    else:
        with pytest.warns(UnplannedStep, match="saved_tensors_hooks copy what the model saves"):
            found = train(compiled, mine, contexts)
        with pytest.raises(ValueError, match="saved_tensors_hooks copy"):
            rv.step_report(compiled)
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


def test_hooks_that_change_every_tensor_are_refused() -> None:
    model = rv.compile(net(), total="10 MiB")
    with torch.autograd.graph.saved_tensors_hooks(half, lambda tensor: tensor):
        loss = model(torch.randn(256, 64)).square().mean()
        with pytest.raises(SavedTensorsChanged, match="floating-point tensors only"):
            loss.backward()
