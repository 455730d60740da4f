"""The graph at the paper's granularity has the paper's numbers, and its plans run as well as any other's."""

from __future__ import annotations

import functools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import recompviz as rv
from recompviz import networks
from recompviz.core.exact.lattice import enumerate_lattice
from recompviz.pytorch.budgeting.planned_budget import PlanWarning
from tests.torch.steps import CASES, Case, make
from tests.torch.test_execution import plans_of

# Kusumoto et al. 2019: #V and #E of the graphs, and all lower sets, ∅ and V included
PAPER = {
    "pspnet": (385, 422, 12_533),
    "unet": (60, 63, 331),
    "resnet50": (176, 191, 241),
    "resnet152": (516, 565, 581),
    "vgg19": (46, 45, 47),
    "densenet161": (568, 645, 569),
    "googlenet": (134, 162, 27_358),
}


def paper_trace(case: Case) -> rv.Trace:
    return rv.trace(
        case.model, *case.inputs, kwargs=case.kwargs, targets=case.targets, loss=case.loss, granularity="paper"
    )


@functools.cache
def small_trace(name: str) -> rv.Trace:
    """The small example of a name, traced once for all tests."""
    torch.manual_seed(0)
    step = networks.example(name, small=True)
    return paper_trace(Case(step.model, step.inputs, step.targets, loss=step.loss))


def counts(trace: rv.Trace) -> tuple[int, int, int]:
    """Nodes, edges and lower sets, ∅ and V included."""
    graph = trace.graph
    assert [v for v in range(len(graph)) if not graph.successors[v]] == [len(graph) - 1]  # the loss is the only sink
    assert graph.order == tuple(range(len(graph)))
    return len(graph), len(graph.edges), len(enumerate_lattice(graph, 100_000))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["unet", "vgg19", "googlenet"])
def test_small_examples_that_keep_their_graph_have_the_papers_numbers(name: str) -> None:
    assert counts(small_trace(name)) == PAPER[name]


@pytest.mark.slow
def test_a_narrow_pspnet_has_the_papers_numbers() -> None:
    images, labels = torch.randn(2, 3, 49, 49), torch.randint(5, (2, 49, 49))
    case = Case(networks.pspnet(width=4, classes=5), (images,), (labels,), loss=networks.pspnet_loss)
    assert counts(paper_trace(case)) == PAPER["pspnet"]


def classifier(model: nn.Module) -> Case:
    return Case(model, (torch.randn(2, 3, 32, 32),), (torch.tensor([1, 2]),), loss=networks.classification)


@pytest.mark.slow
def test_a_narrow_resnet50_has_the_papers_numbers() -> None:
    assert counts(paper_trace(classifier(networks.resnet(width=4, classes=10)))) == PAPER["resnet50"]


SHALLOW = ((1, 1, 1, 1), (1, 2, 1, 1), (1, 2, 2, 1))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "build", "layers"),
    [
        ("resnet152", lambda layers: networks.resnet(layers, width=4, classes=10), (3, 8, 36, 3)),
        ("densenet161", lambda layers: networks.densenet(layers, growth=4, width=8, classes=10), (6, 12, 36, 24)),
    ],
)
def test_the_deepest_networks_reach_the_papers_numbers_layer_by_layer(name, build, layers) -> None:
    # every layer after the first of a stage adds the same, so that shallow traces tell of the deep one
    one, two, three = (counts(paper_trace(classifier(build(shallow)))) for shallow in SHALLOW)
    step = tuple(b - a for a, b in zip(one, two, strict=True))
    assert tuple(b - a for a, b in zip(two, three, strict=True)) == step
    further = sum(layers) - len(layers)
    assert tuple(a + further * s for a, s in zip(one, step, strict=True)) == PAPER[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["unet", "googlenet", "vgg19"])
def test_plans_of_the_papers_graph_are_bitwise_eager_and_save_what_they_say(name: str) -> None:
    trace = small_trace(name)
    curve = trace.tradeoff("paper")
    for plan in [rv.Plan.keep_all(trace.graph), *(curve.plan_at(i) for i in (0, len(curve.time_centric) - 1))]:
        certificate = rv.certify(trace, plan)
        assert certificate.ok, (name, plan, certificate.text)
        assert certificate.gradients == "bitwise"
        step = trace.arguments
        measured = rv.measure(rv.apply(trace, plan), *step[0], targets=step[2])
        assert measured.step_ends.tolist() == rv.simulate(trace, plan).step_ends.tolist()


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_whatever_trains_at_the_operators_granularity_trains_at_the_papers(name: str) -> None:
    case = make(name)
    trace = paper_trace(case)
    for plan in plans_of(trace):
        certificate = rv.certify(trace, plan)
        assert certificate.ok, (name, plan, certificate.text)
        assert certificate.gradients == "bitwise"
    simulated = rv.simulate(trace, plan)
    measured = rv.measure(rv.apply(trace, plan), *case.inputs, kwargs=case.kwargs, targets=case.targets)
    assert measured.step_ends.tolist() == simulated.step_ends.tolist()


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_every_call_of_the_operators_graph_belongs_to_one_node_of_the_papers(name: str) -> None:
    fine, coarse = make(name).trace(), paper_trace(make(name))
    assert [call.info.key for call in coarse.joint.calls] == [call.info.key for call in fine.joint.calls]
    assert [call.node >= 0 for call in coarse.joint.calls] == [call.node >= 0 for call in fine.joint.calls]
    owned = [c for calls in coarse.folded.node_calls for c in calls]
    assert sorted(owned) == [c for c, call in enumerate(fine.joint.calls) if call.node >= 0]
    for node, calls in enumerate(coarse.folded.node_calls):
        assert {coarse.joint.calls[c].node for c in calls} <= {node}
    # to keep everything is the same step, whatever it is called
    assert rv.simulate(coarse).peak == rv.simulate(fine).peak


class Views(nn.Module):
    """A chain of views, a branch of views, a view that changes nothing, a view of an input."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.linear(x.flatten(1))
        branches = h.view(2, 3, 2)  # a node: two chains look through it
        one = branches[0].flatten()  # a node: a chain of two
        two = branches[1:].detach()  # a node; detach sees what it sees
        return torch.sin(one).sum() + torch.cos(two).sum() + h.view(2, 6).exp().sum()


def test_a_view_node_is_a_maximal_unbranched_chain_of_views_of_a_value() -> None:
    case = Case(Views(), (torch.randn(2, 2, 2),))
    graph = paper_trace(case).graph
    by_op: dict[str, list[int]] = {}
    for v, info in enumerate(graph.info):
        by_op.setdefault(info.op.removeprefix("aten."), []).append(v)
    (linear,) = by_op["addmm"]
    branches, one = by_op["view"]
    two = by_op["slice"][0]
    edges = {tuple(edge) for edge in graph.edges.tolist()}
    assert {(linear, branches), (branches, one), (branches, two)} <= edges
    assert {(one, by_op["sin"][0]), (two, by_op["cos"][0]), (linear, by_op["exp"][0])} <= edges
    assert graph.memory[[linear, branches, one, two]].tolist() == [48, 48, 24, 24]
    assert sorted(by_op) == ["add", "addmm", "cos", "exp", "sin", "slice", "sum", "view"]


def test_a_value_is_kept_if_its_node_is_or_any_view_of_it() -> None:
    trace = paper_trace(Case(Views(), (torch.randn(2, 2, 2),)))
    graph = trace.graph
    (linear,) = [v for v, info in enumerate(graph.info) if info.op == "aten.addmm"]
    (call,) = trace.folded.node_calls[linear]
    views = [v for v, calls in enumerate(trace.folded.node_calls) if not calls]
    assert sorted(trace.joint.calls[call].views) == views
    for kept in ([linear], *([view] for view in views), views):
        flags = [v in kept for v in range(len(graph))]
        assert trace.joint.kept_calls(flags)[call]
        plan = rv.Plan.from_keep_mask(graph, [graph.names[v] for v in kept], "by hand")
        assert call not in trace.schedule(plan).recomputed
        assert rv.certify(trace, plan).ok
    others = [v not in (linear, *views) for v in range(len(graph))]
    assert not trace.joint.kept_calls(others)[call]


def test_a_layer_of_torch_nn_is_one_node_and_a_second_call_of_it_another() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 4, 1)
            self.norm = nn.LocalResponseNorm(3)
            self.linear = nn.Linear(5, 5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.linear(self.norm(self.norm(self.conv(x)))).sum()

    trace = paper_trace(Case(Twice(), (torch.randn(2, 1, 5, 5),)))
    graph = trace.graph
    assert [info.op for info in graph.info] == [
        "aten.convolution", "LocalResponseNorm", "LocalResponseNorm", "aten.addmm", "aten.sum",
    ]  # fmt: skip
    assert graph.names[1:3] == ("norm/LocalResponseNorm", "norm/LocalResponseNorm#1")
    assert graph.edges.tolist() == [[0, 1], [1, 2], [2, 3], [3, 4]]
    for plan in plans_of(trace):
        assert rv.certify(trace, plan).gradients == "bitwise"


@pytest.mark.parametrize("shape", [(4,), (4, 3), (4, 3, 2)])
def test_softmax_and_cross_entropy_are_one_node_in_any_number_of_dimensions(shape: tuple[int, ...]) -> None:
    model, x = nn.BatchNorm2d(4), torch.randn(2, 4, 3, 2)
    if len(shape) < 3:
        model, x = nn.BatchNorm1d(4), torch.randn(2, *shape)
    labels = torch.zeros((2, *shape[1:]), dtype=torch.long)
    trace = paper_trace(Case(model, (x,), (labels,), loss=F.cross_entropy))
    assert [len(calls) for calls in trace.folded.node_calls] == [1, 2]
    assert trace.graph.names[-1] == "loss/cross_entropy"
    assert trace.graph.info[-1].output
    assert rv.certify(trace, rv.Plan.keep_all(trace.graph)).ok


def test_softmax_whose_value_makes_the_labels_is_not_put_together_with_the_loss() -> None:
    def pseudo_labels(logits: torch.Tensor) -> torch.Tensor:
        scores = F.log_softmax(logits, 1)
        return F.nll_loss(scores, scores.argmax(1))

    trace = paper_trace(Case(nn.Linear(3, 4), (torch.randn(2, 3),), loss=pseudo_labels))
    assert all(len(calls) == 1 for calls in trace.folded.node_calls)
    for plan in plans_of(trace):
        assert rv.certify(trace, plan).ok


def test_another_batch_is_captured_at_the_same_granularity() -> None:
    case = make("batch norm")
    home = paper_trace(case).with_costs("flops")
    planned = rv.apply(home, home.tradeoff().plan_at(0))
    x, y = torch.randn(3, 3, 12, 12), torch.tensor([0, 1, 2])
    with pytest.warns(PlanWarning):
        planned(x, y).backward()
    (other,) = planned._budget.regions
    assert other.folded.graph.names == home.graph.names


def test_an_unknown_granularity_is_named_beside_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'layers' is unknown; choose 'operators' or 'paper'"):
        rv.trace(nn.Linear(1, 1), torch.ones(1, 1), granularity="layers")
