"""A step that eager PyTorch cannot run is refused with eager PyTorch's own error and the shapes, and nothing else."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import recompviz as rv

MAPS, LABELS = torch.ones(2, 3, 8, 8), torch.zeros(2, 8, 8, dtype=torch.long)
ROWS = torch.ones(2, 4)


def _on_maps() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.ReLU())


def _product(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return (output @ target).sum()


WRONG: dict[str, tuple[Callable[[], nn.Module], torch.Tensor, torch.Tensor, Any]] = {
    "smaller map": (_on_maps, MAPS, LABELS[:, :4, :4], F.cross_entropy),
    "smaller map, module": (_on_maps, MAPS, LABELS[:, :4, :4], nn.CrossEntropyLoss()),
    "another batch": (_on_maps, MAPS, LABELS[:1], F.cross_entropy),
    "a dimension too many": (_on_maps, MAPS, LABELS[:, None], F.cross_entropy),
    "floats as classes": (_on_maps, MAPS, LABELS.float(), F.cross_entropy),
    "floats as classes of rows": (lambda: nn.Linear(4, 5), ROWS, torch.ones(2), F.nll_loss),
    "no common shape": (_on_maps, MAPS, torch.ones(2, 3, 8, 8), F.mse_loss),
    "other elements": (_on_maps, MAPS, torch.ones(2, 5, 7, 8), F.binary_cross_entropy_with_logits),
    "own function": (lambda: nn.Linear(4, 5), ROWS, torch.ones(3, 7), _product),
}


@pytest.mark.filterwarnings("ignore:Using a target size")
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_target_is_refused_with_the_error_of_eager_pytorch_and_the_shapes(
    name: str, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    make, x, y, loss = WRONG[name]
    model = make()
    with pytest.raises((RuntimeError, ValueError)) as eager:
        loss(model(x), y)
    with pytest.raises(rv.TraceError) as traced, caplog.at_level(logging.ERROR):
        rv.trace(model, x, targets=(y,), loss=loss)
    said = str(traced.value)
    assert f"{type(eager.value).__name__}: {eager.value}" in said
    assert str(list(model(x).shape)) in said
    assert str(list(y.shape)) in said
    assert not caplog.records
    assert not [each for each in recwarn if "Using a target size" not in str(each.message)]


def test_the_line_of_the_users_loss_is_named() -> None:
    with pytest.raises(rv.TraceError, match=r'at File ".*test_eager_errors.py", line \d+, in _product'):
        rv.trace(nn.Linear(4, 5), ROWS, targets=(torch.ones(3, 7),), loss=_product)


class _Raises(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[0] != 3:
            raise ValueError(f"expected a batch of 3, got {x.shape[0]}")
        return self.layer(x)  # type: ignore[no-any-return]


class _LacksALayer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layre(x)  # type: ignore[operator,no-any-return]


class _TwoLayers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(5, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(x))  # type: ignore[no-any-return]


class _GivesTooMuch(_Raises):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x, 3)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("model", "kind"),
    [(_Raises(), ValueError), (_LacksALayer(), AttributeError), (_GivesTooMuch(), TypeError)],
)
def test_an_error_of_the_users_model_comes_through(model: nn.Module, kind: type[Exception]) -> None:
    with pytest.raises(kind) as eager:
        model(ROWS)
    with pytest.raises(kind) as traced:
        rv.trace(model, ROWS, targets=(ROWS,), loss=F.mse_loss)
    assert str(traced.value) == str(eager.value)


def test_layers_that_do_not_fit_are_refused_with_the_shapes_and_the_line(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(rv.TraceError, match=r"\[2, 4\] X \[5, 2\]") as traced, caplog.at_level(logging.ERROR):
        rv.trace(_TwoLayers(), ROWS, targets=(torch.ones(2, 2),), loss=F.mse_loss)
    assert "in forward" in str(traced.value)
    assert not caplog.records


def test_a_loss_that_lacks_an_argument_is_refused_with_its_arguments() -> None:
    def weighted(output: torch.Tensor, target: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return (weight * (output - target)).sum()

    wanted = r"weighted\(output, target, weight\) cannot be called with the model's output and 1 target"
    with pytest.raises(TypeError, match=wanted):
        rv.trace(nn.Linear(4, 5), ROWS, targets=(torch.ones(2, 5),), loss=weighted)


def test_the_call_of_the_loss_leaves_its_state() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            self.calls += 1
            return F.cross_entropy(output, target)

    loss = Counting()
    with pytest.raises(rv.TraceError, match="size mismatch"):
        rv.trace(_on_maps(), MAPS, targets=(LABELS[:, :4, :4],), loss=loss)
    assert not loss.calls


def test_control_flow_that_depends_on_values_is_not_blamed_on_the_loss() -> None:
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(x) if x.sum() > 0 else x  # type: ignore[no-any-return]

    def positive(output: torch.Tensor) -> torch.Tensor:
        assert output.abs().sum() > 0
        return output.sum()

    with pytest.raises(rv.TraceError, match="A trace is one graph"):
        rv.trace(Branches(), ROWS, loss=positive)
