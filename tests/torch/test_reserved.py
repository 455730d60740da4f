"""``rv.simulate`` predicts the reserved memory of a plan if it is asked to, and for CUDA by itself."""

from __future__ import annotations

import pytest
import torch

import recompviz as rv


@pytest.fixture(scope="module")
def traced() -> rv.Trace:
    model = torch.nn.Sequential(*(torch.nn.Linear(600, 600) for _ in range(4)))
    return rv.trace(model, torch.zeros(300, 600), targets=(torch.zeros(300, 600),), loss=torch.nn.functional.mse_loss)


def test_reserved_memory_is_predicted_with_the_settings_that_are_given(traced: rv.Trace) -> None:
    assert rv.simulate(traced).reserved is None
    by_text = rv.simulate(traced, allocator="expandable_segments:True")
    by_value = rv.simulate(traced, allocator=rv.AllocatorSettings(expandable_segments=True))
    default = rv.simulate(traced, allocator=rv.AllocatorSettings())
    assert by_text.reserved_peak == by_value.reserved_peak
    assert by_text.peak <= by_text.reserved_peak <= default.reserved_peak  # type: ignore[operator]
    tight = rv.simulate(traced, device_memory="8 MiB")
    assert tight.reserved is not None
    assert tight.reserved.failed_at is not None


@pytest.mark.parametrize(
    ("allocator", "memory", "error"),
    [(7, None, TypeError), ("x:1", None, ValueError), ("", "many", ValueError), ("", 0, ValueError)],
)
def test_wrong_settings_are_refused(traced: rv.Trace, allocator: object, memory: object, error: type) -> None:
    with pytest.raises(error):
        rv.simulate(traced, allocator=allocator, device_memory=memory)  # type: ignore[arg-type]


def test_on_cuda_the_settings_of_the_environment_are_used(monkeypatch: pytest.MonkeyPatch, traced: rv.Trace) -> None:
    monkeypatch.setattr(traced.planner, "device", "cuda")
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    reserved = rv.simulate(traced).reserved
    assert reserved is not None
    assert reserved.settings == rv.AllocatorSettings(expandable_segments=True)
    monkeypatch.setenv("PYTORCH_ALLOC_CONF", "a_new_setting:3")
    timeline = rv.simulate(traced)
    assert timeline.reserved is None
    assert "a_new_setting" in timeline.notes[0]
