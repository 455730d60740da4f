"""Warn if a model was compiled with ``backend="recompviz"`` but trains without a planned region (captured graph).

If Dynamo cannot capture the outermost function of a model, for example because of a branch in a loop, it runs the
function eagerly and never calls the backend. The optimizer's steps show that the model trains.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.utils.weak import WeakTensorKeyDictionary

from recompviz.pytorch.budgeting.recording_attempts import UnplannedStep
from recompviz.pytorch.internals.dynamo import backend_of
from recompviz.pytorch.internals.user_lines import warn_user

# The steps of an optimizer without a run of a region, after which the model is looked for.
STEPS = 3

# for each optimizer, the number of runs of regions at its last step, and its steps since the last run
_seen: weakref.WeakKeyDictionary[torch.optim.Optimizer, tuple[int, int]] = weakref.WeakKeyDictionary()
# inputs of graphs that run eagerly, with a warning of their own
_warned_of = WeakTensorKeyDictionary()
_watching = False


def watch_steps(backend: Callable[..., Any], runs: Callable[[], int]) -> None:
    """From now on, warn if an optimizer trains a model that ``backend`` should compile, but no captured graph runs.

    The warning comes after three steps of the optimizer without a run of a region, which is a captured graph that runs
    under a plan. A second call of this function does nothing.

    Parameters
    ----------
    backend : callable
        The backend that ``torch.compile`` was given by name.
    runs : callable () → int
        Returns the number of runs of the backend's regions so far.

    Warns
    -----
    UnplannedStep
        When an optimizer steps. The warning is repeated for an optimizer only if regions have run since.
    """
    global _watching
    if _watching:
        return
    _watching = True

    def note_step(optimizer: torch.optim.Optimizer, *_arguments: Any) -> None:
        now = runs()
        before, steps = _seen.get(optimizer, (now, 0))
        steps = steps + 1 if now == before else 0
        _seen[optimizer] = now, steps
        if steps == STEPS:
            _warn(backend, optimizer)

    from torch.optim.optimizer import register_optimizer_step_post_hook

    register_optimizer_step_post_hook(note_step)


def note_unplanned(inputs: Iterable[Any]) -> None:
    """Remember the parameters of a graph that cannot be planned. The user was warned of this graph already.

    :func:`watch_steps` then does not warn of an optimizer that trains these parameters.

    Parameters
    ----------
    inputs : iterable
        The inputs of the graph."""
    for tensor in inputs:
        if isinstance(tensor, nn.Parameter):
            _warned_of[tensor] = True


def _warn(backend: Callable[..., Any], optimizer: torch.optim.Optimizer) -> None:
    trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    if any(parameter in _warned_of for parameter in trained):
        return
    ids = set(map(id, trained))
    modules = [value for value in gc.get_objects() if issubclass(type(value), nn.Module)]
    for module in modules:
        if backend_of(module) is backend and any(id(parameter) in ids for parameter in module.parameters()):
            name = type(getattr(module, "_orig_mod", module)).__name__
            warn_user(
                f"{name} was compiled with backend 'recompviz', but {STEPS} training steps ran without a planned "
                "region, so they keep every value and may exceed the total: the compiler captured nothing of "
                f"{name}.forward and runs it eagerly, or the original model was called; write model = "
                "rv.compile(model, total=...), which compiles the layers one by one where that happens",
                UnplannedStep,
            )
            return
