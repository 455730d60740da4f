"""Boxes and keys have the names that users of PyTorch know, for every network of the package and every operator."""

import keyword
import re

import pytest

from recompviz.core.graphs.operator_names import public_name
from recompviz.widgets.explorer.labels import WIDEST, fitted, node_labels, short_label
from recompviz.widgets.layout.step_nodes import node_numbers, step_nodes

torch = pytest.importorskip("torch")

import recompviz as rv  # noqa: E402
from recompviz import networks  # noqa: E402
from tests.torch.small_networks import small_trace  # noqa: E402

# what a box may say that is not a function of torch: signs, abbreviations that people write, and what recompviz adds
WORDS = {"attn", "bn", "cast", "copy", "deconv", "embed", "full", "gn", "hsigm", "hswish", "htanh", "loss", "lrelu",
         "mask", "norm", "ones", "pool", "random", "resize", "zeros", "conv",
         "avgpool", "+", "−", "×", "÷"}  # fmt: skip
PRIVATE = re.compile(
    r"(^|[/_])(_|native|mkl|mkldnn|onednn|cudnn|miopen|legit|functional|safe_softmax|for_cpu|with_indices)"
)


def is_known(label):
    """Whether a label is a function that PyTorch documents, or one of the common words."""
    places = (torch, torch.Tensor, torch.nn.functional, torch.fft, torch.special)
    return label in WORDS or any(not label.startswith("_") and hasattr(place, label) for place in places)


class Experts(torch.nn.Module):
    """A mixture of experts with attention written in single operators."""

    def __init__(self):
        super().__init__()
        self.qkv, self.router = torch.nn.Linear(16, 48), torch.nn.Linear(16, 3)
        self.experts = torch.nn.ModuleList(
            torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.GELU(), torch.nn.Linear(32, 16)) for _ in range(3)
        )

    def forward(self, x):
        q, k, v = self.qkv(x).view(*x.shape[:2], 3, 2, 8).permute(2, 0, 3, 1, 4)
        x = x + ((q @ k.transpose(-1, -2)).softmax(-1) @ v).transpose(1, 2).reshape(x.shape)
        weights, chosen = self.router(x).softmax(-1).topk(2, -1)
        gates = torch.zeros(*x.shape[:2], 3).scatter(-1, chosen, weights)
        return sum(expert(x) * gates[..., i : i + 1] for i, expert in enumerate(self.experts))


def check_names(graph):
    modules = {part for info in graph.info for part in info.module.split(".")}
    for info, label in zip(graph.info, node_labels(graph), strict=True):
        number, _, function = label.rpartition(" ")
        of_list = re.fullmatch(r"(\w+)\.\d+", label)
        assert label in modules or is_known(function) or (of_list and of_list[1] in modules), (info.op, label)
        assert not number or (number.isdigit() and number == info.module.rpartition(".")[2])
        assert not PRIVATE.search(info.key.rpartition("/")[2]), info.key
    assert len({info.key for info in graph.info}) == len(graph)


@pytest.mark.slow
@pytest.mark.parametrize("name", networks.NAMES)
def test_no_box_and_no_key_of_any_network_has_a_private_name(name):
    check_names(small_trace(name).graph)


def test_no_box_and_no_key_of_experts_and_recurrent_layers_has_a_private_name():
    check_names(rv.trace(Experts(), torch.randn(2, 5, 16), loss=torch.sum).graph)
    recurrent = torch.nn.LSTM(8, 8, num_layers=2)
    check_names(rv.trace(recurrent, torch.randn(4, 2, 8), loss=lambda out: out[0].sum()).graph)


def test_every_operator_of_aten_gets_a_public_name():
    names = [name for name in dir(torch.ops.aten) if not name.startswith("__")]
    assert len(names) > 500
    for name in names:
        public = public_name(f"aten.{name}")
        assert public
        assert not public.startswith("_")
        assert public.isidentifier() or keyword.iskeyword(public)


def test_layers_of_other_libraries_have_the_name_of_the_plain_function():
    for op, label in {
        "mkl._mkl_linear.default": "linear", "mkldnn._linear_pointwise.default": "linear",
        "mkldnn._convolution_pointwise.default": "conv", "onednn.qlinear_pointwise.default": "qlinear",
        "aten.mkldnn_rnn_layer": "lstm", "aten._cudnn_rnn": "lstm", "aten._thnn_fused_gru_cell": "gru",
        "aten.cudnn_batch_norm": "bn", "aten.miopen_convolution": "conv",
        "aten._scaled_dot_product_cudnn_attention": "attn",
        "aten._log_softmax": "softmax", "aten._safe_softmax": "softmax", "aten._fused_rms_norm": "norm",
    }.items():  # fmt: skip
        assert short_label(op) == label, op


def test_a_layer_has_its_own_name_and_a_long_name_is_cut_at_its_end():
    graph = rv.trace(Experts(), torch.randn(2, 5, 16), loss=torch.sum).graph
    labels = node_labels(graph)
    assert {"qkv", "router", "gelu", "softmax", "matmul"} <= set(labels)
    assert fitted("softmax") == "softmax"
    assert fitted("cosine_similarity") == "cosine_…"
    assert max(len(fitted(label)) for label in labels) <= WIDEST


class ListOfLayers(torch.nn.Module):
    """Layers with names of one letter, and layers of a list that run between others."""

    def __init__(self):
        super().__init__()
        self.i, self.o, self.a_rather_long_name = (torch.nn.Conv2d(4, 4, 1) for _ in range(3))
        self.pool = torch.nn.ModuleList(torch.nn.Conv2d(4, 4, 1) for _ in range(2))
        self.net = torch.nn.Sequential(torch.nn.Conv2d(4, 4, 1), torch.nn.ReLU(), torch.nn.Conv2d(4, 4, 1))

    def forward(self, x):
        x = self.pool[1](self.a_rather_long_name(self.pool[0](self.i(x))))
        return self.o(self.net(x)).to(torch.float64)


def test_layers_outside_of_the_box_of_their_list_have_numbers_and_a_label_is_a_part_of_its_key():
    graph = rv.trace(ListOfLayers(), torch.randn(2, 4, 4, 4), loss=torch.sum).graph
    labels = dict(zip((info.key for info in graph.info), node_labels(graph), strict=True))
    assert [label for key, label in labels.items() if "loss" not in key] == [
        "i", "pool.0", "a_rather_long_name", "pool.1", "conv", "relu", "conv", "o", "to",
    ]  # fmt: skip
    assert all(label in key for key, label in labels.items() if "loss" not in key)


def test_a_backward_step_belongs_to_the_node_of_its_forward_function():
    trace = rv.trace(torch.nn.Sequential(Experts()), torch.randn(2, 5, 16), loss=torch.sum)
    timeline = rv.simulate(trace, trace.baseline("keep-all"))
    found = dict(
        zip(timeline.step_labels, step_nodes(trace.graph, node_numbers(trace.graph), timeline.step_labels), strict=True)
    )
    backward = [label for label in found if label.endswith("softmax_backward")]
    assert backward
    for label in backward:
        assert public_name(trace.graph.info[found[label]].op) == "softmax"
