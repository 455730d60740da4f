"""Models with control flow under a total: gradients are those of eager PyTorch, and the measured peak is within it."""

from __future__ import annotations

import warnings

import pytest
import torch

from recompviz.benchmarks.loops import comparison
from recompviz.benchmarks.loops.cases import CASES
from recompviz.benchmarks.loops.comparison import compare
from recompviz.pytorch.budgeting.recorded_models import RecordedModels

QUICK = ("views returned", "dataclass input")


def case_of(name: str) -> object:
    marks = [] if name in QUICK else [pytest.mark.slow]
    return pytest.param(name, marks=marks)


@pytest.mark.parametrize("name", [case_of(name) for name in CASES])
def test_a_model_trains_under_a_total(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RecordedModels, "search_seconds", 0.05)
    monkeypatch.setattr(comparison, "STEPS", comparison.UNMEASURED + 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        row = compare(name)
    torch._dynamo.reset()
    assert not row.wrong
    assert row.unplanned or row.peak <= row.total
