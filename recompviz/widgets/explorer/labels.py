"""Short names of operators, which fit into the node boxes of the graph: at most six characters."""

from __future__ import annotations

_SHORT = {
    "convolution": "conv",
    "conv2d": "conv",
    "conv_transpose2d": "deconv",
    "native_batch_norm": "bn",
    "batch_norm": "bn",
    "native_layer_norm": "norm",
    "layer_norm": "norm",
    "rms_norm": "norm",
    "native_group_norm": "gn",
    "group_norm": "gn",
    "threshold": "relu",
    "leaky_relu": "lrelu",
    "sigmoid": "σ",
    "add": "+",
    "sub": "−",
    "mul": "×",
    "div": "÷",
    "max_pool2d": "pool",
    "max_pool2d_with_indices": "pool",
    "avg_pool2d": "pool",
    "adaptive_avg_pool2d": "avg",
    "mean": "mean",
    "addmm": "fc",
    "linear": "fc",
    "bmm": "mm",
    "matmul": "mm",
    "baddbmm": "mm",
    "embedding": "emb",
    "log_softmax": "lsoft",
    "softmax": "soft",
    "native_dropout": "drop",
    "dropout": "drop",
    "nll_loss": "loss",
    "nll_loss_forward": "loss",
    "nll_loss2d_forward": "loss",
    "cross_entropy_loss": "loss",
    "mse_loss": "loss",
    "upsample_nearest2d": "up",
    "upsample_bilinear2d": "up",
    "scaled_dot_product_attention": "attn",
    "to_copy": "cast",
}


def short_label(op: str) -> str:
    """Return a short name of an operator.

    Common operators have a fixed short name. Any other operator gets the first six characters of its name.

    Examples
    --------
    >>> short_label("aten.convolution.default"), short_label("aten._native_batch_norm_legit"), short_label("my::fancy")
    ('conv', 'bn', 'fancy')
    """
    parts = op.replace("::", ".").split(".")
    name = parts[1] if len(parts) > 1 else parts[0]
    name = name.strip("_").removesuffix("_legit_functional").removesuffix("_legit").removesuffix("_functional")
    if name in _SHORT:
        return _SHORT[name]
    if "scaled_dot_product" in name:
        return "attn"
    return name[:6]
