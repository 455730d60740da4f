"""The bytes of a step at another batch size or length are those of a trace there, without a trace."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import recompviz as rv
from recompviz.core.planning.planner import Planner
from recompviz.pytorch.tracing.resized_trace import ResizedTraces, axes_of
from recompviz.pytorch.tracing.step import TraceError


class Convolutional(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
        self.head = nn.Linear(4 * 9, 5)

    def forward(self, x):
        return self.head(self.layers(x))


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.head = nn.Embedding(50, 8), nn.Linear(8, 50)
        self.positions = nn.Parameter(torch.zeros(64, 8))

    def forward(self, tokens):
        h = self.embedding(tokens) + self.positions[: tokens.shape[1]]
        h = (h @ h.mT).softmax(-1) @ h
        return self.head(h).transpose(1, 2)


def images(batch):
    return (torch.randn(batch, 3, 8, 8),), (torch.randint(0, 5, (batch,)),)


def tokens(batch, length):
    drawn = torch.randint(0, 50, (batch, length))
    return (drawn,), (drawn,)


def trace(model, of):
    inputs, targets = of
    return rv.trace(model, *inputs, targets=targets, loss=F.cross_entropy)


def equal_to_trace(resized, sizes, there):
    graph, joint = resized.at(sizes)
    assert [s.size for s in joint.storages] == [s.size for s in there.joint.storages]
    assert joint.clones == there.joint.clones
    assert joint.tangent_bytes == there.joint.tangent_bytes
    assert graph.memory.tolist() == there.graph.memory.tolist()
    assert [info.shape for info in graph.info] == [info.shape for info in there.graph.info]
    return graph, joint


@pytest.mark.parametrize("batch", [3, 40])
def test_bytes_and_shapes_at_another_batch_are_those_of_a_trace_there(batch):
    model = Convolutional()
    resized = ResizedTraces(trace(model, images(6)))
    graph, joint = equal_to_trace(resized, {"batch": batch}, there := trace(model, images(batch)))
    plan = there.baseline("chen")
    assert Planner(graph, joint).simulate(plan.on(graph)).peak == rv.simulate(there, plan).peak


def test_bytes_at_a_shorter_length_grow_with_its_square():
    model = Attention()
    resized = ResizedTraces(trace(model, tokens(3, 32)))
    assert [axis.name for axis in resized.axes] == ["batch", "length"]
    equal_to_trace(resized, {"batch": 5, "length": 20}, trace(model, tokens(5, 20)))


def test_measured_times_and_workspace_grow_and_measured_sizes_stay_in_proportion():
    traced = trace(Convolutional(), images(6))
    calibrated = rv.calibrate(traced)
    resized = ResizedTraces(calibrated, traced)
    same, joint = resized.at({"batch": 6})
    assert [s.size for s in joint.storages] == [s.size for s in calibrated.joint.storages]
    assert joint.workspace == calibrated.joint.workspace
    assert same.time == pytest.approx(calibrated.graph.time, rel=0.01)
    more, larger = resized.at({"batch": 600})
    assert more.time.sum() > same.time.sum()
    assert (np.array(larger.workspace) >= np.array(joint.workspace)).all()


@pytest.mark.parametrize("batch", [4, 16])
def test_measured_workspace_at_another_batch_is_rather_too_high_and_close_to_the_measured_one(batch):
    convolutions = nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1), nn.ReLU()
    model = nn.Sequential(*convolutions, nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(9 * 32, 5))

    def traced(batch):
        return trace(model, ((torch.randn(batch, 3, 32, 32),), (torch.randint(0, 5, (batch,)),)))

    here, there = traced(8), rv.calibrate(traced(batch))
    graph, joint = ResizedTraces(rv.calibrate(here), here).at({"batch": batch})
    plan = there.baseline("keep-all")
    measured = rv.simulate(there, plan).peak
    without = Planner(graph, replace(joint, workspace=(0,) * len(joint.calls))).simulate(plan.on(graph)).peak
    assert without < 0.9 * measured  # the workspace matters here
    assert measured * 0.99 <= Planner(graph, joint).simulate(plan.on(graph)).peak < measured * 1.06


def test_an_input_that_does_not_begin_with_the_batch_has_no_axis():
    assert axes_of(((torch.zeros(4, 3), torch.zeros(7)), {}, ())) == ()
    assert axes_of(((3,), {}, ())) == ()


def test_one_tensor_that_is_input_and_target_stays_one():
    resized = ResizedTraces(trace(Attention(), tokens(3, 32)))
    inputs, _, targets = resized.trace_at({"batch": 6}).arguments
    assert inputs[0] is targets[0]


class OtherOperators(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 1)

    def forward(self, x):
        return self.layer(x if len(x) < 6 else x.sin())


def test_a_step_with_other_operators_at_another_size_is_refused():
    resized = ResizedTraces(rv.trace(OtherOperators(), torch.zeros(4, 8), loss=torch.sum))
    with pytest.raises(TraceError, match="other operators at batch 8"):
        resized.at({"batch": 5})


def test_a_size_outside_the_range_is_refused():
    resized = ResizedTraces(trace(Attention(), tokens(3, 32)))
    with pytest.raises(ValueError, match="length is 2049, expected 1 to 2048"):
        resized.at({"length": 64 * 32 + 1})


class LearnedPositions(nn.Module):
    """Positions from a table: rows of an arange, of a buffer, or counted from the tokens that are no padding."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.embedding, self.table, self.head = nn.Embedding(50, 8), nn.Embedding(48, 8), nn.Linear(8, 50)
        self.register_buffer("ids", torch.arange(500))

    def forward(self, tokens):
        length = tokens.shape[1]
        rows = {
            "arange": lambda: torch.arange(length, device=tokens.device),
            "buffer": lambda: self.ids[:length],
            "counted": lambda: (tokens >= 0).long().cumsum(1) - 1,
        }[self.kind]()
        return self.head(self.embedding(tokens) + self.table(rows)).transpose(1, 2)


def test_bytes_at_a_longer_length_are_those_of_a_trace_there():
    model = Attention()
    resized = ResizedTraces(trace(model, tokens(3, 16)))
    equal_to_trace(resized, {"batch": 5, "length": 48}, trace(model, tokens(5, 48)))
    equal_to_trace(resized, {"batch": 2, "length": 12}, trace(model, tokens(2, 12)))  # and shorter ones as before


def test_a_length_above_the_models_longest_is_refused_with_the_reason():
    resized = ResizedTraces(trace(Attention(), tokens(3, 32)))  # a table of 64 rows that is cut
    resized.at({"length": 64})
    with pytest.raises(TraceError, match=r"no length 96: .*(96|64)"):
        resized.at({"length": 96})


@pytest.mark.parametrize("kind", ["arange", "buffer", "counted"])
def test_a_length_above_the_rows_of_a_table_of_positions_is_refused_with_their_number(kind):
    model = LearnedPositions(kind)
    resized = ResizedTraces(trace(model, tokens(3, 16)))
    equal_to_trace(resized, {"batch": 3, "length": 48}, trace(model, tokens(3, 48)))
    with pytest.raises(
        TraceError, match=r"no length 49: a table has 48 rows \(table.weight\), and row 49 is looked up"
    ):
        resized.at({"length": 49})
    with pytest.raises(IndexError):  # eager PyTorch agrees
        model(tokens(3, 49)[0][0])


def test_an_explorer_keeps_the_plans_of_the_traced_size_and_of_those_asked_for_last():
    from recompviz.widgets.explorer.explore_model import MOST_SIZES, TraceResizer

    trace = rv.trace(nn.Linear(8, 1), torch.zeros(4, 8), loss=torch.sum)
    resizer = TraceResizer(trace)
    found = {size: resizer.at({"batch": size}, lambda *_: None) for size in range(1, 3 * MOST_SIZES)}
    assert len(resizer._subjects) == MOST_SIZES
    assert resizer.at({"batch": 4}, lambda *_: None).planner is trace.planner
    last = 3 * MOST_SIZES - 1
    assert resizer.at({"batch": last}, lambda *_: None) is found[last]
    assert resizer.at({"batch": 1}, lambda *_: None) is not found[1]


@pytest.mark.slow
def test_a_run_at_another_batch_is_predicted_with_the_costs_that_the_explorer_shows():
    from recompviz.widgets.explorer.explore_model import TraceResizer

    before = trace(Convolutional(), images(4))
    resizer = TraceResizer(rv.calibrate(before), before)
    subject = resizer.at({"batch": 6}, lambda *_: None)
    plan = subject.planner.first_plans().plans[-1]
    assert plan.overhead
    report = subject.runner.run(plan, lambda *_: None)
    assert report.plan is plan
    assert report.times.predicted_extra == plan.overhead
    assert plan.on(subject.runner._runner.trace.graph).overhead != plan.overhead  # with other costs
    eager = 1000 * sum(resizer._subjects[4,].planner.joint.seconds)
    assert report.times.predicted_eager > eager  # the scaled step takes longer than the traced one
    assert "not calibrated" not in str(report.gap)  # the workspace of this size is measured, too
    assert report.gap.steps[-1].total == report.measured.peak


class Counted(ResizedTraces):
    """Writes down at which sizes the step is traced."""

    def trace_at(self, sizes):
        self.traced = [*getattr(self, "traced", []), dict(sizes)]
        return super().trace_at(sizes)


@pytest.mark.slow
def test_each_choice_of_a_size_traces_the_step_at_most_once_for_each_axis_that_changes():
    resized = Counted(trace(Attention(), tokens(2, 32)))
    choices = [
        ({}, []),
        ({"batch": 5}, [{"batch": 4}]),
        ({"batch": 50}, []),
        ({"length": 24}, [{"length": 24}]),  # itself
        ({"length": 16}, [{"length": 16}]),
        ({"length": 12}, [{"length": 8}]),  # now all shorter lengths follow
        ({"length": 28, "batch": 3}, []),
        ({"length": 64}, [{"length": 64}]),
        ({"length": 64, "batch": 7}, []),
    ]
    for sizes, wanted in choices:
        resized.traced = []
        resized.at(sizes)
        assert resized.traced == wanted, sizes
        equal_to_trace(resized, sizes, resized.trace_at(sizes))


def test_the_progress_says_at_which_size_the_step_is_traced():
    resized, told = ResizedTraces(trace(Attention(), tokens(2, 32))), []
    resized.learn({"batch": 3, "length": 16}, lambda *facts: told.append(facts))
    assert told == [(0, 2, "batch", 4), (1, 2, "length", 16)]
