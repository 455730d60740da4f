"""On a CUDA device, as on the CPU: what is simulated is what the allocator does, and a plan trains as eager does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import recompviz as rv
from recompviz import networks
from recompviz.pytorch.internals.devices.peaks import AllocatorPeaks
from recompviz.pytorch.internals.devices.runtimes import backend_settings, device_of, runtime

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def traced() -> rv.Trace:
    torch.manual_seed(0)
    model = networks.resnet(layers=(1, 1, 1, 1), width=8, classes=10).cuda()
    x, y = torch.randn(4, 3, 64, 64, device="cuda"), torch.randint(0, 10, (4,), device="cuda")
    return rv.trace(model, x, targets=(y,), loss=F.cross_entropy)


def measured(trace: rv.Trace, plan: rv.Plan) -> rv.Timeline:
    inputs, kwargs, targets = trace.arguments
    return rv.measure(rv.apply(trace, plan), *inputs, kwargs=kwargs, targets=targets)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_simulated_and_measured_bytes_agree_between_operators(share: float) -> None:
    trace = traced()
    table = trace.plans("live")
    plan = table.plans[round(share * (len(table.plans) - 1))]
    simulated, found = rv.simulate(trace, plan), measured(trace, plan)
    steps = len(trace.schedule(plan))
    assert found.notes == ()
    assert np.array_equal(simulated.step_ends[:steps], found.step_ends[:steps])


def test_calibrated_the_simulated_peak_is_the_measured_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RECOMPVIZ_CACHE", str(tmp_path))
    trace = rv.calibrate(traced())
    assert min(trace.joint.seconds) > 0
    assert any(path.name.startswith("calibration-cuda-") for path in tmp_path.iterdir())
    plan = trace.plans("live").plans[0]
    assert rv.simulate(trace, plan).peak == measured(trace, plan).peak


def test_the_certificate_is_bitwise_with_deterministic_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    trace = traced()
    for plan in (trace.plans("live").plans[0], rv.Plan.keep_all(trace.graph)):
        certificate = rv.certify(trace, plan)
        assert certificate.ok, certificate.text
        assert certificate.gradients == "bitwise"


def test_dropout_that_runs_twice_draws_the_same_numbers() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 1)).cuda()
    trace = rv.trace(model, torch.ones(4, 8, device="cuda"), loss=torch.sum)
    none_kept = rv.Plan.from_keep_mask(trace.graph, np.zeros(len(trace.graph), np.bool_), "none")
    assert rv.certify(trace, none_kept).gradients == "bitwise"


def test_the_allocators_peak_is_counted_from_the_start_of_the_period() -> None:
    device = torch.device("cuda", torch.cuda.current_device())
    before = torch.empty(1 << 20, device=device)
    peaks = AllocatorPeaks(device)
    peaks.begin()
    inside = torch.empty(3 << 20, dtype=torch.uint8, device=device)
    peaks.end()
    assert device_of([before, inside]) == device
    assert peaks.allocated == 3 << 20
    assert (3 << 20) % runtime(device).alignment == 0
    assert peaks.reserved is not None
    assert peaks.reserved >= peaks.allocated


def test_the_settings_name_the_processor() -> None:
    device = torch.device("cuda", torch.cuda.current_device())
    assert torch.cuda.get_device_name(device) in backend_settings(device)
