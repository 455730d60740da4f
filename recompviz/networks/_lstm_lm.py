"""A recurrent language model: embedding, stacked LSTM, output layer.

The LSTM is PyTorch's. Where PyTorch runs a layer as one fused kernel, as MKL-DNN does on the CPU, a trace has one value
for each layer. Otherwise a trace has the cells of every layer and position, and a plan may keep or recompute their
gates. Each layer is a separate ``nn.LSTM`` with dropout before it, because PyTorch's decomposition of a stacked LSTM
(2.13) leaves out the dropout between its layers.
"""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["LSTMLanguageModel", "lstm_lm"]


class LSTMLanguageModel(nn.Module):
    """An LSTM language model for tokens [N, T]; see `lstm_lm`."""

    def __init__(
        self, vocabulary: int = 10000, width: int = 650, layers: int = 2, dropout: float = 0.5, tied: bool = False
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(nn.LSTM(width, width, batch_first=True) for _ in range(layers))
        self.decoder = nn.Linear(width, vocabulary)
        if tied:
            self.decoder.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens [N, T] to the logits of each next token [N, T, vocabulary], from a zero state."""
        x = self.embedding(tokens)
        for layer in self.layers:
            x, _ = layer(self.dropout(x))
        logits: Tensor = self.decoder(self.dropout(x))
        return logits


def lstm_lm(
    vocabulary: int = 10000, width: int = 650, layers: int = 2, dropout: float = 0.5, tied: bool = False
) -> LSTMLanguageModel:
    """Return an LSTM language model; as it stands Zaremba's medium one with 19,780,400 parameters.

    Parameters
    ----------
    vocabulary : int
        Number of tokens.
    width : int
        Of the embedding and of every layer.
    layers : int
        Stacked LSTM layers.
    dropout : float
        Probability on every connection that is not recurrent.
    tied : bool
        Whether the output layer's weight is the embedding's.

    Returns
    -------
    LSTMLanguageModel
        Maps tokens [N, T] (the original: T = 35) to logits [N, T, vocabulary].

    References
    ----------
    Zaremba, Sutskever, Vinyals, *Recurrent Neural Network Regularization*, 2014, arXiv 1409.2329.

    Examples
    --------
    >>> import torch
    >>> lstm_lm(vocabulary=50, width=8)(torch.zeros(2, 5, dtype=torch.long)).shape
    torch.Size([2, 5, 50])
    """
    return LSTMLanguageModel(vocabulary, width, layers, dropout, tied)
