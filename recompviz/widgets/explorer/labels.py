"""Short names for the node boxes of the graph, as a user of PyTorch knows them.

A layer that is one value has the name that the model gives it, such as ``fc1``. Any other value has the name of its
function, such as ``softmax``, as its key has it, or a common short form of that name. A number is no name: a layer of a
list has the name of its function, or, where the box of the list is not around it, the name of the list and its number.
Private names of operators are never shown.
"""

from __future__ import annotations

from collections import Counter, defaultdict

from recompviz.core.graphs.graph import Graph
from recompviz.core.graphs.operator_names import public_name
from recompviz.widgets.layout.layout import NODE
from recompviz.widgets.layout.modules import module_tree

# A label of so many characters fits into a node box of a picture, which shortens longer ones at their end. The page has
# wider boxes for longer labels where it shows modules.
WIDEST = 8
# widths of letters in a wide bold font, as shares of the font size
NARROW, USUAL, WIDE = 0.43, 0.7, 1.04

_SHORT = {
    "add": "+",
    "sub": "−",
    "rsub": "−",
    "mul": "×",
    "div": "÷",
    "addmm": "linear",
    "mm": "matmul",
    "bmm": "matmul",
    "baddbmm": "matmul",
    "addbmm": "matmul",
    "avg_pool1d": "pool",
    "avg_pool2d": "pool",
    "avg_pool3d": "pool",
    "max_pool1d": "pool",
    "max_pool2d": "pool",
    "max_pool3d": "pool",
    "adaptive_avg_pool1d": "avgpool",
    "adaptive_avg_pool2d": "avgpool",
    "adaptive_avg_pool3d": "avgpool",
    "adaptive_max_pool1d": "pool",
    "adaptive_max_pool2d": "pool",
    "adaptive_max_pool3d": "pool",
    "batch_norm": "bn",
    "clamp_max": "clamp",
    "clamp_min": "clamp",
    "conv1d": "conv",
    "conv2d": "conv",
    "conv3d": "conv",
    "conv_transpose1d": "deconv",
    "conv_transpose2d": "deconv",
    "conv_transpose3d": "deconv",
    "convolution": "conv",
    "embedding": "embed",
    "embedding_bag": "embed",
    "full_like": "full",
    "group_norm": "gn",
    "hardsigmoid": "hsigm",
    "hardswish": "hswish",
    "hardtanh": "htanh",
    "index_put": "index",
    "index_select": "index",
    "kl_div": "loss",
    "layer_norm": "norm",
    "leaky_relu": "lrelu",
    "log_softmax": "softmax",
    "masked_fill": "mask",
    "dropout": "dropout",
    "new_zeros": "zeros",
    "ones_like": "ones",
    "rand_like": "random",
    "randn_like": "random",
    "rms_norm": "norm",
    "scaled_dot_product_attention": "attn",
    "scatter_add": "scatter",
    "zeros_like": "zeros",
}


def short_label(op: str) -> str:
    """Return a short name of an operator. Most have at most seven characters.

    Examples
    --------
    >>> short_label("aten.convolution.default"), short_label("aten._native_batch_norm_legit"), short_label("my::fancy")
    ('conv', 'bn', 'fancy')
    """
    name = public_name(op)
    if name.endswith("_loss") or "cross_entropy" in name:
        return "loss"
    return _SHORT.get(name, name)


def node_labels(graph: Graph) -> list[str]:
    """Return the text for the box of each node: the name of a layer, otherwise the short name of the operator.

    A node has the name of its layer if it is the only node of a call of the layer, no module is inside the layer, and
    the name is no number. Layers of a list that are alike and shown outside of the list's box have the name of the list
    and their number, as in ``pool.0``. A node without an operator has its own name.

    Examples
    --------
    >>> from recompviz.core.graphs.graph import NodeInfo
    >>> info = [NodeInfo(op="aten.addmm", module=module) for module in ("fc1", "mlp.0", "mlp")]
    >>> node_labels(Graph(("a", "b", "c"), [1, 1, 1], [1, 1, 1], [(0, 1)], tuple(info)))
    ['fc1', 'linear', 'linear']
    >>> info = [NodeInfo(op="aten.convolution", module=module) for module in ("pool.0", "fc1", "pool.1")]
    >>> node_labels(Graph(("a", "b", "c"), [1, 1, 1], [1, 1, 1], [(0, 1), (1, 2)], tuple(info)))
    ['pool.0', 'fc1', 'pool.1']
    """
    alone = Counter((info.module, info.calls) for info in graph.info)
    above = {path.rpartition(".")[0] for path, _ in alone}

    numbered: dict[int, str] = {}  # the nodes that are layers of a list, with the path of the list

    def label(v: int) -> str:
        info = graph.info[v]
        if not info.op:
            return str(graph.names[v])
        around, _, own = info.module.rpartition(".")
        is_layer = alone[info.module, info.calls] == 1 and info.module not in above
        if is_layer and own.isdigit():
            numbered[v] = around
        elif is_layer and own and info.module not in ("loss", "backward"):
            return own
        return short_label(info.op)

    labels = [label(v) for v in range(len(graph))]
    numbers: dict[tuple[str, str], set[str]] = defaultdict(set)
    for v, around in numbered.items():
        numbers[around, labels[v]].add(graph.info[v].module)
    alike = [v for v, around in numbered.items() if around and len(numbers[around, labels[v]]) > 1]
    if alike:
        modules = module_tree(graph)
        for v in alike:
            if modules.paths[modules.owner[v]] != numbered[v]:
                labels[v] = ".".join(graph.info[v].module.split(".")[-2:])
    return labels


def fitted(label: str, most: int = WIDEST) -> str:
    """Return a label of at most ``most`` characters, so that it fits into a node box. A longer label is cut at its end.

    Examples
    --------
    >>> fitted("softmax"), fitted("logsumexp")
    ('softmax', 'logsume…')
    """
    return label if len(label) <= most else f"{label[: most - 1]}…"


def squeezed(label: str, size: float, room: float = NODE[0] - 6) -> str:
    """Return SVG attributes that squeeze a label into its box if it may be too wide; "" for a short label.

    Which font the reader has is not known, so the width is estimated for a wide one.

    Parameters
    ----------
    label : str
    size : float
        The font size in pixels.
    room : float
        The width of the box without its margins, in pixels. The default is that of a node box.

    Examples
    --------
    >>> squeezed("relu", 10.5), squeezed("matmul", 10.5)
    ('', ' textLength="32" lengthAdjust="spacingAndGlyphs"')
    """
    width = size * sum(NARROW if letter in "fijlrt.1" else WIDE if letter in "mwMW" else USUAL for letter in label)
    return f' textLength="{room:g}" lengthAdjust="spacingAndGlyphs"' if width > room else ""
