"""A recurrent language model: embedding, several layers of LSTM, output layer.

Each layer is a separate ``nn.LSTM`` with dropout before it. If several layers were in one ``nn.LSTM``, the
decomposition of PyTorch 2.13 would leave out the dropout between them. If PyTorch runs a layer as one fused kernel (as
MKL-DNN does on the CPU), a trace has one node for the layer. Otherwise, a trace has the operators of each position, and
a plan can keep or recompute each of their values.
"""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["LSTMLanguageModel", "lstm_lm"]


class LSTMLanguageModel(nn.Module):
    """An LSTM language model for N sequences of T tokens; see `lstm_lm` for the parameters."""

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
        """Map tokens [N, T] to logits [N, T, vocabulary] for the next token at each place. Initial states are zero."""
        x = self.embedding(tokens)
        for layer in self.layers:
            x, _ = layer(self.dropout(x))
        logits: Tensor = self.decoder(self.dropout(x))
        return logits


def lstm_lm(
    vocabulary: int = 10000, width: int = 650, layers: int = 2, dropout: float = 0.5, tied: bool = False
) -> LSTMLanguageModel:
    """Return an LSTM language model. The defaults give the medium model of Zaremba et al., with 19,780,400 parameters.

    Parameters
    ----------
    vocabulary : int
        Number of different tokens.
    width : int
        Number of features of the embedding and of every layer.
    layers : int
        Number of LSTM layers.
    dropout : float
        Probability of the dropout before each LSTM layer and before the output layer.
    tied : bool
        Whether the output layer and the embedding share one weight.

    Returns
    -------
    LSTMLanguageModel
        Maps tokens [N, T] (in the publication T = 35) to logits [N, T, vocabulary].

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
