"""Compare gradients under ``backend="recompviz"`` with eager PyTorch, in DDP with small buckets.

    python -m recompviz.benchmarks.ranks.buckets              # all models, four processes; about two minutes
    python -m recompviz.benchmarks.ranks.buckets lstm --world 3

If the argument is a list of cases as JSON, the module is the program of one process.

After the first step, DistributedDataParallel fills its buckets in the order in which gradients have arrived. With more
than two ranks, the place in a bucket decides in which order a sum is rounded. *equal*: whether the losses and gradients
of ten steps, and the parameters after them, are bitwise those of the eager run. *first*: the first parameter whose
gradient arrives at another place in the order than in the eager run. ``inside`` compiles the model before it is
wrapped, ``outside`` compiles the wrapped model.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from recompviz.benchmarks.ranks.case_runner import run_cases
from recompviz.benchmarks.ranks.processes import run_ranks
from recompviz.pytorch.internals.tensors import same_bits

STEPS = 10
WIDTH = 256
# MiB of a bucket, which is also the limit of DistributedDataParallel's first bucket
BUCKET = 1
WORKER = "recompviz.benchmarks.ranks.buckets"


class Layers(nn.Module):
    """Linear layers and layer norms, each used once."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(part for _ in range(5) for part in (nn.Linear(WIDTH, WIDTH), nn.LayerNorm(WIDTH), nn.GELU()))
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, width] to a tensor of the same shape."""
        y: Tensor = self.layers(x)
        return y


class Tied(nn.Module):
    """Transformer blocks between an embedding and a head that share one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, WIDTH)
        self.position = nn.Parameter(torch.randn(4, WIDTH))
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(WIDTH, 2, 32, dropout=0.0, batch_first=True, norm_first=True) for _ in range(2)
        )
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, 50, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, x: Tensor) -> Tensor:
        """Make four tokens from each row of ``x`` [N, width], and map them to logits [N, 4, vocabulary]."""
        tokens = (x[:, :4].abs() * 10).long()
        x = self.embedding(tokens) + self.position
        for block in self.blocks:
            x = block(x)
        y: Tensor = self.head(self.norm(x))
        return y


class Branches(nn.Module):
    """Layers that are not used in the order of their definition. One layer is used twice, and one never."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(2 * WIDTH, 4)
        self.norm = nn.BatchNorm1d(2 * WIDTH)
        self.second = nn.Linear(WIDTH, 2 * WIDTH)
        self.first = nn.Linear(WIDTH, 2 * WIDTH)
        self.never = nn.Linear(3, 3)
        self.scale = nn.Parameter(torch.ones(2 * WIDTH))
        self.both = nn.Linear(2 * WIDTH, 2 * WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, width] to [N, 4]."""
        left, right = self.both(torch.relu(self.first(x))), self.both(self.second(x)) * self.scale
        y: Tensor = self.last(self.norm(left + right + self.scale))
        return y


class Lstm(nn.Module):
    """An LSTM of two layers, and a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.LSTM(WIDTH, WIDTH, num_layers=2)
        self.head = nn.Linear(WIDTH, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Map a sequence [T, width] to [T, 1, 3]."""
        y: Tensor = self.head(self.cells(x[:, None])[0])
        return y


# name → the model, and the options of DistributedDataParallel
MODELS: dict[str, tuple[type[nn.Module], dict[str, Any]]] = {
    "layers": (Layers, {}),
    "tied": (Tied, {"gradient_as_bucket_view": True}),
    "branches": (Branches, {"static_graph": True}),
    "unused": (Branches, {"find_unused_parameters": True}),
    "lstm": (Lstm, {}),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table, or run the cases of one process."""
    if len(sys.argv) > 1 and sys.argv[1].startswith("["):
        run_cases(figures)
        return
    parser = argparse.ArgumentParser(
        prog="python -m recompviz.benchmarks.ranks.buckets",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("models", nargs="*", help=f"some of {', '.join(MODELS)}; by default all")
    parser.add_argument("--world", type=int, default=4, help="number of processes (default: 4)")
    options = parser.parse_args(arguments)
    cases = [{"model": model, "place": place} for model in options.models or MODELS for place in ("inside", "outside")]
    results = run_ranks(WORKER, [json.dumps(cases)], options.world, 600)
    print("| model | compiled | buckets of 1 MiB | equal | first |\n|---|---|---|---|---|")
    for i, case in enumerate(cases):
        rows = [result["rows"][i] for result in results]
        equal = "yes" if all(row["equal"] for row in rows) else "NO"
        print(f"| {case['model']} | {case['place']} | {rows[0]['buckets']:.1f} | {equal} | {rows[0]['first'] or '—'} |")


def figures(model: str, place: str) -> dict[str, Any]:
    """Compare ten training steps under recompviz on this rank with ten eager ones.

    Parameters
    ----------
    model : str
        A name in ``MODELS``.
    place : "inside" or "outside"
        Whether the model is compiled before or after it is wrapped.

    Returns
    -------
    dict
        ``equal``: whether all tensors are bitwise equal. ``first``: the name of the first parameter whose gradient
        arrives earlier or later than in the eager run; empty if there is none. ``buckets``: the bytes of the
        parameters, divided by the size of a bucket.
    """
    eager, order = trained(model, "")
    planned, other = trained(model, place)
    return {
        "equal": all(same_bits(a, b) for a, b in zip(eager, planned, strict=True)),
        "first": next((a for a, b in zip(order, other, strict=True) if a != b), ""),
        "buckets": sum(p.nbytes for p in MODELS[model][0]().parameters()) / (BUCKET << 20),
    }


def trained(name: str, place: str) -> tuple[list[Tensor], list[str]]:
    """Train ten steps. Return all losses, gradients and final parameters, and the names of the parameters.

    The names are in the order in which gradients arrived in the last step. ``place`` is as for :func:`figures`; if
    empty, the model runs eagerly.
    """
    kind, options = MODELS[name]
    torch.manual_seed(0)
    model: nn.Module = kind()
    torch.manual_seed(1 + dist.get_rank())
    x = torch.randn(4, WIDTH)
    if place == "inside":
        model.compile(backend="recompviz")
    wrapped: Any = nn.parallel.DistributedDataParallel(model, bucket_cap_mb=BUCKET, **options)
    called = torch.compile(wrapped, backend="recompviz") if place == "outside" else wrapped
    arrived: list[str] = []
    for key, parameter in model.named_parameters():
        note = partial(_note, arrived, key)
        parameter.register_post_accumulate_grad_hook(note)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    found = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        arrived.clear()
        loss = called(x).square().mean()
        loss.backward()
        optimizer.step()
        found += [loss.detach(), *(p.grad.clone() for p in model.parameters() if p.grad is not None)]
    return [*found, *(p.detach() for p in model.parameters())], arrived


def _note(arrived: list[str], key: str, _parameter: Tensor) -> None:
    arrived.append(key)


if __name__ == "__main__":
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    main()
