"""Llama: a decoder-only transformer with RMS norm, rotary positions, a gated MLP (SwiGLU) and no biases.

With grouped queries, several query heads share one key head and one value head. :func:`llama_7b` and :func:`llama_70b`
have the sizes of Llama 2. If they are called in ``with torch.device("meta"):``, the parameters take no memory.
Parameters have the same names as in Hugging Face's models, without the leading ``model.``.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Llama", "llama", "llama_7b", "llama_70b"]


def rotary(length: int, size: int, base: float = 10000.0) -> tuple[Tensor, Tensor]:
    """Return the cosines and the sines of the rotary angles, each [length, size] (RoFormer, equation 15).

    ``length`` is the number of positions, and ``size`` the even number of features of a head. The angle of pair i at
    position t is t · base^(−2i/size).
    """
    rates = base ** (-torch.arange(0, size, 2).float() / size)
    angles = torch.outer(torch.arange(length).float(), rates).repeat(1, 2)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate each pair (i, i + size/2) of the last dimension by the angle of this pair at each position.

    ``x`` has the shape [N, heads, T, size]; ``cos`` and ``sin`` have the shape [T, size].
    """
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat([-second, first], -1) * sin


class Attention(nn.Module):
    """Causal self-attention with rotary positions, for N sequences of T tokens with ``width`` features each.

    It has ``heads`` query heads, ``groups`` key heads and ``groups`` value heads.
    """

    def __init__(self, width: int, heads: int, groups: int) -> None:
        super().__init__()
        self.size = width // heads
        self.q_proj = nn.Linear(width, heads * self.size, bias=False)
        self.k_proj = nn.Linear(width, groups * self.size, bias=False)
        self.v_proj = nn.Linear(width, groups * self.size, bias=False)
        self.o_proj = nn.Linear(heads * self.size, width, bias=False)
        self.shared = groups < heads

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Map [N, T, width] to a tensor of the same shape; ``cos`` and ``sin`` are the arguments of `rotate`."""
        n, t, _ = x.shape
        q, k, v = (
            project(x).view(n, t, -1, self.size).transpose(1, 2) for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        y = F.scaled_dot_product_attention(
            rotate(q, cos, sin), rotate(k, cos, sin), v, is_causal=True, enable_gqa=self.shared
        )
        out: Tensor = self.o_proj(y.transpose(1, 2).reshape(n, t, -1))
        return out


class MLP(nn.Module):
    """A gated MLP (SwiGLU): ``down_proj(silu(gate_proj(x)) * up_proj(x))``."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(width, hidden, bias=False)
        self.up_proj = nn.Linear(width, hidden, bias=False)
        self.down_proj = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, T, width] to a tensor of the same shape."""
        y: Tensor = self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
        return y


class Block(nn.Module):
    """Attention, then an MLP. Each reads an RMS norm of its input, and its result is added to the input."""

    def __init__(self, width: int, heads: int, groups: int, hidden: int) -> None:
        super().__init__()
        self.input_layernorm = nn.RMSNorm(width, eps=1e-5)
        self.self_attn = Attention(width, heads, groups)
        self.post_attention_layernorm = nn.RMSNorm(width, eps=1e-5)
        self.mlp = MLP(width, hidden)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Map [N, T, width] to a tensor of the same shape; ``cos`` and ``sin`` are the arguments of `rotate`."""
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        y: Tensor = x + self.mlp(self.post_attention_layernorm(x))
        return y


class Llama(nn.Module):
    """A Llama for N sequences of T tokens; see `llama` for the parameters."""

    cos: Tensor
    sin: Tensor

    def __init__(
        self,
        layers: int = 32,
        width: int = 4096,
        heads: int = 32,
        groups: int | None = None,
        hidden: int = 11008,
        vocabulary: int = 32000,
        context: int = 4096,
    ) -> None:
        super().__init__()
        groups = heads if groups is None else groups
        self.embed_tokens = nn.Embedding(vocabulary, width)
        self.layers = nn.ModuleList(Block(width, heads, groups, hidden) for _ in range(layers))
        self.norm = nn.RMSNorm(width, eps=1e-5)
        self.lm_head = nn.Linear(width, vocabulary, bias=False)
        cos, sin = rotary(context, width // heads)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens [N, T] to logits [N, T, vocabulary] for the next token at each place. T is at most ``context``."""
        x = self.embed_tokens(tokens)
        t = tokens.shape[1]
        cos, sin = self.cos[:t], self.sin[:t]
        for block in self.layers:
            x = block(x, cos, sin)
        logits: Tensor = self.lm_head(self.norm(x))
        return logits


def llama(
    layers: int = 32,
    width: int = 4096,
    heads: int = 32,
    groups: int | None = None,
    hidden: int = 11008,
    vocabulary: int = 32000,
    context: int = 4096,
) -> Llama:
    """Return a Llama. The defaults give the size of Llama 2 7B.

    Parameters
    ----------
    layers : int
        Number of blocks.
    width : int
        Number of features of each token.
    heads : int
        Number of query heads; it divides ``width``.
    groups : int, optional
        Number of key heads and of value heads; it divides ``heads``. If None, as many as query heads.
    hidden : int
        Width of the hidden layer of the MLPs.
    vocabulary : int
        Number of different tokens.
    context : int
        Number of positions, the longest sequence.

    Returns
    -------
    Llama
        Maps tokens [N, T] to logits [N, T, vocabulary], with T at most ``context``.

    References
    ----------
    Touvron et al., *Llama 2: Open Foundation and Fine-Tuned Chat Models*, 2023, arXiv 2307.09288.
    Su et al., *RoFormer*, 2021, arXiv 2104.09864. Shazeer, *GLU Variants Improve Transformer*, 2020, arXiv 2002.05202.

    Examples
    --------
    >>> import torch
    >>> net = llama(layers=1, width=16, heads=4, groups=2, hidden=24, vocabulary=50, context=8)
    >>> net(torch.zeros(2, 8, dtype=torch.long)).shape
    torch.Size([2, 8, 50])
    """
    return Llama(layers, width, heads, groups, hidden, vocabulary, context)


def llama_7b() -> Llama:
    """Return a Llama of the size of Llama 2 7B: 6,738,415,616 parameters, for tokens [N, T] with T at most 4096."""
    return llama()


def llama_70b() -> Llama:
    """Return a Llama of the size of Llama 2 70B, with 8 key and value heads for 64 query heads.

    It has 68,976,648,192 parameters and is for tokens [N, T] with T at most 4096.
    """
    return llama(layers=80, width=8192, heads=64, groups=8, hidden=28672)
