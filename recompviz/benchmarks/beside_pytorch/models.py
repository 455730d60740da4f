"""The two transformers of the comparison. The functions return a model with a batch and a loss.

``llama`` has the shape of PyTorch's issue 197838: 32 layers, width 256, 1,024 tokens, batch 2. ``bert`` is an encoder
with 12 layers, dropout, and the loss of masked language modelling.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recompviz import networks

VOCABULARY = 1000
# The label of a token that is not masked: cross_entropy leaves it out.
UNMASKED = -100


class Encoder(nn.Module):
    """One layer of BERT: attention and an MLP, each with a residual connection and a layer norm after it."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.rate = heads, dropout
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.output = nn.Linear(width, width)
        self.attention_norm = nn.LayerNorm(width, eps=1e-12)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, T, width] to [N, T, width]."""
        n, t, width = x.shape
        q, k, v = (
            project(x).view(n, t, self.heads, width // self.heads).transpose(1, 2)
            for project in (self.query, self.key, self.value)
        )
        rate = self.rate if self.training else 0.0
        attended = F.scaled_dot_product_attention(q, k, v, dropout_p=rate)
        joined = attended.transpose(1, 2).reshape(n, t, width)
        x = self.attention_norm(x + self.dropout(self.output(joined)))
        y: Tensor = self.norm(x + self.dropout(self.down(F.gelu(self.up(x)))))
        return y


class Bert(nn.Module):
    """BERT with a head for masked language modelling. The output layer shares the weight of the embedding."""

    def __init__(self, layers: int, width: int, heads: int, context: int, dropout: float) -> None:
        super().__init__()
        self.words, self.positions = nn.Embedding(VOCABULARY, width), nn.Embedding(context, width)
        self.kinds = nn.Embedding(2, width)
        self.norm, self.dropout = nn.LayerNorm(width, eps=1e-12), nn.Dropout(dropout)
        self.layers = nn.ModuleList(Encoder(width, heads, dropout) for _ in range(layers))
        self.transform, self.head_norm = nn.Linear(width, width), nn.LayerNorm(width, eps=1e-12)
        self.bias = nn.Parameter(torch.zeros(VOCABULARY))

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens [N, T] to the logits of each token [N, T, vocabulary]."""
        positions = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.words(tokens) + self.positions(positions) + self.kinds(torch.zeros_like(tokens))
        x = self.dropout(self.norm(x))
        for layer in self.layers:
            x = layer(x)
        x = self.head_norm(F.gelu(self.transform(x)))
        return F.linear(x, self.words.weight, self.bias)


def masked_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross entropy of logits [N, T, vocabulary] over the masked tokens."""
    return F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=UNMASKED)


def llama(layers: int, length: int, batch: int) -> networks.Example:
    """Return a Llama of width 256 with random sequences of ``length`` tokens."""
    model = networks.llama(layers, 256, 8, hidden=688, vocabulary=VOCABULARY, context=length)
    tokens, following = (torch.randint(VOCABULARY, (batch, length)) for _ in range(2))
    return networks.Example(model, (tokens,), (following,), networks.next_token, "llama")


def bert(layers: int, length: int, batch: int) -> networks.Example:
    """Return a BERT of width 256 with random tokens, of which about 15 % are masked."""
    model = Bert(layers, 256, 4, length, 0.1)
    tokens = torch.randint(VOCABULARY, (batch, length))
    labels = torch.where(torch.rand(batch, length) < 0.15, tokens, UNMASKED)
    labels[:, 0] = tokens[:, 0]  # at least one
    return networks.Example(model, (tokens,), (labels,), masked_loss, "bert")


# Name, constructor, and the numbers of layers and tokens in the full comparison.
MODELS: dict[str, tuple[Callable[[int, int, int], networks.Example], int, int]] = {
    "llama": (llama, 32, 1024),
    "bert": (bert, 12, 512),
}
