"""GPT-2: a decoder-only transformer with tied weights. One parameter is both the embedding and the output layer.

It has causal scaled dot-product attention and learned positions. There is dropout after the embedding, inside the
attention, and after the attention and the MLP of each block. To recompute a dropout, a plan must draw the same random
numbers again. Layers have the names of the original, for example ``c_attn``.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["GPT2", "gpt2", "gpt2_xl"]


class Attention(nn.Module):
    """Causal multi-head self-attention for N sequences of T tokens, with ``width`` features each."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.c_attn = nn.Linear(width, 3 * width)
        self.c_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, T, width] to a tensor of the same shape."""
        n, t, width = x.shape
        q, k, v = (
            part.view(n, t, self.heads, width // self.heads).transpose(1, 2) for part in self.c_attn(x).split(width, 2)
        )
        dropout = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True)
        out: Tensor = self.c_proj(y.transpose(1, 2).reshape(n, t, width))
        return out


class MLP(nn.Module):
    """Two linear layers with GELU (tanh approximation) between them, for N sequences of T tokens."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.c_fc = nn.Linear(width, 4 * width)
        self.gelu = nn.GELU(approximate="tanh")
        self.c_proj = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, T, width] to a tensor of the same shape."""
        y: Tensor = self.c_proj(self.gelu(self.c_fc(x)))
        return y


class Block(nn.Module):
    """Attention, then an MLP. Each reads a layer norm of its input, and its result is added to the input."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = Attention(width, heads, dropout)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = MLP(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, T, width] to a tensor of the same shape."""
        x = x + self.dropout(self.attn(self.ln_1(x)))
        y: Tensor = x + self.dropout(self.mlp(self.ln_2(x)))
        return y


class GPT2(nn.Module):
    """A GPT-2 for N sequences of T tokens; see `gpt2` for the parameters."""

    def __init__(
        self,
        layers: int = 12,
        width: int = 768,
        heads: int = 12,
        vocabulary: int = 50257,
        context: int = 1024,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.wte = nn.Embedding(vocabulary, width)
        self.wpe = nn.Embedding(context, width)
        self.drop = nn.Dropout(dropout)
        self.h = nn.ModuleList(Block(width, heads, dropout) for _ in range(layers))
        self.ln_f = nn.LayerNorm(width)
        self.lm_head = nn.Linear(width, vocabulary, bias=False)
        self.lm_head.weight = self.wte.weight
        for embedding in (self.wte, self.wpe):
            nn.init.normal_(embedding.weight, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens [N, T] to logits [N, T, vocabulary] for the next token at each place. T is at most ``context``."""
        positions = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.drop(self.wte(tokens) + self.wpe(positions))
        for block in self.h:
            x = block(x)
        logits: Tensor = self.lm_head(self.ln_f(x))
        return logits


def gpt2(
    layers: int = 12,
    width: int = 768,
    heads: int = 12,
    vocabulary: int = 50257,
    context: int = 1024,
    dropout: float = 0.1,
) -> GPT2:
    """Return a GPT-2. The defaults give the smallest published one, with 124,439,808 parameters.

    Parameters
    ----------
    layers : int
        Number of blocks.
    width : int
        Number of features of each token.
    heads : int
        Number of attention heads; it divides ``width``.
    vocabulary : int
        Number of different tokens.
    context : int
        Number of positions, the longest sequence.
    dropout : float
        Probability of all dropouts; 0 for none.

    Returns
    -------
    GPT2
        Maps tokens [N, T] to logits [N, T, vocabulary], with T at most ``context``.

    References
    ----------
    Radford, Wu, Child, Luan, Amodei, Sutskever, *Language Models are Unsupervised Multitask Learners*, 2019.

    Examples
    --------
    >>> import torch
    >>> gpt2(layers=1, width=16, heads=2, vocabulary=50, context=8)(torch.zeros(2, 8, dtype=torch.long)).shape
    torch.Size([2, 8, 50])
    """
    return GPT2(layers, width, heads, vocabulary, context, dropout)


def gpt2_xl() -> GPT2:
    """Return GPT-2 XL with 48 layers and 1,557,611,200 parameters, for tokens [N, T] with T at most 1024."""
    return gpt2(layers=48, width=1600, heads=25)
