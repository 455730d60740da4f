"""Models of many shapes: each certified bitwise and measured as simulated, or refused with the reason and the line."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

import recompviz as rv
from recompviz import networks
from tests.torch.small_networks import small_case, small_trace
from tests.torch.steps import Case
from tests.torch.test_execution import plans_of


class Written(nn.Module):
    """A forward function over the modules and parameters it is given."""

    def __init__(self, function: Callable[..., Any], **parts: Any) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, *values: Any, **kwargs: Any) -> Any:
        return self.function(self, *values, **kwargs)


def linear() -> nn.Linear:
    return nn.Linear(8, 8)


@dataclasses.dataclass
class Output:
    logits: torch.Tensor
    loss: torch.Tensor | None = None


class Clip(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        return x.clamp(-1, 1)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        (x,) = ctx.saved_tensors
        return gradient * (x.abs() < 2) * 1.5


@torch.compile(backend="aot_eager")
def compiled_inside(x: torch.Tensor) -> torch.Tensor:
    return x.sin() * 2


class ConstantMask(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = linear()
        self.mask = torch.linspace(0, 1, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (self.linear(x) * self.mask).sum()


class SharedLayer(nn.Module):
    """One layer under three names."""

    def __init__(self) -> None:
        super().__init__()
        self.first = linear()
        self.blocks = nn.ModuleList(nn.Sequential(self.first, nn.BatchNorm1d(8), linear()) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = x + block(x)
        return x.pow(2).sum()


class CountingInPlace(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = linear()
        self.register_buffer("steps", torch.tensor(0))
        self.register_buffer("mean", torch.zeros(8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.linear(x)
        with torch.no_grad():
            self.mean.mul_(0.9).add_(y.mean(0), alpha=0.1)
            self.steps.add_(1)
        return (y - self.mean).pow(2).sum()


def in_place(m: Any, x: torch.Tensor) -> torch.Tensor:
    h = m.a(x).clone()
    h[:, 0] = 0.5
    h[:, 1] = h[:, 2] * 2
    return m.b(h.masked_fill_(h > 2, 0.1).add_(1)).sum()


def attention_with_constants(m: Any, x: torch.Tensor) -> torch.Tensor:
    for _ in range(4):
        mask = torch.full((6, 6), float("-inf")).triu(1)
        h = m.a(x) + torch.arange(6).float()[:, None]
        x = x + (h @ h.transpose(1, 2) + mask).softmax(-1) @ h
    return x.sum()


def inner_gradient(m: Any, x: torch.Tensor) -> torch.Tensor:
    y = m.a(x).tanh().sum()
    (gradient,) = torch.autograd.grad(y, x, create_graph=True)
    return y + gradient.pow(2).sum()


def spectral(m: Any, x: torch.Tensor) -> torch.Tensor:
    h = torch.fft.rfft(m.a(x)) * torch.view_as_complex(m.w)
    return torch.fft.irfft(h, n=8).pow(2).sum() + h.abs().sum()


def indexing(m: Any, x: torch.Tensor, i: torch.Tensor) -> torch.Tensor:
    h = m.a(x)
    scattered = torch.zeros(4, 8).scatter_add(1, i, h)
    return (scattered.cumsum(1) * h.sort(1)[0]).sum() + h.gather(1, i).logsumexp(1).sum()


def resizes(m: Any, x: torch.Tensor) -> torch.Tensor:
    h = m.c(x)
    modes = ("bilinear", "nearest", "bicubic", "area", "nearest-exact")
    return sum(F.interpolate(h, scale_factor=2, mode=mode).sin().sum() for mode in modes)


def x48() -> torch.Tensor:
    return torch.randn(4, 8)


CASES: dict[str, Callable[[], Case]] = {
    "in-place writes": lambda: Case(Written(in_place, a=linear(), b=linear()), (x48(),)),
    "dataclass output": lambda: Case(
        Written(lambda m, x: Output(m.a(x)), a=linear()), (x48(),), (x48(),), loss=lambda o, t: F.mse_loss(o.logits, t)
    ),
    "nested inputs": lambda: Case(
        Written(lambda m, batch, scale: (m.a(batch["x"]) * scale + batch["y"][0]).sum(), a=linear()),
        ({"x": x48(), "y": (x48(),)}, 2.0),
    ),
    "checkpoint with dropout inside": lambda: Case(
        Written(
            lambda m, x: m.b(checkpoint(m.a, x, use_reentrant=False)).sum(),
            a=nn.Sequential(linear(), nn.Tanh(), nn.Dropout(0.5), linear()),
            b=linear(),
        ),
        (x48(),),
    ),
    "autograd function": lambda: Case(Written(lambda m, x: Clip.apply(m.a(x)).sum(), a=linear()), (x48(),)),
    "compiled function inside": lambda: Case(
        Written(lambda m, x: compiled_inside(m.a(x)).sum(), a=linear()), (x48(),)
    ),
    "constant tensor attribute": lambda: Case(ConstantMask(), (x48(),)),
    "one layer in two blocks": lambda: Case(SharedLayer(), (x48(),)),
    "buffers overwritten by hand": lambda: Case(CountingInPlace(), (x48(),)),
    "inner gradient": lambda: Case(Written(inner_gradient, a=linear()), (x48().requires_grad_(),)),
    "complex numbers": lambda: Case(Written(spectral, a=linear(), w=nn.Parameter(torch.randn(5, 2))), (x48(),)),
    "scatter, sort, cumsum": lambda: Case(
        Written(indexing, a=linear()), (x48(), torch.randint(0, 4, (4, 8)))
    ),
    "resizes": lambda: Case(Written(resizes, c=nn.Conv2d(3, 4, 1)), (torch.randn(2, 3, 8, 8),)),
    "GRU": lambda: Case(nn.GRU(8, 8, batch_first=True), (torch.randn(2, 3, 8),), loss=lambda o: o[0].sum()),
    "gradient that autograd copies": lambda: Case(
        Written(lambda m, x: m.a(x).sum() + m.v.sum() + m.w.sum(), a=linear(), v=nn.Parameter(torch.randn(3)),
                w=nn.Parameter(torch.randn(3))), (x48(),)
    ),
    "losses that reduce in place": lambda: Case(
        linear(), (x48(),), (x48(),), loss=lambda o, t: F.mse_loss(o, t) + F.smooth_l1_loss(o, t)
    ),
    "constants": lambda: Case(
        Written(attention_with_constants, a=linear()), (torch.randn(2, 6, 8),)
    ),
    "stochastic depth": lambda: Case(
        Written(lambda m, x: (x + m.a(x) * x.new_empty(4, 1).bernoulli_(0.8).div_(0.8)).sin().sum(), a=linear()),
        (x48(),),
    ),
    "weight norm": lambda: Case(
        nn.Sequential(nn.utils.parametrizations.weight_norm(linear()), nn.ReLU(), linear()), (x48(),), loss=torch.sum
    ),
}  # fmt: skip


if torch.__version__ < "2.11":  # whose Dynamo refuses torch.autograd.grad, with the user's own line
    del CASES["inner gradient"]


def held(case: Case, trace: rv.Trace) -> None:
    """Certify and measure keep-all, plans along the curve, and the leanest."""
    for plan in plans_of(trace, 2):
        certificate = rv.certify(trace, plan)
        assert certificate.ok, certificate.text
        assert certificate.gradients == "bitwise"
        simulated = rv.simulate(trace, plan)
        measured = rv.measure(rv.apply(trace, plan), *case.inputs, kwargs=case.kwargs, targets=case.targets)
        assert measured.static == simulated.static
        assert measured.step_ends.tolist() == simulated.step_ends.tolist()


@pytest.mark.parametrize("name", CASES)
def test_a_model_is_certified_bitwise_and_measured_as_simulated(name: str) -> None:
    torch.manual_seed(0)
    case = CASES[name]()
    held(case, case.trace())


def test_after_a_trace_a_model_has_the_very_tensors_it_had() -> None:
    model = SharedLayer()
    before = dict(model.named_parameters(remove_duplicate=False)) | dict(model.named_buffers(remove_duplicate=False))
    rv.trace(model, x48())
    after = dict(model.named_parameters(remove_duplicate=False)) | dict(model.named_buffers(remove_duplicate=False))
    assert before.keys() == after.keys()
    assert all(after[name] is tensor for name, tensor in before.items())


@pytest.mark.slow
@pytest.mark.parametrize("name", [*networks.PAPER, "vit", "gpt2", "llama_70b", "lstm_lm", "unet_diffusion"])
def test_a_network_of_ours_is_certified_bitwise_and_measured_as_simulated(name: str) -> None:
    held(small_case(name), small_trace(name))


@pytest.mark.parametrize("model", [
    nn.Sequential(nn.Flatten(), nn.Linear(192, 16), nn.GELU(), nn.LayerNorm(16), nn.Linear(16, 3)),
    nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 3)),
])  # fmt: skip
def test_a_step_under_autocast_is_certified_under_autocast(model: nn.Module) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        case = Case(model, (torch.randn(2, 3, 8, 8),), (torch.tensor([0, 1]),), loss=F.cross_entropy)
        held(case, case.trace())


def test_constants_are_no_nodes_and_do_not_multiply_lower_sets() -> None:
    torch.manual_seed(0)
    trace = CASES["constants"]().trace()
    assert {"aten.full", "aten.arange", "aten.triu"} <= {call.info.op for call in trace.joint.calls}
    assert not {"aten.full", "aten.arange", "aten.triu"} & {info.op for info in trace.graph.info}
    assert trace.graph.count_lower_sets() < 2 * len(trace.graph)


def test_a_constant_is_made_again_where_its_reader_is_and_kept_where_all_is_kept() -> None:
    torch.manual_seed(0)
    trace = rv.trace(Written(lambda m, x: (m.a(x).sin() * torch.ones(4, 8)).sum(), a=linear()), x48())
    (constant,) = [c for c, call in enumerate(trace.joint.calls) if call.info.op == "aten.ones"]
    keep_all = trace.schedule()
    assert trace.joint.calls[constant].makes[0] in keep_all.saved
    assert not keep_all.recomputed
    lean = trace.schedule(rv.Plan.from_masks(trace.graph, [trace.graph.everything]))
    assert constant in lean.recomputed


def test_a_second_model_of_other_sizes_is_traced_with_numbers_not_symbols() -> None:
    for size in (4, 6, 9):
        model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Upsample(size=(size, size), mode="bilinear"), nn.Flatten())
        trace = rv.trace(model, torch.randn(2, 1, size, size), loss=torch.sum)
        assert all(type(storage.size) is int for storage in trace.joint.storages)


class NewBuffer(CountingInPlace):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.linear(x)
        self.mean = self.mean * 0.9 + y.detach().mean(0) * 0.1
        return (y - self.mean).pow(2).sum()


class CountingByAssignment(CountingInPlace):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        loss = super().forward(x)
        with torch.no_grad():
            self.steps += 1
        return loss


@pytest.mark.parametrize("model", [NewBuffer, CountingByAssignment])
def test_buffers_that_forward_assigns_are_assigned_under_a_plan(model: type[nn.Module]) -> None:
    torch.manual_seed(0)
    case = Case(model(), (x48(),))
    trace = case.trace()
    plan = rv.Plan.keep_all(trace.graph)
    assert rv.certify(trace, plan).ok
    planned = rv.apply(trace, plan)
    # the tensor that is assigned counts until the end of the step, also where it is the buffer itself
    extra = rv.simulate(trace, plan).peak - rv.measure(planned, *case.inputs).peak
    assert 0 <= extra <= 8
    before = case.model.mean.clone()
    planned(*case.inputs).backward()
    assert not torch.equal(case.model.mean, before)


def printing(m: Any, x: torch.Tensor) -> torch.Tensor:
    y = m.a(x)
    print(y.mean())
    return y.sum()


def selecting(m: Any, x: torch.Tensor) -> torch.Tensor:
    y = m.a(x)
    return y[y > 0].sum()


def checked(m: Any, x: torch.Tensor) -> torch.Tensor:
    return torch.linalg.cholesky(m.a(x).T @ m.a(x) + torch.eye(8)).sum()


TOKENS = torch.tensor([[0, 1, 2]])


@pytest.mark.parametrize(("model", "inputs", "why"), [
    (Written(printing, a=linear()), (x48(),), r"test_breadth\.py.*in printing"),
    (Written(selecting, a=linear()), (x48(),), r"test_breadth\.py.*in selecting"),
    (nn.Sequential(nn.Embedding(9, 8, sparse=True), linear()), (TOKENS,), "sparse=False"),
    (nn.Sequential(nn.Embedding(9, 8, max_norm=1.0), linear()), (TOKENS,), "max_norm"),
    *([  # the traces of older releases leave the error check out by themselves
        (Written(checked, a=linear()), (x48(),), "_ex")
    ] if torch.__version__ >= "2.13" else []),
])  # fmt: skip
def test_what_cannot_be_traced_is_refused_with_the_reason(model: nn.Module, inputs: tuple[Any, ...], why: str) -> None:
    with pytest.raises(rv.TraceError, match=why):
        rv.trace(model, *inputs, loss=torch.sum)


class ComputedOutside(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = linear()
        self.context = self.linear(torch.ones(8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (self.linear(x) * self.context).sum()


def test_a_constant_that_would_get_a_gradient_in_eager_is_refused_by_name() -> None:
    with pytest.raises(rv.TraceError, match=r"reads context, .*detach"):
        rv.trace(ComputedOutside(), x48())


def test_a_scripted_module_is_refused_by_name() -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit.script. is deprecated")
        scripted = torch.jit.script(nn.Sequential(linear()))
    with pytest.raises(rv.TraceError, match="Sequential is a scripted module"):
        rv.trace(scripted, x48(), loss=torch.sum)


def test_the_reason_that_dynamo_explains_is_in_the_error() -> None:
    outside = torch.compiler.disable(torch.sum)
    step = Written(lambda m, x: outside(m.a(x)), a=linear())
    with pytest.raises(rv.TraceError, match=r"it was wrapped with `torch\.compiler\.disable`"):
        rv.trace(step, torch.randn(4, 8))


def test_another_tensor_in_an_attribute_is_noticed() -> None:
    torch.manual_seed(0)
    case = CASES["constant tensor attribute"]()
    trace = case.trace()
    planned = rv.apply(trace, rv.Plan.keep_all(trace.graph))
    for change in (lambda m: setattr(m, "mask", torch.ones(8)), lambda m: m.mask.mul_(3)):
        change(case.model)
        loss = planned(*case.inputs)
        assert torch.equal(loss, case.model(*case.inputs))
