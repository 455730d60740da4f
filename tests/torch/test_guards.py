"""Calls that the trace does not hold for: the right answer or a clear error, never a stale one."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import recompviz as rv
from recompviz.pytorch.budgeting.planned_budget import PlanWarning
from recompviz.pytorch.executing.backend import UnplannedGraph
from tests.torch.steps import Case, make


def planned_batch_norm() -> tuple[Case, rv.PlannedModule]:
    case = make("batch norm")
    trace = case.trace()
    return case, rv.apply(trace, trace.tradeoff().plan_at(0))


def same_as_eager(case: Case, planned: rv.PlannedModule, *values: torch.Tensor) -> None:
    """Loss and gradients equal eager's on these values, and a warning said so once."""
    buffers = [b.clone() for b in case.model.buffers()]
    planned.zero_grad()
    with pytest.warns(PlanWarning):
        loss = planned(*values)
    loss.backward()
    ours = [p.grad.clone() for p in case.model.parameters() if p.grad is not None]
    for buffer, before in zip(case.model.buffers(), buffers, strict=True):
        buffer.copy_(before)
    planned.zero_grad()
    assert case.loss is not None
    expected = case.loss(case.model(*values[:1]), *values[1:])
    expected.backward()
    theirs = [p.grad for p in case.model.parameters() if p.grad is not None]
    assert torch.equal(loss, expected)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        planned(*values)


def test_a_smaller_last_batch_is_traced_anew() -> None:
    case, planned = planned_batch_norm()
    same_as_eager(case, planned, torch.randn(3, 3, 12, 12), torch.tensor([2, 1, 0]))


def test_another_image_size_is_traced_anew() -> None:
    case, planned = planned_batch_norm()
    same_as_eager(case, planned, torch.randn(2, 3, 16, 16), torch.tensor([2, 1]))


def test_another_length_is_planned_where_inputs_of_equal_length_use_it() -> None:
    class Positions(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            positions = torch.arange(x.shape[1])
            scores = x @ x.transpose(1, 2) - (positions[None] - positions[:, None]).abs()
            return super().forward(scores.softmax(-1) @ x)

    x, y = torch.ones(2, 6, 8), torch.zeros(2, 6, 8)
    planned = rv.fit_in(Positions(8, 8), x, targets=(y,), loss=F.mse_loss, total="1 MB")
    planned(x, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UnplannedGraph)
        with pytest.warns(PlanWarning):
            planned(torch.ones(2, 4, 8), torch.zeros(2, 4, 8)).backward()


def test_one_graph_serves_all_lengths_although_none_is_the_traced_one() -> None:
    class Attention(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward((x @ x.transpose(1, 2)).softmax(-1) @ x)

    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(20, 8), Attention(8, 8), nn.GELU(), nn.Linear(8, 3))
    twin = copy.deepcopy(model)
    ids = torch.randint(0, 20, (2, 30))
    planned: Any = rv.fit_in(model, ids, loss=torch.sum, total="1 MB")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PlanWarning)
        for length in (7, 19, 4, 11, 26, 15):
            model.zero_grad()
            twin.zero_grad()
            loss, expected = planned(ids[:, :length]), twin(ids[:, :length]).sum()
            loss.backward()
            expected.backward()
            assert torch.equal(loss, expected)
            assert all(torch.equal(a.grad, b.grad) for a, b in zip(model.parameters(), twin.parameters(), strict=True))
    assert len(planned._budget.regions) <= 3


def test_eval_mode_is_not_met_by_the_training_trace() -> None:
    case, planned = planned_batch_norm()
    planned.eval()
    same_as_eager(case, planned, *case.inputs, *case.targets)


def test_another_dtype_is_traced_anew() -> None:
    case, planned = planned_batch_norm()
    planned.double()
    same_as_eager(case, planned, case.inputs[0].double(), *case.targets)


def test_without_gradients_it_runs_eagerly() -> None:
    case, planned = planned_batch_norm()
    planned.eval()
    with torch.no_grad():
        loss = planned(*case.inputs, *case.targets)
    assert case.loss is not None
    assert torch.equal(loss, case.loss(case.model(*case.inputs), *case.targets))


def test_a_changed_attribute_is_noticed() -> None:
    case = make("convolutions with dropout")
    trace = case.trace()
    planned = rv.apply(trace, trace.tradeoff().plan_at(0))
    case.model[3].p = case.model[8].p = 0.0
    with pytest.warns(PlanWarning):
        loss = planned(*case.inputs, *case.targets)
    assert case.loss is not None
    assert torch.equal(loss, case.loss(case.model(*case.inputs), *case.targets))


def test_a_frozen_parameter_gets_no_gradient() -> None:
    case, planned = planned_batch_norm()
    case.model[0].weight.requires_grad_(False)
    with pytest.warns(PlanWarning):
        planned(*case.inputs, *case.targets).backward()
    assert case.model[0].weight.grad is None
    assert case.model[3].weight.grad is not None


def test_a_parameter_overwritten_before_backward_is_refused() -> None:
    case, planned = planned_batch_norm()
    loss = planned(*case.inputs, *case.targets)
    with torch.no_grad():
        case.model[3].weight.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_a_loss_that_captures_a_tensor_is_refused_by_name() -> None:
    case = make("batch norm")
    labels = case.targets[0]
    with pytest.raises(rv.TraceError, match="'labels'"):
        rv.trace(case.model, *case.inputs, loss=lambda output: F.cross_entropy(output, labels))


mean = torch.zeros(1)


def test_a_global_tensor_with_the_name_of_an_attribute_is_no_captured_tensor() -> None:
    traced = rv.trace(nn.Linear(4, 1), torch.ones(2, 4), loss=lambda output: output.mean())
    assert not traced.returns_outputs
    with pytest.raises(rv.TraceError, match="'mean'"):
        rv.trace(nn.Linear(4, 1), torch.ones(2, 4), loss=lambda output: (output * mean).sum())


def test_a_model_without_gradients_is_refused() -> None:
    with pytest.raises(rv.TraceError, match="requires_grad"):
        rv.trace(nn.Linear(2, 1).requires_grad_(False), torch.ones(1, 2))


def test_a_loss_that_is_no_scalar_is_refused_with_the_next_step() -> None:
    with pytest.raises(rv.TraceError, match="loss="):
        rv.trace(nn.Linear(2, 3), torch.ones(1, 2), loss=torch.relu)


def test_data_dependent_control_flow_is_refused_with_the_users_line() -> None:
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(2, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.linear(x).sum()
            return y if y > 0 else -y

    with pytest.raises(rv.TraceError, match=r"test_guards\.py"):
        rv.trace(Branching(), torch.ones(1, 2))


def test_a_plan_for_another_trace_is_refused() -> None:
    one, two = make("batch norm").trace(), make("convolutions with dropout").trace()
    with pytest.raises(rv.PlanMismatch):
        rv.apply(one, rv.Plan.keep_all(two.graph))


def test_a_plan_survives_json_and_a_second_trace_of_the_same_model() -> None:
    one, two = make("batch norm").trace(), make("batch norm").trace()
    plan = one.tradeoff().plan_at(1)
    again = rv.Plan.from_json(two.graph, plan.to_json())
    assert two.graph.names == one.graph.names
    assert rv.certify(two, again).ok


def test_a_budget_no_plan_fits_says_the_least_total() -> None:
    trace = make("batch norm").trace()
    with pytest.raises(rv.InfeasibleBudget, match="total") as caught:
        trace.plan("1 kB")
    assert rv.simulate(trace, trace.plan(caught.value.least)).peak <= caught.value.least


def test_a_stacked_lstm_with_dropout_is_traced_whole() -> None:
    torch.manual_seed(0)
    model = nn.LSTM(4, 4, num_layers=2, dropout=0.5)
    trace = rv.trace(model, torch.ones(3, 2, 4), loss=lambda output: output[0].sum())
    certificate = rv.certify(trace, trace.tradeoff().plan_at(0))
    assert certificate.gradients == "bitwise"


def test_a_resize_is_one_call_and_bitwise_that_of_eager() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Upsample(scale_factor=2, mode="bilinear"), nn.ReLU(), nn.Flatten())
    trace = rv.trace(model, torch.randn(2, 1, 8, 8), loss=lambda output: output.mean())
    assert "aten.upsample_bilinear2d" in {info.op for info in trace.graph.info}
    assert rv.certify(trace, rv.Plan.keep_all(trace.graph)).gradients == "bitwise"


def test_a_single_tensor_is_one_target() -> None:
    model, x, y = torch.nn.Linear(8, 3), torch.randn(4, 8), torch.tensor([0, 1, 2, 0])
    trace = rv.trace(model, x, targets=y, loss=torch.nn.functional.cross_entropy)
    assert trace.arguments[2] == (y,)
    assert rv.certify(trace, trace.plan("1 MiB")).ok


@pytest.mark.parametrize("optimizer", ["adam", torch.optim.Adam])
def test_what_is_no_optimizer_is_refused_with_the_next_step(optimizer: object) -> None:
    with pytest.raises(rv.TraceError, match=r"torch\.optim\.Adam\(model\.parameters\(\)\)"):
        rv.trace(torch.nn.Linear(8, 3), torch.randn(4, 8), loss=torch.sum, optimizer=optimizer)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("batch", "said"),
    [
        (np.zeros((2, 4), np.float32), "an input is a numpy.ndarray, expected a torch.Tensor"),
        ([[1.0, 2.0, 3.0, 4.0]], "must be Tensor, not immutable_list(.|\n)*The model gets float(.|\n)*model.* runs"),
    ],
    ids=["array", "list"],
)
def test_a_batch_of_no_tensors_is_refused_with_what_to_pass(batch: object, said: str) -> None:
    with pytest.raises(rv.TraceError, match=said):
        rv.trace(torch.nn.Linear(4, 2), batch, loss=torch.sum)
