"""Cases: models whose control flow depends on data or on random numbers."""

from __future__ import annotations

import random
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from recompviz.benchmarks.loops.cases import BATCH, WIDTH, case, rows, tower


class Experts(nn.Module):
    """A mixture of experts that routes each row to two of four experts, in a Python loop over the experts."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.gate = tower(depth=2), nn.Linear(WIDTH, 4)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.GELU(), nn.Linear(WIDTH, WIDTH)) for _ in range(4)
        )
        self.load = torch.zeros(4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.before(x)
        weights, chosen = self.gate(x).softmax(-1).topk(2)
        out = torch.zeros_like(x)
        for number, expert in enumerate(self.experts):
            rows, which = torch.where(chosen == number)
            self.load[number] += len(rows)
            if len(rows):
                out = out.index_add(0, rows, expert(x[rows]) * weights[rows, which, None])
        return out


@case("mixture of experts, Python loop")
def _() -> Any:
    return Experts(), rows(BATCH, WIDTH)


class Packed(nn.Module):
    """A recurrent network over packed sequences."""

    def __init__(self, kind: type[nn.LSTM] | type[nn.GRU]) -> None:
        super().__init__()
        self.before, self.after = tower(), tower()
        self.rnn = kind(WIDTH, WIDTH, num_layers=2, batch_first=True)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(self.before(x), lengths, batch_first=True, enforce_sorted=False)
        padded, _ = pad_packed_sequence(self.rnn(packed)[0], batch_first=True)
        return self.after(padded)


@case("packed LSTM")
def _() -> Any:
    return Packed(nn.LSTM), lambda step: (*rows(6, 9, WIDTH)(step), torch.tensor([9, 3, 5, 7, 2, 4 + step % 3]))


@case("packed GRU")
def _() -> Any:
    return Packed(nn.GRU), lambda step: (*rows(6, 9, WIDTH)(step), torch.tensor([9, 3, 5, 7, 2, 4 + step % 3]))


class Speech(nn.Module):
    """A model that returns its CTC loss."""

    def __init__(self) -> None:
        super().__init__()
        self.tower, self.head = tower(), nn.Linear(WIDTH, 10)

    def forward(self, x: Tensor, labels: Tensor, lengths: Tensor) -> Tensor:
        scores = self.head(self.tower(x)).log_softmax(-1)
        return F.ctc_loss(scores, labels, torch.full((len(lengths),), len(x)), lengths)


@case("CTC loss inside")
def _() -> Any:
    labels = torch.randint(1, 10, (3, 4))
    return Speech(), lambda step: (*rows(12, 3, WIDTH)(step), labels, torch.tensor([4, 3, 2])), lambda out: out


class Detector(nn.Module):
    """A detector that takes images of several sizes and returns a dictionary of losses, as in torchvision."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, 2, 1), nn.ReLU())
        self.score, self.box = nn.Conv2d(16, 1, 1), nn.Conv2d(16, 4, 1)
        self.head = nn.Sequential(nn.Linear(16 * 9, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 5))

    def forward(self, images: list[Tensor], targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        if self.training and any(len(target["labels"]) == 0 for target in targets):
            raise ValueError("an image has no box")
        height, width = (max(image.shape[d] for image in images) for d in (1, 2))
        batch = images[0].new_zeros(len(images), 3, height, width)
        for image, into in zip(images, batch, strict=True):
            into[:, : image.shape[1], : image.shape[2]].copy_(image)
        features = self.trunk(batch)
        scores, boxes = self.score(features), self.box(features)
        objectness, regions, labels = [], [], []
        for i, target in enumerate(targets):
            flat = scores[i].flatten()
            keep = torch.where(flat > flat.median())[0][:8]
            objectness.append(F.binary_cross_entropy_with_logits(flat[keep], torch.ones(len(keep))))
            for place in keep.tolist():
                y, x = divmod(place, scores.shape[-1])
                y, x = min(y, scores.shape[-2] - 3), min(x, scores.shape[-1] - 3)
                regions.append(features[i, :, y : y + 3, x : x + 3].flatten())
                labels.append(target["labels"][place % len(target["labels"])])
        classes = self.head(torch.stack(regions))
        return {
            "objectness": torch.stack(objectness).mean(),
            "classes": F.cross_entropy(classes, torch.stack(labels)),
            "boxes": boxes.abs().mean(),
        }


@case("detection with losses in a dictionary")
def _() -> Any:
    def inputs(step: int) -> tuple[Any, ...]:
        generator = torch.Generator().manual_seed(step)
        images = [torch.randn(3, 16 + 4 * i, 20 - 2 * i, generator=generator) for i in range(3)]
        targets = [{"labels": torch.randint(0, 5, (2 + i,), generator=generator)} for i in range(3)]
        return images, targets

    return Detector(), inputs, lambda out: sum(out.values())


class Capsules(nn.Module):
    """A capsule layer, whose routing is repeated until it changes little."""

    def __init__(self) -> None:
        super().__init__()
        self.tower, self.votes = tower(), nn.Linear(WIDTH, 4 * 16)

    def forward(self, x: Tensor) -> Tensor:
        votes = self.votes(self.tower(x)).view(len(x), 4, 16)
        logits = torch.zeros(len(x), 4)
        for _ in range(5):
            pose = (logits.softmax(-1)[..., None] * votes).sum(1)
            change = (votes * pose[:, None]).sum(-1)
            logits = logits + change
            if change.abs().max() < 1e-3:
                break
        return pose


@case("dynamic routing")
def _() -> Any:
    return Capsules(), rows(BATCH, WIDTH)


class EarlyExit(nn.Module):
    """A model that leaves out its remaining blocks when its class probabilities are high."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(tower(depth=1) for _ in range(4))
        self.exits = nn.ModuleList(nn.Linear(WIDTH, 3) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        scores = x[:, :3]
        for block, leave in zip(self.blocks, self.exits, strict=True):
            x = x + block(x)
            scores = leave(x)
            if scores.softmax(-1).max(-1).values.mean().item() > 0.6:
                break
        return scores


@case("early exit by a value")
def _() -> Any:
    return EarlyExit(), rows(BATCH, WIDTH)


class LayerDrop(nn.Module):
    """A model that leaves out blocks at random, with Python's ``random``."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(tower(depth=1) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            if self.training and random.random() < 0.3:
                continue
            x = x + block(x)
        return x


@case("layer drop by Python's random")
def _() -> Any:
    return LayerDrop(), rows(BATCH, WIDTH)


class Masked(nn.Module):
    """A model that uses only the rows whose first element is positive."""

    def __init__(self) -> None:
        super().__init__()
        self.tower, self.head = tower(), nn.Linear(WIDTH, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.tower(x[x[:, 0] > 0]))


@case("boolean mask chooses rows")
def _() -> Any:
    return Masked(), rows(BATCH, WIDTH)


class Unique(nn.Module):
    """A model that returns the mean of the rows of each label."""

    def __init__(self) -> None:
        super().__init__()
        self.tower = tower()

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        found, inverse = labels.unique(return_inverse=True)
        pooled = torch.zeros(len(found), WIDTH).index_add(0, inverse, self.tower(x))
        return pooled / torch.bincount(inverse)[:, None]


@case("pooling by unique labels")
def _() -> Any:
    return Unique(), lambda step: (*rows(BATCH, WIDTH)(step), torch.arange(BATCH) % (5 + step % 3))


class NanCheck(nn.Module):
    """A model that raises ``FloatingPointError`` if a hidden value is not finite."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = tower(), tower()

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        if not torch.isfinite(h).all():
            raise FloatingPointError("a hidden value is not finite")
        return self.second(h)


@case("raises if a value is not finite")
def _() -> Any:
    return NanCheck(), rows(BATCH, WIDTH)
