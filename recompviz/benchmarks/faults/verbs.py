"""Faults injected into the public functions that run a training step of the user's model."""

from __future__ import annotations

import random

import torch

from recompviz.benchmarks.faults.counts import FaultCount
from recompviz.pytorch.measuring.meter import measure


class UserError(Exception):
    """The exception that the user's code raises."""


def run(count: int, seed: int) -> list[FaultCount]:
    """Inject ``count`` faults, and return the number that were tried and the ones that did harm."""
    chosen, wrong = random.Random(seed), list[str]()
    for _ in range(min(count, 10)):
        layer = chosen.randrange(2)
        model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 1))
        handle = model[layer].register_forward_pre_hook(_raise)
        try:
            measure(model, torch.ones(2, 4))
            wrong.append(f"layer {layer} raised an exception that rv.measure did not pass on")
        except UserError:
            pass
        finally:
            handle.remove()
    return [FaultCount("measure", "a hook of the user raises", min(count, 10), tuple(wrong))]


def _raise(*_: object) -> None:
    raise UserError
