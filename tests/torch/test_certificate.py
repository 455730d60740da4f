"""Where the eager step does not fit the device, the certificate is made on a smaller batch, and says so."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

import recompviz as rv
from recompviz.pytorch.internals.tensors import same_bits
from recompviz.pytorch.measuring import certificate
from recompviz.pytorch.measuring.certificate import batch_of
from recompviz.pytorch.measuring.compared_steps import TwoSteps, changed_in_place
from recompviz.pytorch.running.planned import PlannedModule
from tests.torch.steps import batch_norm_net


def traced(batch: int) -> rv.Trace:
    torch.manual_seed(0)
    x, y = torch.randn(batch, 3, 12, 12), torch.randint(0, 3, (batch,))
    return rv.trace(batch_norm_net(), x, targets=(y,), loss=F.cross_entropy)


def room_for(monkeypatch: pytest.MonkeyPatch, most: int) -> list[int]:
    """A device on which an eager step fits up to a batch; gives the batches that were tried."""
    run, tried = certificate._compared, []

    def compared(trace: rv.Trace, plan: rv.Plan, change_parameters: bool, progress: Any) -> Any:
        tried.append(batch_of(trace.arguments))
        if tried[-1] > most:
            raise torch.OutOfMemoryError("made up")
        return run(trace, plan, change_parameters, progress)

    monkeypatch.setattr(certificate, "_compared", compared)
    return tried


def test_the_batch_is_halved_until_eager_fits_and_the_note_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    trace = traced(8)
    plan = trace.plans("live").plans[-1]
    tried = room_for(monkeypatch, 3)
    found = rv.certify(trace, plan)
    assert tried == [8, 4, 2]
    assert found.ok
    assert found.notes == ("eager does not fit the device at batch 8: compared at batch 2",)


def test_a_batch_that_fits_is_compared_whole_without_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    trace = traced(4)
    tried = room_for(monkeypatch, 4)
    assert rv.certify(trace, trace.plans("live").plans[-1]).notes == ()
    assert tried == [4]


def test_a_device_with_room_for_no_example_raises_what_pytorch_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    trace = traced(4)
    tried = room_for(monkeypatch, 0)
    with pytest.raises(torch.OutOfMemoryError, match="made up"):
        rv.certify(trace, trace.plans("live").plans[-1])
    assert tried == [4, 2, 1]


def test_a_value_that_the_program_freezes_fails_in_the_second_step(monkeypatch: pytest.MonkeyPatch) -> None:
    trace = traced(4)
    plan = trace.plans("live").plans[-1]
    first: list[Any] = []
    forward = PlannedModule.forward

    def frozen(self: Any, *arguments: Any, **kwargs: Any) -> Any:
        first.append(arguments[0])
        return forward(self, first[0], *arguments[1:], **kwargs)

    monkeypatch.setattr(PlannedModule, "forward", frozen)
    found = rv.certify(trace, plan)
    assert not found.ok
    assert "in the second step" in found.worst


def test_a_tensor_outside_the_model_is_compared_as_well() -> None:
    head, x = torch.nn.Linear(4, 2), torch.randn(3, 4)
    trace = rv.trace(torch.nn.Linear(4, 4), x, loss=lambda output: head(output).sin().sum())
    plan = trace.plans("live").plans[-1]
    head.weight.grad = kept = torch.ones(2, 4)
    assert rv.certify(trace, plan).ok
    assert head.weight.grad is kept
    outside = [name for name in TwoSteps(trace, True).eager()[0].gradients if "outside the model" in name]
    assert len(outside) == 2  # weight and bias


def test_parameters_inputs_and_versions_are_as_before() -> None:
    trace = traced(4)
    tensors = [*trace.step.parameters(), *trace.step.buffers(), trace.arguments[0][0]]
    before = [(t.detach().clone(), t._version) for t in tensors]
    assert rv.certify(trace, trace.plans("live").plans[-1]).ok
    parameters = list(trace.step.parameters())
    assert [t._version for t in parameters] == [version for _, version in before[: len(parameters)]]
    assert all(torch.equal(t, old) for t, (old, _) in zip(tensors, before, strict=True))


def test_what_other_work_trained_meanwhile_is_not_lost() -> None:
    weight = torch.nn.Parameter(torch.ones(8))
    with changed_in_place([weight]):
        assert not torch.equal(weight, torch.ones(8))
        with torch.no_grad():
            weight.mul_(3)
    assert torch.allclose(weight, torch.full((8,), 3.0), rtol=1e-6)


def test_a_certificate_within_a_tolerance_gives_the_tolerance_and_says_why() -> None:
    text = certificate.Certificate("close", "", True, True, True, 0).text
    assert "rtol 0.001, atol 1e-05" in text
    assert "eager differs from itself" in text
    assert "bitwise" not in text


def test_the_bits_of_two_tensors_are_compared_not_their_values() -> None:
    pairs = torch.view_as_complex(torch.arange(8.0).reshape(4, 2))
    for tensor in (torch.tensor(True), torch.tensor(torch.nan), pairs, pairs.conj()):
        assert same_bits(tensor, tensor.clone())
    matrix = torch.arange(6.0).reshape(2, 3)
    assert same_bits(matrix.t(), matrix.t().contiguous())
    assert not same_bits(pairs, pairs.conj())
    assert not same_bits(torch.zeros(2), -torch.zeros(2))
    assert not same_bits(torch.zeros(2), torch.zeros(2, 1))
    assert not same_bits(torch.zeros(2), torch.zeros(2, dtype=torch.int32))
    assert not same_bits(torch.zeros(2), None)
    assert same_bits(None, None)
    eye = torch.eye(3).to_sparse()
    assert same_bits(eye, torch.eye(3).to_sparse())
    assert not same_bits(eye, 2 * eye)
    assert not same_bits(eye, torch.eye(3))
