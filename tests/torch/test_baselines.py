"""Every baseline runs through the same machinery as a plan, and reading one leaves the trace as it was."""

from __future__ import annotations

import pytest
import torch
from torch.utils.checkpoint import checkpoint

import recompviz as rv
from recompviz.pytorch.internals import partitioner
from recompviz.pytorch.internals.partitioner import min_cut_saved
from recompviz.pytorch.internals.tensors import storage_key
from tests.torch.small_networks import small_case, small_trace

KINDS = ("keep-all", "per-module", "chen", "min-cut 1", "min-cut 0.5", "min-cut 0.1", "min-cut 0")
NETWORKS = ("resnet50", "unet", "gpt2")


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NETWORKS)
def test_each_baseline_computes_bitwise_what_eager_computes(name: str, kind: str) -> None:
    trace = small_trace(name)
    plan = trace.baseline(kind)
    certificate = rv.certify(trace, plan)
    assert plan.kind == kind
    assert certificate.ok, (plan, certificate.text)
    assert certificate.gradients == "bitwise"
    assert rv.simulate(trace, plan).peak > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_reading_the_partitioners_choice_leaves_the_trace_unharmed(name: str) -> None:
    trace = small_case(name).trace()  # of its own: the shared one may have been read before
    fx = trace.folded.fx

    def state() -> tuple[object, ...]:
        meta = [(node.name, sorted(map(str, node.meta)), id(node.meta.get("val"))) for node in fx.graph.nodes]
        return trace.graph.fingerprint, str(fx.graph), fx.code, meta, torch._functorch.config.activation_memory_budget

    before = state()
    trace.baseline("min-cut 0.3")
    assert state() == before
    assert rv.certify(trace, trace.tradeoff().plan_at(0)).gradients == "bitwise"


@pytest.mark.slow
@pytest.mark.parametrize("ratio", [1, 0.5, 0.1, 0])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_min_cut_plan_saves_and_recomputes_what_the_partitioner_does(name: str, ratio: float) -> None:
    trace = small_trace(name)
    plan = trace.baseline(f"min-cut {ratio}")
    saved = min_cut_saved(trace.folded.fx, ratio)
    made = {storage_key(storage_node.meta["val"]): s for storage_node, s in trace.folded.storage_of.items()}
    theirs = {made[storage_key(node.meta["val"])] for node in saved}
    forward = {s for s in theirs if trace.joint.storages[s].maker >= 0}
    schedule = trace.schedule(plan)
    # an operator with several outputs is one node, so its other outputs may come along
    calls = trace.joint.calls
    makers = {trace.joint.storages[s].maker for s in forward}
    ours = {trace.joint.storages[s].maker for s in schedule.saved if trace.joint.storages[s].maker >= 0}
    # constants are no nodes
    assert {c for c in ours if calls[c].node >= 0} == {c for c in makers if calls[c].node >= 0}
    assert {s for s in forward if calls[trace.joint.storages[s].maker].node >= 0} <= schedule.saved
    again = {calls[c].node for c in schedule.recomputed} - {-1}
    assert plan.recompute == {trace.graph.names[v] for v in again}
    assert plan.overhead == sum(trace.graph.time[v] for v in again)


def test_a_smaller_ratio_saves_no_more() -> None:
    trace = small_trace("unet")
    held = []
    for ratio in (1, 0.7, 0.4, 0.1, 0):
        schedule = trace.schedule(trace.baseline(f"min-cut {ratio}"))
        held.append(sum(trace.joint.storages[s].size for s in schedule.saved))
    assert held == sorted(held, reverse=True)
    assert held[0] == sum(trace.joint.storages[s].size for s in trace.schedule().saved)
    assert held[-1] == 0


def test_a_ratio_that_is_none_is_refused() -> None:
    trace = small_trace("unet")
    with pytest.raises(ValueError, match=r"1\.5"):
        trace.baseline("min-cut 1.5")
    for name in ("min-cut", "min-cut much", "min-cut nan"):
        with pytest.raises(ValueError, match="0 to 1"):
            trace.baseline(name)
    with pytest.raises(ValueError, match="'best'"):
        trace.baseline("best")


def test_where_the_partitioner_fails_the_error_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise AssertionError("invalid cut")

    monkeypatch.setattr(partitioner, "min_cut_rematerialization_partition", broken)
    with pytest.raises(rv.PartitionerError, match=r"ratio 0\.25: AssertionError: invalid cut"):
        small_trace("unet").baseline("min-cut 0.25")


class Checkpointed(torch.nn.Module):
    """Three blocks, each in a checkpoint of the user's, or none."""

    def __init__(self, within: bool) -> None:
        super().__init__()
        self.within = within
        self.blocks = torch.nn.ModuleList(
            torch.nn.Sequential(torch.nn.Linear(16, 256), torch.nn.GELU(), torch.nn.Linear(256, 16)) for _ in range(3)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = (x + (checkpoint(block, x, use_reentrant=False) if self.within else block(x))).tanh()
        return x.square().mean()


def test_the_users_checkpoints_are_a_plan_that_takes_what_eager_takes() -> None:
    model, x = Checkpointed(True), torch.randn(64, 16)
    trace = rv.trace(model, x)
    assert "3 checkpoints" in repr(trace)
    plan = trace.baseline("as-written")
    assert rv.certify(trace, plan).ok
    eager = rv.measure(model, x).peak
    assert rv.simulate(trace, plan).peak <= eager < rv.simulate(trace).peak


def test_a_model_without_checkpoints_has_no_plan_as_written() -> None:
    trace = rv.trace(Checkpointed(False), torch.randn(64, 16))
    assert "checkpoint" not in repr(trace)
    with pytest.raises(rv.GraphError, match="no checkpoints"):
        trace.baseline("as-written")
