"""Training steps of models from torchvision, timm and transformers, traced on the meta device.

The models have their usual operators and few layers. The libraries are not dependencies of recompviz; a model whose
library is not installed raises ImportError when it is traced.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

import torch

import recompviz as rv

BATCH, LENGTH, VOCABULARY = 4, 128, 1000

TORCHVISION = (
    "alexnet", "squeezenet1_1", "mobilenet_v3_small", "shufflenet_v2_x0_5", "efficientnet_b0", "densenet121",
    "convnext_tiny", "swin_t",
)  # fmt: skip
TIMM = ("vit_tiny_patch16_224", "mixer_s32_224", "ghostnet_100", "resmlp_12_224", "poolformer_s12")
# model class, configuration class, settings
TRANSFORMERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "llama": ("LlamaForCausalLM", "LlamaConfig", {}),
    "qwen3": ("Qwen3ForCausalLM", "Qwen3Config", {"head_dim": 64}),
    "mistral": ("MistralForCausalLM", "MistralConfig", {}),
    "gpt_neox": ("GPTNeoXForCausalLM", "GPTNeoXConfig", {}),
    "bert": ("BertForMaskedLM", "BertConfig", {}),
    "distilbert": ("DistilBertForMaskedLM", "DistilBertConfig", {"dim": 256, "n_layers": 4, "n_heads": 4}),
    "opt": ("OPTForCausalLM", "OPTConfig", {"word_embed_proj_dim": 256, "ffn_dim": 1024}),
}
SIZES = {
    "hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 4,
    "intermediate_size": 688, "vocab_size": VOCABULARY, "use_cache": False, "max_position_embeddings": 512,
}  # fmt: skip


def library_models() -> dict[str, Callable[[], rv.Trace]]:
    """Return a dict from the name of each model to a function that traces a training step of the model.

    The function raises ImportError if the library of the model is not installed.
    """
    made: dict[str, Callable[[], rv.Trace]] = {
        f"torchvision {name}": partial(_torchvision, name) for name in TORCHVISION
    }
    made |= {f"timm {name}": partial(_timm, name) for name in TIMM}
    return made | {f"transformers {name}": partial(_transformers, *which) for name, which in TRANSFORMERS.items()}


def _classification(model: torch.nn.Module) -> rv.Trace:
    images, labels = torch.empty(BATCH, 3, 224, 224, device="meta"), torch.zeros(BATCH, dtype=torch.long, device="meta")
    return rv.trace(model, images, targets=(labels,), loss=torch.nn.functional.cross_entropy, device="cpu")


def _torchvision(name: str) -> rv.Trace:
    library = import_module("torchvision.models")
    with torch.device("meta"):
        model = library.get_model(name, weights=None).train()
    return _classification(model)


def _timm(name: str) -> rv.Trace:
    library = import_module("timm")
    with torch.device("meta"):
        model = library.create_model(name, pretrained=False).train()
    return _classification(model)


def _transformers(model_class: str, config_class: str, settings: dict[str, Any]) -> rv.Trace:
    library = import_module("transformers")
    config = getattr(library, config_class)(**{**SIZES, **settings})
    tokens = torch.randint(5, VOCABULARY, (BATCH, LENGTH))
    model = getattr(library, model_class)(config).train()

    def loss(output: Any, labels: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(output.logits.flatten(0, 1).float(), labels.flatten())

    return rv.trace(model, tokens, targets=(tokens,), loss=loss)
