"""What a trace sees: the graph, its nodes' keys and source lines."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

import recompviz as rv
from recompviz import networks
from recompviz.core.steps.joint import Category
from tests.torch.steps import CASES, make


@pytest.mark.slow
def test_resnet50_has_the_papers_graph() -> None:
    torch.manual_seed(0)
    model = networks.resnet50()
    trace = rv.trace(
        model, torch.randn(2, 3, 64, 64), targets=(torch.tensor([1, 2]),), loss=F.cross_entropy, costs="paper"
    )
    graph = trace.graph
    assert (len(graph), len(graph.edges), graph.count_lower_sets()) == (176, 191, 241)
    assert sum(info.output for info in graph.info) == 1
    assert [v for v in range(len(graph)) if not graph.successors[v]] == [len(graph) - 1]
    by_key = {info.key: info for info in graph.info}
    conv = by_key["layer1.0.conv2/convolution"]
    assert (conv.module, conv.block, conv.op) == ("layer1.0.conv2", "layer1.*", "aten.convolution")
    assert ".py:" in conv.source
    assert "self.conv2" in conv.source
    assert graph.time[list(by_key).index("layer1.0.conv2/convolution")] == 10


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_keys_and_fingerprints_are_the_same_in_every_trace(name: str) -> None:
    one, two = make(name).trace(), make(name).trace()
    assert one.graph.names == two.graph.names
    assert one.graph.fingerprint == two.graph.fingerprint
    assert len(set(one.graph.names)) == len(one.graph)


@pytest.mark.parametrize("name", CASES)
def test_node_sizes_are_the_bytes_that_a_kept_node_saves_or_passes_on(name: str) -> None:
    trace = make(name).trace()
    schedule = trace.schedule()
    saved = {}
    for s in schedule.saved:
        node = trace.joint.calls[trace.joint.storages[s].maker].node
        saved[node] = saved.get(node, 0) + trace.joint.storages[s].size
    assert all(size <= trace.graph.memory[node] for node, size in saved.items() if node >= 0)


def test_views_and_detaches_are_no_nodes() -> None:
    class Views(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = torch.nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h = self.linear(x).view(2, 2, 4)
            return torch.sin(h[0].detach() + h.flatten(0, 1)[:2]).sum()

    trace = rv.trace(Views(), torch.randn(4, 4))
    assert [info.op for info in trace.graph.info] == ["aten.addmm", "aten.add", "aten.sin", "aten.sum"]


def test_solving_the_trace_twice_gives_the_same_object() -> None:
    trace = make("batch norm").trace()
    assert trace.tradeoff() is trace.tradeoff()
    assert trace.plans() is trace.plans()


def test_a_second_trace_of_another_size_has_numbers_for_its_sizes() -> None:
    class Resizing(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            size = [side // 2 for side in x.shape[2:]]
            return F.interpolate(x, size=size, mode="bilinear").square().sum()

    for pixels in (8, 12, 20):
        trace = rv.trace(Resizing(), torch.ones(1, 1, pixels, pixels, requires_grad=True))
        assert trace.graph.info[0].shape == (1, 1, pixels // 2, pixels // 2)
        assert rv.certify(trace, rv.Plan.keep_all(trace.graph)).ok


@pytest.mark.parametrize("off", ["a dispatch mode", "a stance", "a setting"])
def test_where_the_compiler_is_off_a_trace_is_refused_and_runs_nothing(off: str) -> None:
    blocks = {
        "a dispatch mode": lambda: FlopCounterMode(display=False),
        "a stance": lambda: torch.compiler.set_stance("force_eager"),
        "a setting": lambda: torch._dynamo.config.patch(disable=True),  # type: ignore[attr-defined]
    }
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.BatchNorm1d(4), torch.nn.Dropout())
    x, generator = torch.ones(4, 4), torch.get_rng_state()
    with blocks[off](), pytest.raises(rv.TraceError, match="compiler is off here"):
        rv.trace(model, x, loss=torch.sum)
    assert int(model[1].num_batches_tracked) == 0
    assert torch.equal(torch.get_rng_state(), generator)
    assert len(rv.trace(model, x, loss=torch.sum).graph) > 0, "later traces are possible"


def test_the_default_device_does_not_matter() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU(), torch.nn.Linear(4, 1))
    x = torch.ones(4, 4)
    with torch.device("meta"):
        trace = rv.calibrate(rv.trace(model, x, loss=torch.sum))
        assert rv.certify(trace, rv.Plan.keep_all(trace.graph)).ok


class Scaled(torch.nn.Module):
    """A model that reads its inputs in another order than it takes them."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(3, 3)

    def forward(self, scale: torch.Tensor, x: torch.Tensor, more: dict[str, torch.Tensor]) -> torch.Tensor:
        return self.layer(x) * more["first"] + more["second"] * scale


@pytest.mark.parametrize("estimated", [False, True])
def test_inputs_and_targets_are_told_apart_and_have_their_positions_among_the_arguments(estimated: bool) -> None:
    sizes = [(5, 1), (5, 3), (1, 3), (3,)]
    scale, x, first, second = (torch.randn(size) for size in sizes)
    target = torch.randn(5, 3, 1)
    trace = rv.trace(
        Scaled().to("meta") if estimated else Scaled(),
        scale, x, {"first": first, "second": second},
        targets=(target.squeeze(),), loss=F.mse_loss, **({"device": "cpu"} if estimated else {}),
    )  # fmt: skip
    found = {which: (role, node) for node, (role, which) in trace.folded.placeholders if role in ("input", "target")}
    assert [found[i][0] for i in range(5)] == ["input"] * 4 + ["target"]
    assert [tuple(found[i][1].meta["val"].shape) for i in range(5)] == [*sizes, (5, 3)]
    given = [trace.joint.storages[trace.folded.storage_of[found[i][1]]].category for i in range(5)]
    assert given == [Category.INPUT] * 4 + [Category.TARGET]
