"""Planning needs no memory: a trace on the meta device is the one of the machine the step runs on."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import recompviz as rv
from recompviz import networks
from recompviz.pytorch.budgeting.planned_budget import PlanWarning
from recompviz.pytorch.internals.fake_tensors import FakeTensorMode
from recompviz.pytorch.tracing.tracer import trace_again


def on(place: str, **kwargs: str) -> tuple[networks.Example, rv.Trace]:
    torch.manual_seed(0)
    example = networks.example("llama_70b", small=True, device=place)
    return example, rv.trace(example.model, *example.inputs, targets=example.targets, loss=example.loss, **kwargs)


def test_a_trace_on_meta_is_the_real_one_and_says_that_it_is_estimated() -> None:
    (_, real), (_, meta) = on("cpu"), on("meta")
    assert meta.estimated
    assert not real.estimated
    assert "estimated" in repr(meta)
    assert meta.graph.fingerprint == real.graph.fingerprint
    plan = meta.tradeoff().plan_at(0)
    assert rv.simulate(meta, plan).step_ends.tolist() == rv.simulate(real, plan).step_ends.tolist()


def test_a_device_can_be_named_and_its_allocator_rounds() -> None:
    _, trace = on("meta", device="cuda")
    assert trace.device == "cuda"
    assert trace.joint.alignment == 512
    assert all(size % 512 == 0 for size in rv.simulate(trace).step_ends.tolist())
    with pytest.raises(rv.TraceError, match="meta"):
        on("cpu", device="cuda")


@pytest.mark.parametrize("device", ["tpu", 3.5, object()])
def test_a_wrong_device_is_named(device: object) -> None:
    with torch.device("meta"):
        model, x = torch.nn.Linear(8, 1), torch.ones(4, 8)
    with pytest.raises(rv.TraceError, match=r"^device is .* expected the name of a device"):
        rv.trace(model, x, loss=torch.sum, device=device)


def test_a_model_without_memory_cannot_be_recorded() -> None:
    with torch.device("meta"):
        model, x = torch.nn.Linear(8, 1), torch.ones(4, 8)
    with pytest.raises(rv.RecompvizError, match="meta device has no memory to record"):
        rv.debug(model, x, loss=torch.sum)


def test_a_seventy_billion_parameter_layer_takes_no_memory() -> None:
    with torch.device("meta"):
        model, x = nn.Sequential(nn.Linear(264_576, 264_576), nn.ReLU()), torch.empty(8, 264_576)
    assert rv.simulate(rv.trace(model, x, loss=torch.sum)).static > 70e9 * 4


def test_a_model_made_of_fake_tensors_is_traced_too() -> None:
    with FakeTensorMode():
        model, x = nn.Sequential(nn.Linear(8, 8), nn.ReLU()), torch.empty(4, 8)
    assert rv.trace(model, x, loss=torch.sum).estimated


def test_an_estimated_plan_runs_where_the_model_gets_memory_after_a_new_trace() -> None:
    example, trace = on("meta")
    planned = rv.apply(trace, trace.tradeoff().plan_at(0))
    example.model.to_empty(device="cpu")
    real = networks.example("llama_70b", small=True)
    with pytest.raises(rv.RecompvizError, match="estimated"):
        _ = planned.program
    planned.load_state_dict(real.model.state_dict())
    for name, buffer in real.model.named_buffers():
        example.model.get_buffer(name).copy_(buffer)
    with pytest.warns(PlanWarning, match="estimated"):
        loss = planned(*real.inputs, *real.targets)
    expected = real.loss(real.model(*real.inputs), *real.targets)
    loss.backward()
    expected.backward()
    assert torch.equal(loss, expected)
    for ours, theirs in zip(example.model.parameters(), real.model.parameters(), strict=True):
        assert torch.equal(ours.grad, theirs.grad)
    with pytest.raises(rv.RecompvizError, match="estimated"):
        rv.certify(trace, planned.plan)


def test_an_estimated_trace_with_other_inputs_is_for_the_same_device() -> None:
    with torch.device("meta"):
        model, x = nn.Sequential(nn.Linear(8, 8), nn.ReLU()), torch.empty(4, 8)
    trace = rv.trace(model, x, loss=torch.sum, device="cuda")
    again = trace_again(trace, ((x[:2],), {}, ()))
    assert (again.device, again.joint.alignment, again.estimated) == ("cuda", 512, True)
