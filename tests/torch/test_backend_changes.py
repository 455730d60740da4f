"""One random thing changes between steps: no answer is that of the model before the change."""

from __future__ import annotations

import os
import warnings

import pytest
import torch
from torch import nn

import recompviz as rv
from recompviz.benchmarks.loops.changes import random_changes
from recompviz.pytorch.running import step_budget


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 103))
def test_no_answer_is_stale(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_budget, "SEARCH_SECONDS", 0.02)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        outcome = random_changes(seed, changes=15)
    torch._dynamo.reset()
    assert outcome.changes == 15
    assert not outcome.stale


VARIABLE = "RECOMPVIZ_TEST_FACTOR"


class Shift:
    """A helper that is no module."""

    def of(self, x: torch.Tensor) -> torch.Tensor:
        return x + 1


class Methods(nn.Module):
    """Reads what Dynamo does not guard: methods of classes, and an environment variable that does not exist."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.shift = nn.Linear(4, 4), Shift()

    def scaled(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.shift.of(self.scaled(self.linear(x))) * float(os.environ.get(VARIABLE, "1"))


def _tripled(_self: object, x: torch.Tensor) -> torch.Tensor:
    return x * 3


def test_methods_that_are_replaced_in_their_class_and_new_environment_variables_are_noticed() -> None:
    torch._dynamo.reset()
    model, x = Methods(), torch.randn(2, 4)
    compiled = rv.compile(model, total="1 MiB")

    def agrees() -> bool:
        return torch.equal(compiled(x), Methods.forward(model, x))

    assert agrees()
    for owner, name in ((Methods, "scaled"), (Shift, "of"), (nn.Linear, "forward")):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(owner, name, _tripled)
            assert agrees()
        assert agrees()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, "0.5")
        assert agrees()
    assert agrees()
    torch._dynamo.reset()
