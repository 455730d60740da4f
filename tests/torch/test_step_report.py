"""The recorded step of a compiled model: regions, islands, and the line and reason of each graph break."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import recompviz as rv
from recompviz.core.reports.training_step import StepReport
from recompviz.pytorch.budgeting.recorded_models import RecordedModels
from recompviz.pytorch.running.compiled_report import StepNotRecorded

WIDTH = 8


class Routed(nn.Module):
    """A mixture of experts whose loop the compiler cannot capture."""

    def __init__(self) -> None:
        super().__init__()
        self.router = nn.Linear(WIDTH, 2)
        self.experts = nn.ModuleList(nn.Sequential(nn.Linear(WIDTH, 32), nn.Tanh(), nn.Linear(32, WIDTH)) for _ in "ab")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate, choice = self.router(x).softmax(-1).max(-1)
        out = torch.zeros_like(x)
        for i, expert in enumerate(self.experts):
            mask = choice == i
            out[mask] = gate[mask, None] * expert(x[mask])  # routed
        return x + out


class Net(nn.Module):
    """Layers, a mixture of experts, a print, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.GELU(), nn.Linear(WIDTH, WIDTH), nn.GELU())
        self.moe = Routed()
        self.head = nn.Linear(WIDTH, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.moe(self.first(x))
        print("norm", h.detach().norm().item())  # printed
        return self.head(h)  # head


class Unused(nn.Module):
    """A model whose first region gets no gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scale = self.first(x).exp()
        torch._dynamo.graph_break()
        return self.second(x) * scale.detach()


class Block(nn.Module):
    """A layer of the user."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x).tanh()


class Stack(nn.Module):
    """Two equal layers in a loop that is not captured."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([Block(), Block()])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x)
            torch._dynamo.graph_break()
        return x


def line_of(owner: Callable[..., Any], mark: str) -> int:
    """The number of the line of a function that ends with a comment."""
    lines, first = inspect.getsourcelines(owner)
    return next(first + i for i, line in enumerate(lines) if line.rstrip().endswith(f"# {mark}"))


def train(model: Any, steps: int) -> None:
    torch.manual_seed(0)
    for _ in range(steps):
        cross_entropy(model(torch.randn(256, WIDTH)), torch.randint(0, 4, (256,))).backward()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(RecordedModels, "search_seconds", 0.05)
    torch._dynamo.reset()  # a batch size that differs from one of an earlier test would be captured as a symbol
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    torch._dynamo.reset()


def test_calibrated_operators_take_the_same_time_in_the_report_and_in_the_explorer() -> None:
    layers = nn.Sequential(nn.Linear(WIDTH, 32), nn.Tanh(), nn.Linear(32, 4))
    x, y = torch.randn(64, WIDTH), torch.randint(0, 4, (64,))
    trace = rv.calibrate(rv.trace(layers, x, targets=(y,), loss=cross_entropy))
    compiled = rv.compile(layers, total="100 MiB")
    for _ in range(3):
        cross_entropy(compiled(x), y).backward()
    report = rv.step_report(compiled)
    region = report.regions[0].joint
    forward = region.forward_count
    assert [call.info.op for call in region.calls[:forward]] == [call.info.op for call in trace.joint.calls[:forward]]
    assert region.seconds[:forward] == trace.joint.seconds[:forward]
    assert report.forward_time < report.step_time <= 1000 * sum(trace.joint.seconds)
    assert not any("timed once" in note for note in report.notes)


def test_a_report_says_that_operators_were_timed_once_in_the_recorded_step() -> None:
    compiled = rv.compile(nn.Sequential(nn.Linear(WIDTH, 33), nn.Tanh(), nn.Linear(33, 4)), total="100 MiB")
    train(compiled, 3)
    assert any("timed once" in note for note in rv.step_report(compiled).notes)


@pytest.mark.slow
def test_regions_and_islands_have_names_lines_and_reasons(capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    model = rv.compile(Net(), total="100 MiB")
    train(model, 4)
    capsys.readouterr()
    report: StepReport = rv.step_report(model)
    routed, printed = line_of(Routed.forward, "routed"), line_of(Net.forward, "printed")
    names = [region.name for region in report.regions]
    assert names == ["first", "moe.router", "moe.experts.0", "moe.experts.1", "head"]
    head = report.regions[-1].line
    assert head is not None
    assert head.number == line_of(Net.forward, "head")
    lines = [[found.line.number for found in island.breaks if found.line] for island in report.islands]
    assert lines[:-1] == [[], [routed], [routed], [routed], [routed, printed, printed]]
    opened = report.islands[1].breaks[0]
    assert "nonzero" in opened.reason
    assert "capture_dynamic_output_shape_ops" in opened.hints[0]
    assert any("print" in found.reason for found in report.breaks)
    # the loss
    assert lines[-1] == []
    assert report.islands[-1].line is not None
    assert report.islands[-1].line.function == "train"
    # the values of an expert have the names of the whole model
    assert {info.module.rpartition(".")[0] for info in report.regions[2].graph.info} == {"moe.experts.0"}
    for point, peak in enumerate(report.front.peak):
        assert max(moment.bytes for moment in report.moments(point)) == peak
    assert f"test_step_report.py:{routed}" in report.text


def test_a_model_without_breaks_is_one_region_and_is_planned_after_three_steps() -> None:
    model = rv.compile(nn.Sequential(nn.Linear(WIDTH, 32), nn.Tanh(), nn.Linear(32, 4)), total="100 MiB")
    train(model, 2)
    with pytest.raises(StepNotRecorded) as caught:
        rv.step_report(model)
    assert "train three steps" in caught.value.advice
    train(model, 1)
    report = rv.step_report(model)
    assert report.summary.startswith("one region")
    assert report.breaks == ()
    assert report.peak() <= report.total
    assert report.resident >= 4 * sum(p.numel() for p in model.parameters())


def test_two_layers_that_share_a_graph_have_their_own_names() -> None:
    model = rv.compile(Stack(), total="100 MiB")
    train(model, 3)
    report = rv.step_report(model)
    assert [region.name for region in report.regions] == ["layers.0.inner", "layers.1.inner"]
    assert len(report.breaks) == 1


def test_a_region_whose_output_is_not_trained_is_in_the_report() -> None:
    model = rv.compile(Unused(), total="100 MiB")
    train(model, 4)
    report = rv.step_report(model)
    assert len(report.regions) > 1
    assert report.peak() <= report.total


def test_without_a_total_there_is_nothing_to_show() -> None:
    model = rv.compile(nn.Linear(WIDTH, 4))
    train(model, 1)
    with pytest.raises(StepNotRecorded) as caught:
        rv.step_report(model)
    assert "total" in caught.value.advice
    with pytest.raises(TypeError):
        rv.step_report(nn.Linear(WIDTH, 4))
