"""Names of operators as users of PyTorch know them.

A trace records ATen operators. Many have private names, which also say how the kernel works:
``aten._scaled_dot_product_flash_attention_for_cpu``. Keys of nodes and texts show the name of the public function.
"""

from __future__ import annotations

from functools import cache

# parts of private names before and after the name of the function, longest first
_BEFORE = (
    "native_", "mkldnn_", "onednn_", "cudnn_", "miopen_", "mps_", "mkl_", "thnn_", "foreach_", "fused_", "unsafe_",
    "safe_", "linalg_vector_", "linalg_matrix_", "linalg_", "special_", "slow_",
)  # fmt: skip
_AFTER = (
    "_legit_no_training", "_legit_functional", "_legit", "_functional", "_no_training", "_with_indices",
    "_with_rounding", "_pointwise", "_interface", "_for_cpu", "_forward", "_kernel", "_symint", "_helper", "_impl",
    "_data", "_aa",
)  # fmt: skip
# names that these rules do not make public
_PUBLIC = {
    "add_relu": "add",
    "batch_norm_elemt": "batch_norm",
    "batch_norm_with_update": "batch_norm",
    "constant_pad_nd": "pad",
    "conv_depthwise3d": "convolution",
    "efficientzerotensor": "zeros",
    "embedding_renorm": "embedding",
    "fft_c2c": "fft",
    "fft_c2r": "irfft",
    "fft_r2c": "rfft",
    "gru_cell": "gru",
    "local_scalar_dense": "item",
    "lstm_cell": "lstm",
    "nll_loss2d": "nll_loss",
    "lstm_mps": "lstm",
    "rnn": "lstm",  # cuDNN's and MIOpen's recurrent layers
    "rnn_layer": "lstm",  # MKL-DNN's
    "to_copy": "to",
    "trilinear": "bilinear",
    "unsafe_index": "index",
}


@cache
def public_name(op: str) -> str:
    """Return the name of an operator as users of PyTorch know it, without namespace and overload.

    Examples
    --------
    >>> public_name("aten._safe_softmax.default"), public_name("aten._native_batch_norm_legit_functional")
    ('softmax', 'batch_norm')
    >>> public_name("aten._scaled_dot_product_flash_attention_for_cpu"), public_name("mkldnn._linear_pointwise")
    ('scaled_dot_product_attention', 'linear')
    """
    parts = op.replace("::", ".").split(".")
    name = parts[1] if len(parts) > 1 else parts[0]
    if name.startswith("__"):
        return name.strip("_") or name
    name, backward = name.removeprefix("_"), ""
    for ending in ("_backward_data", "_backward"):
        if name.endswith(ending):
            name, backward = name.removesuffix(ending), "_backward"
    if "attention" in name and name.startswith(("scaled_dot_product", "flash_attention", "efficient_attention")):
        return f"scaled_dot_product_attention{backward}"
    before = None
    while name != before:
        before = name
        for part in _BEFORE:
            name = name.removeprefix(part) or name
        for part in _AFTER:
            name = name.removesuffix(part) or name
        name = name.strip("_") or name
    if name.startswith("upsample_"):
        name = "interpolate"
    elif name.startswith(("reflection_pad", "replication_pad")):
        name = "pad"
    return f"{_PUBLIC.get(name, name)}{backward}"
