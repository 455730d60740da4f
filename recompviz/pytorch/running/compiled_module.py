"""Make a compiled model behave like the model in ``state_dict``, ``copy.deepcopy`` and ``pickle``.

``torch.compile`` wraps a model in a module whose submodule ``_orig_mod`` is the model. The prefix ``_orig_mod.`` is
left out of the names in the ``state_dict``. The same ``state_dict`` can then be loaded into the compiled model and into
the model itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

PREFIX = "_orig_mod."


def keep_names(compiled: nn.Module) -> None:
    """Remove the prefix ``_orig_mod.`` from the names in a compiled model's ``state_dict``.

    A ``state_dict`` whose names have the prefix can still be loaded.
    """
    compiled.register_state_dict_post_hook(_without_prefix)
    compiled.register_load_state_dict_pre_hook(_with_prefix)


def _without_prefix(_module: nn.Module, state: Any, prefix: str, _metadata: Any) -> None:
    def renamed(key: str) -> str:
        start = prefix + PREFIX
        return prefix + key.removeprefix(start) if key.startswith(start) else key

    items = list(state.items())
    state.clear()
    state.update((renamed(key), value) for key, value in items)
    metadata = getattr(state, "_metadata", {})
    for key in [key for key in metadata if f"{key}.".startswith(prefix + PREFIX)]:
        metadata[renamed(f"{key}.").removesuffix(".")] = metadata.pop(key)


def _with_prefix(_module: nn.Module, state: Any, prefix: str, *_others: Any) -> None:
    items = list(state.items())
    state.clear()
    for key, value in items:
        own = key.startswith(prefix) and not key.startswith(prefix + PREFIX)
        state[prefix + PREFIX + key.removeprefix(prefix) if own else key] = value


def copy_with(
    compiled: nn.Module, copied: Callable[[dict[int, Any]], Any], pickled: Callable[[], tuple[Any, ...]]
) -> None:
    """Set how ``copy.deepcopy`` and ``pickle`` copy a compiled model.

    Parameters
    ----------
    compiled : torch.nn.Module
    copied : callable (memo) → copy
        Called by ``copy.deepcopy``.
    pickled : callable () → (function, arguments)
        Returns the value of ``__reduce__``.
    """
    object.__setattr__(compiled, "__deepcopy__", copied)
    object.__setattr__(compiled, "__reduce_ex__", lambda _protocol: pickled())
