"""Run the repeated blocks of a model under ``torch.utils.checkpoint``.

The blocks are the repeated modules of the model, or its top-level children if no module repeats. recompviz's baseline
``"per-module"`` has the same blocks.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint

import recompviz as rv
from recompviz.core.plans.baselines import block_of_nodes


class Checkpointed(nn.Module):
    """A module that runs another model with a checkpoint around some of its submodules. The model is not changed.

    Parameters
    ----------
    model : torch.nn.Module
        The model to run.
    paths : sequence of str
        Names of the submodules. None of them may contain another one.
    """

    def __init__(self, model: nn.Module, paths: Sequence[str]) -> None:
        super().__init__()
        self.model, self.paths = model, tuple(paths)

    def forward(self, *values: Any, **kwargs: Any) -> Any:
        """Return the output of the model."""
        with contextlib.ExitStack() as stack:
            for path in self.paths:
                stack.enter_context(_patched(self.model.get_submodule(path)))
            return self.model(*values, **kwargs)


def block_paths(trace: rv.Trace) -> list[str]:
    """Return the names of the modules that the baseline ``"per-module"`` checkpoints, each once."""
    return list(dict.fromkeys(path for path in block_of_nodes(trace.graph) if path))


@contextlib.contextmanager
def _patched(block: nn.Module) -> Iterator[None]:
    """Within this context, the module's ``forward`` runs under a checkpoint."""
    own = block.__dict__.get("forward")
    block.__dict__["forward"] = functools.partial(checkpoint, block.forward, use_reentrant=False)
    try:
        yield
    finally:
        if own is None:
            del block.__dict__["forward"]
        else:
            block.__dict__["forward"] = own
