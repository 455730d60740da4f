"""``rv.megatron_recompute``: settings of Megatron-Core, against PyTorch's checkpoints around the same modules."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import recompviz as rv
from recompviz.benchmarks.ranks.cases import case

MODULES = {"mlp": "h.*.mlp", "core_attn": "h.*.attn"}


@pytest.fixture(scope="module")
def step() -> tuple[Any, rv.Trace]:
    made = case("gpt2", 3)
    trace = rv.calibrate(rv.trace(made.model, *made.inputs, targets=made.targets, loss=made.loss))
    return made, trace.with_costs(rv.Roofline(1e11, 1e10))  # measured times differ from run to run


def measured(made: Any, paths: list[str]) -> int:
    """The peak of an eager step with a checkpoint around each of some modules."""
    model: nn.Module = copy.deepcopy(made.model)
    for path in paths:
        module = model.get_submodule(path)
        module.forward = partial(checkpoint, module.forward, use_reentrant=False)
    return rv.measure(model, *made.inputs, targets=made.targets, loss=made.loss).peak


@pytest.mark.slow
def test_the_predicted_peak_is_that_of_checkpoints_around_the_same_modules(step: tuple[Any, rv.Trace]) -> None:
    made, trace = step
    most = rv.simulate(trace).peak
    for share, modules in ((1.0, None), (0.85, None), (0.62, None), (0.85, MODULES)):
        found = rv.megatron_recompute(trace, "h.*", total=share * most, modules=modules)
        count = found.settings.get("recompute_num_layers", 0)
        chosen = [MODULES[name] for name in found.settings.get("recompute_modules", ())]
        paths = [f"h.{i}" for i in range(count)]
        paths += [pattern.replace("*", str(i)) for pattern in chosen for i in range(3)]
        assert bool(paths) == (share < 1)
        assert found.peak <= share * most
        assert abs(measured(made, paths) - found.peak) <= found.peak / 1000


def test_the_fewest_layers_that_fit_are_recomputed(step: tuple[Any, rv.Trace]) -> None:
    _, trace = step
    total, counts = rv.simulate(trace).peak, []
    for _ in range(4):
        found = rv.megatron_recompute(trace, "h.*", total=total)
        assert rv.simulate(trace, found.plan).peak == found.peak
        counts.append(found.settings.get("recompute_num_layers", 0))
        kept = found.plan.keep_mask.tolist()
        inside = {info.member for info, keep in zip(trace.graph.info, kept, strict=True) if not keep}
        assert inside == {f"h.{i}" for i in range(counts[-1])}
        total = found.peak - 1
    assert counts == [0, 1, 2, 3]
    assert found.settings["recompute_method"] == "block"


def test_named_modules_are_chosen_where_they_recompute_less(step: tuple[Any, rv.Trace]) -> None:
    _, trace = step
    total = 0.85 * rv.simulate(trace).peak
    layers = rv.megatron_recompute(trace, "h.*", total=total)
    named = rv.megatron_recompute(trace, "h.*", total=total, modules=MODULES)
    assert named.overhead < layers.overhead
    assert named.settings["recompute_granularity"] == "selective"
    assert set(named.settings["recompute_modules"]) <= set(MODULES)


def test_totals_that_do_not_fit_and_wrong_arguments(step: tuple[Any, rv.Trace]) -> None:
    _, trace = step
    with pytest.raises(rv.InfeasibleBudget) as error:
        rv.megatron_recompute(trace, "h.*", total="1 MiB")
    rv.megatron_recompute(trace, "h.*", total=error.value.least)
    with pytest.raises(ValueError, match="no module fits"):
        rv.megatron_recompute(trace, "layers.*", total="1 GiB")
    with pytest.raises(TypeError, match="layers is 3"):
        rv.megatron_recompute(trace, 3, total="1 GiB")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="trace is None"):
        rv.megatron_recompute(None, "h.*", total="1 GiB")  # type: ignore[arg-type]


class Recomputed(torch.autograd.Function):
    """A layer norm that saves only its input. Its output is filled again by :func:`refill`, as Megatron-Core does."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, norm: nn.Module, held: dict[str, Any]) -> torch.Tensor:
        with torch.no_grad():
            held["output"] = norm(x)
        ctx.held = held
        ctx.save_for_backward(x)
        held["input"] = x.detach()
        return held["output"]  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        torch.autograd.backward(ctx.held.pop("again"), gradients)
        return ctx.held.pop("input").grad, None, None


def refill(norm: nn.Module, held: dict[str, Any]) -> None:
    """Recompute the output of a layer norm, into the storage that was freed in the forward pass."""
    held["input"].requires_grad_()
    with torch.enable_grad():
        held["again"] = norm(held["input"])
    storage, again = held.pop("output").untyped_storage(), held["again"].untyped_storage()
    storage.resize_(again.size())
    storage.copy_(again)


class Block(nn.Module):
    """A residual block whose layer norm frees its output if ``discards``."""

    def __init__(self, discards: bool) -> None:
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(64), nn.Linear(64, 64), nn.Linear(64, 64)
        self.discards = discards

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.discards:
            return x + self.down(self.up(self.norm(x)).tanh())  # type: ignore[no-any-return]
        held: dict[str, Any] = {}
        y = self.up(Recomputed.apply(x, self.norm, held))
        held["output"].untyped_storage().resize_(0)
        y.register_hook(lambda _: refill(self.norm, held))
        return x + self.down(y.tanh())  # type: ignore[no-any-return]


def test_layer_norms_free_their_outputs_and_other_modules_keep_them() -> None:
    def model(discards: bool) -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(*(Block(discards) for _ in range(4)))

    batch = torch.randn(1024, 64)
    trace = rv.calibrate(rv.trace(model(False), batch, loss=torch.sum)).with_costs(rv.Roofline(1e11, 1e10))
    most = rv.simulate(trace).peak
    found = rv.megatron_recompute(trace, "*", total=most - 1, modules={"layernorm": "*.norm"})
    assert found.settings["recompute_modules"] == ["layernorm"]
    assert most - found.peak > 2 * batch.nbytes  # at least two outputs of four are freed
    peak = rv.measure(model(True), batch, loss=torch.sum).peak
    # a recomputed output is copied into the storage that was freed, so one output is alive twice
    assert abs(peak - batch.nbytes - found.peak) <= found.peak / 1000
    kept = rv.megatron_recompute(trace, "*", total=most, modules={"mlp": "*.norm"})
    assert kept.settings == {}
