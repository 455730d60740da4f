"""A model whose repeated blocks run under ``torch.utils.checkpoint``: what most people do, run as they would run it.

The blocks are those of the *per-module* baseline; where nothing repeats, the top-level children.
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
    """The model itself, but for a checkpoint around each of some submodules; the model is left as it was.

    Parameters
    ----------
    model : torch.nn.Module
    paths : sequence of str
        Where its blocks are, none inside another.
    """

    def __init__(self, model: nn.Module, paths: Sequence[str]) -> None:
        super().__init__()
        self.model, self.paths = model, tuple(paths)

    def forward(self, *values: Any, **kwargs: Any) -> Any:
        """What the model returns; its blocks recompute in the backward pass."""
        with contextlib.ExitStack() as stack:
            for path in self.paths:
                stack.enter_context(_patched(self.model.get_submodule(path)))
            return self.model(*values, **kwargs)


def block_paths(trace: rv.Trace) -> list[str]:
    """The paths of the modules that the per-module baseline checkpoints, each once."""
    return list(dict.fromkeys(path for path in block_of_nodes(trace.graph) if path))


@contextlib.contextmanager
def _patched(block: nn.Module) -> Iterator[None]:
    """Run a module's forward under a checkpoint, as an attribute of the instance that hides the class's method."""
    own = block.__dict__.get("forward")
    block.__dict__["forward"] = functools.partial(checkpoint, block.forward, use_reentrant=False)
    try:
        yield
    finally:
        if own is None:
            del block.__dict__["forward"]
        else:
            block.__dict__["forward"] = own
