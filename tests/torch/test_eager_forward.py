"""A model that runs other code while it is captured: the difference from eager is measured and named."""

from __future__ import annotations

import inspect
import warnings

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import recompviz as rv
from recompviz.pytorch.measuring.eager_forward import (
    difference_from_eager,
    eager_forward,
    estimated_bytes,
)
from tests.torch.steps import CASES, make


class OtherBranch(nn.Module):
    """Keeps more values while it is captured."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(16, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.layer(x)
        if torch.compiler.is_compiling():
            x = x.exp().log()  # only captured
        return torch.tanh(x).sum()


def block() -> nn.Module:
    return nn.Sequential(nn.Linear(16, 64), nn.GELU(), nn.LayerNorm(64), nn.Linear(64, 16))


class Checkpointed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(block() for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for each in self.blocks:
            x = checkpoint(each, x, use_reentrant=False)
        return x.square().sum()


class Overwriting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.Dropout(0.3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x).mean()


@pytest.mark.parametrize("fresh", [False, True])
def test_another_branch_is_named_with_its_line_and_both_sizes(fresh: bool) -> None:
    trace = rv.trace(OtherBranch(), torch.rand(32, 16) + 2)
    saved = trace.schedule(trace.baseline("keep-all")).saved_bytes
    with pytest.warns(rv.EagerDiffers) as caught:
        rv.calibrate(trace, fresh=fresh)
    message = str(caught[0].message)
    lines, start = inspect.getsourcelines(OtherBranch)
    line = start + next(i for i, text in enumerate(lines) if "only captured" in text)
    assert f"{__file__}:{line} " in message
    assert eager_forward(trace).saved_bytes == 32 * 16 * 4 < saved  # eager saves the result of tanh
    assert caught[0].filename == __file__


def test_a_failed_certificate_names_the_other_branch() -> None:
    torch.manual_seed(0)
    trace = rv.trace(OtherBranch(), torch.rand(32, 16) + 2)
    certificate = rv.certify(trace, trace.baseline("keep-all"))
    assert not certificate.ok
    assert "only captured" in certificate.text


@pytest.mark.parametrize(("model", "shape"), [(Checkpointed, (8, 16)), (block, (8, 16)), (Overwriting, (4, 3, 8, 8))])
def test_equal_steps_are_not_reported(model: type[nn.Module], shape: tuple[int, ...]) -> None:
    trace = rv.trace(model(), torch.ones(shape))
    assert difference_from_eager(trace) == ""


def test_a_step_saves_in_eager_what_it_saves_when_all_is_kept() -> None:
    trace = rv.trace(block(), torch.ones(8, 16), loss=torch.sum)
    assert eager_forward(trace).saved_bytes == trace.schedule(trace.baseline("keep-all")).saved_bytes


def test_the_comparison_leaves_buffers_and_random_numbers_as_they_were() -> None:
    model = Overwriting()
    trace = rv.trace(model, torch.rand(4, 3, 8, 8))
    before, state = {name: b.clone() for name, b in model.named_buffers()}, torch.get_rng_state()
    eager_forward(trace)
    assert all(torch.equal(b, before[name]) for name, b in model.named_buffers())
    assert torch.equal(torch.get_rng_state(), state)


def test_a_step_that_cannot_run_so_is_not_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    model = block()
    trace = rv.trace(model, torch.ones(8, 16))

    def out_of_memory(*_: object) -> None:
        raise torch.OutOfMemoryError("the device is full")

    monkeypatch.setattr(model, "forward", out_of_memory)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert difference_from_eager(trace) == ""


@pytest.mark.parametrize("name", CASES)
def test_tensors_without_memory_give_the_same_bytes(name: str) -> None:
    trace = make(name).trace()
    assert estimated_bytes(trace) == eager_forward(trace).saved_bytes


class Reads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not torch.compiler.is_compiling() and bool(x.max() > 0):  # needs the values of the tensor
            x = x + 1
        return self.layer(x).sum()


def test_a_forward_pass_that_reads_values_is_counted_by_a_run() -> None:
    trace = rv.trace(Reads(), torch.ones(2, 4))
    assert estimated_bytes(trace) is None
    assert difference_from_eager(trace, long=True) == ""


def test_a_long_step_with_another_branch_is_reported_too() -> None:
    trace = rv.trace(OtherBranch(), torch.rand(32, 16) + 2)
    assert difference_from_eager(trace, long=True) == difference_from_eager(trace) != ""
