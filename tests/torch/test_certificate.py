"""Where the eager step does not fit the device, the certificate is made on a smaller batch, and says so."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

import recompviz as rv
from recompviz.pytorch.measuring import certificate
from recompviz.pytorch.measuring.certificate import batch_of
from tests.torch.steps import batch_norm_net


def traced(batch: int) -> rv.Trace:
    torch.manual_seed(0)
    x, y = torch.randn(batch, 3, 12, 12), torch.randint(0, 3, (batch,))
    return rv.trace(batch_norm_net(), x, targets=(y,), loss=F.cross_entropy)


def room_for(monkeypatch: pytest.MonkeyPatch, most: int) -> list[int]:
    """A device on which an eager step fits up to a batch; gives the batches that were tried."""
    run, tried = certificate._compared, []

    def compared(trace: rv.Trace, plan: rv.Plan) -> Any:
        tried.append(batch_of(trace.arguments))
        if tried[-1] > most:
            raise torch.OutOfMemoryError("made up")
        return run(trace, plan)

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
