"""Cases: models with unusual inputs and outputs."""

from __future__ import annotations

import collections
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recompviz.benchmarks.loops.cases import BATCH, WIDTH, case, rows, tower


@dataclass
class Batch:
    """A batch of data, as a dataclass."""

    x: Tensor
    scale: float
    names: list[str]


class Described(nn.Module):
    """A model whose input is a dataclass."""

    def __init__(self) -> None:
        super().__init__()
        self.tower = tower()

    def forward(self, batch: Batch) -> Tensor:
        return self.tower(batch.x) * batch.scale + len(batch.names)


@case("dataclass input")
def _() -> Any:
    return Described(), lambda step: (Batch(*rows(BATCH, WIDTH)(step), 0.5, ["a", "b"]),)


@dataclass
class Answer:
    """The output of a model, as a dataclass."""

    scores: Tensor
    rows: int


class Answering(nn.Module):
    """A model whose output is a dataclass."""

    def __init__(self) -> None:
        super().__init__()
        self.tower = tower()

    def forward(self, x: Tensor) -> Answer:
        return Answer(self.tower(x), len(x))


@case("dataclass output")
def _() -> Any:
    return Answering(), rows(BATCH, WIDTH), lambda out: out.scores.pow(2).mean()


class Graphs(nn.Module):
    """A model that multiplies a hidden value by a sparse adjacency matrix, which is an input."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = tower(), tower()

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        return self.second(torch.sparse.mm(adjacency, self.first(x)))


@case("sparse input")
def _() -> Any:
    adjacency = (torch.rand(BATCH, BATCH) < 0.1).float().to_sparse().coalesce()
    return Graphs(), lambda step: (*rows(BATCH, WIDTH)(step), adjacency)


@case("sparse input in rows (CSR)")
def _() -> Any:
    adjacency = (torch.rand(BATCH, BATCH) < 0.1).float().to_sparse_csr()
    return Graphs(), lambda step: (*rows(BATCH, WIDTH)(step), adjacency)


class SparseEmbedding(nn.Module):
    """A model with an embedding whose gradient is sparse."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.tower = nn.Embedding(50, WIDTH, sparse=True), tower()

    def forward(self, tokens: Tensor) -> Tensor:
        return self.tower(self.embedding(tokens))


@case("embedding with sparse gradients")
def _() -> Any:
    return SparseEmbedding(), (torch.randint(0, 50, (BATCH,)),)


class Several(nn.Module):
    """A model that returns a dictionary of tensors, None, an int, a tuple, and aliases of its input and a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.tower, self.head = tower(), nn.Linear(WIDTH, 5)

    def forward(self, x: Tensor) -> dict[str, Any]:
        h = self.tower(x)
        scores = self.head(h)
        return {
            "scores": scores, "best": scores.argmax(-1), "missing": None, "rows": len(x), "hidden": (h, h.detach()),
            "input": x, "half": x[: len(x) // 2], "weight": self.head.weight,
        }  # fmt: skip


@case("dictionary output with None, integers and aliases")
def _() -> Any:
    return Several(), rows(BATCH, WIDTH)


class Views(nn.Module):
    """A model that returns several views of one value."""

    def __init__(self) -> None:
        super().__init__()
        self.tower = tower()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        h = self.tower(x)
        return (*h.chunk(2, -1), h.t(), h.view(-1)[::2])


@case("views returned")
def _() -> Any:
    return Views(), rows(BATCH, WIDTH)


class ReturnsParameter(nn.Module):
    """A model that returns its output, a parameter, and a view of this parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.tower, self.scale = tower(), nn.Parameter(torch.ones(WIDTH))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.tower(x) * self.scale, self.scale, self.scale.view(8, -1)


@case("parameter and its view returned")
def _() -> Any:
    return ReturnsParameter(), rows(BATCH, WIDTH)


class NamedOutput(collections.OrderedDict[str, Any]):
    """A dictionary whose values are also attributes, like the outputs of Hugging Face's models."""

    def __getattr__(self, name: str) -> Any:
        if name in self:
            return self[name]
        raise AttributeError(name)


class Named(nn.Module):
    """A model that returns a :class:`NamedOutput`, which contains the loss if labels are given."""

    def __init__(self) -> None:
        super().__init__()
        self.tower = tower()

    def forward(self, x: Tensor, labels: Tensor | None = None) -> NamedOutput:
        h = self.tower(x)
        loss = F.cross_entropy(h, labels) if labels is not None else None
        return NamedOutput(loss=loss, logits=h)


@case("dictionary of its own class")
def _() -> Any:
    labels = torch.randint(0, WIDTH, (BATCH,))
    return Named(), lambda step: (*rows(BATCH, WIDTH)(step), labels), lambda out: out["loss"]
