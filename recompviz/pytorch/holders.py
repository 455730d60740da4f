"""Who holds a tensor: the names, attributes and containers of the user's that it can be reached from.

Read at the moment of the peak, by walking from what has a name, the local variables of the user's frames, their
globals, closures, and the attributes and hooks of the modules, through lists, dicts, tuples, sets and plain objects.
The shortest path counts: ``history.losses[3]``. A tensor with a graph also holds what its graph saved.
"""

from __future__ import annotations

import sys
import types
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from recompviz.pytorch.user_lines import own_frames

# the walk is cut where a user's objects are without end
MOST_OBJECTS = 200_000
MOST_DEPTH = 7
MOST_NODES = 100_000
# objects of these packages are not the user's
_NOT_WALKED = (
    "torch.", "numpy.", "_pytest.", "pytest.", "IPython.", "ipykernel.", "recompviz.core.", "recompviz.pytorch."
)  # fmt: skip
# paths to one tensor that are remembered
MOST_PATHS = 4


@dataclass(frozen=True, eq=False)
class Holder:
    """One way in which a tensor can be reached.

    Attributes
    ----------
    path : str
        ``losses[3]`` or ``model.cache``.
    root : str
        ``local of train``, ``global``, ``closure of hook``, ``attribute of Net``.
    container : object or None
        The innermost list, dict, set or object on the path; None for a local variable.
    container_path : str
        ``losses``.
    nodes : frozenset of int
        Sequence numbers of the autograd nodes that the tensor's graph reaches.
    """

    path: str
    root: str
    container: Any
    container_path: str
    tensor: torch.Tensor
    through_graph: bool = False

    @property
    def local(self) -> bool:
        """Whether it is a plain local variable, gone when its function returns."""
        return self.container is None and self.root.startswith("local")

    @property
    def text(self) -> str:
        """For people."""
        return f"`{self.path}` ({self.root})"


def holders(modules: list[nn.Module], functions: list[Any], frame: Any = None) -> list[Holder]:
    """Every way in which live tensors can be reached from what has a name, shortest first.

    Parameters
    ----------
    modules : list of torch.nn.Module
        Whose attributes and hooks are walked too.
    functions : list of callable
        Whose closures are walked too.
    frame : frame, optional
        The innermost frame to look at.
    """
    return list(_Walk(modules, functions, frame or sys._getframe(1)).found())


class _Walk:
    def __init__(self, modules: list[nn.Module], functions: list[Any], frame: Any) -> None:
        self.queue: deque[tuple[Any, str, str, Any, str, int]] = deque()
        self.seen: set[int] = set()
        self.paths: dict[int, int] = {}
        self.skip = {id(module): module for module in modules}
        spaces: dict[int, dict[str, Any]] = {}
        for own, _inside in own_frames(frame):
            function = own.f_code.co_name
            if function == "<module>":
                spaces[id(own.f_globals)] = own.f_globals
                continue
            for name, value in own.f_locals.items():
                self._push(value, name, f"local of {function}", None, name, 0)
            spaces[id(own.f_globals)] = own.f_globals
        for function in functions:
            self._push(function, getattr(function, "__name__", "function"), "closure", None, "", 0)
            if space := getattr(function, "__globals__", None):
                spaces[id(space)] = space
        for module in modules:
            self._push(module, type(module).__name__, f"attribute of {type(module).__name__}", None, "", 0)
        for space in spaces.values():
            for name, value in list(space.items()):
                if not name.startswith("_") or isinstance(value, torch.Tensor):
                    self._push(value, name, "global", None, name, 0)

    def _push(self, value: Any, path: str, root: str, container: Any, container_path: str, depth: int) -> None:
        self.queue.append((value, path, root, container, container_path, depth))

    def found(self) -> Iterator[Holder]:
        while self.queue and len(self.seen) < MOST_OBJECTS:
            value, path, root, container, container_path, depth = self.queue.popleft()
            if isinstance(value, torch.Tensor):
                count = self.paths.get(id(value), 0)
                self.paths[id(value)] = count + 1
                if count < MOST_PATHS:
                    yield Holder(path, root, container, container_path, value)
                    base = value._base if type(value) is torch.Tensor else None
                    if base is not None and count == 0:
                        yield Holder(path, root, container, container_path, base)
                continue
            if depth >= MOST_DEPTH or id(value) in self.seen or _plain(value):
                continue
            self.seen.add(id(value))
            for child, step, holder in _children(value):
                self._push(child, path + step, root, holder, path, depth + 1)


def _plain(value: Any) -> bool:
    return isinstance(value, int | float | complex | str | bytes | type | types.ModuleType | types.CodeType | None)


def _children(value: Any) -> Iterator[tuple[Any, str, Any]]:
    """(what it holds, how it is written after the path, the container to watch) of one object."""
    if isinstance(value, dict):
        for key, item in list(value.items()):
            yield item, f"[{key!r}]" if isinstance(key, str | int) else f"[{type(key).__name__}]", value
    elif isinstance(value, list | tuple | deque):
        for i, item in enumerate(list(value)):
            yield item, f"[{i}]", value
    elif isinstance(value, set | frozenset):
        for item in list(value):
            yield item, "{…}", value
    elif isinstance(value, nn.Module):
        inside = vars(value)
        for name, child in inside.get("_modules", {}).items():
            yield child, f".{name}", value
        for kind in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"):
            for hook in inside.get(kind, {}).values():
                yield hook, f".{kind.strip('_')}", value
        for name, item in inside.items():
            if not name.startswith("_") and name != "training":
                yield item, f".{name}", value
    elif isinstance(value, types.FunctionType):
        for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
            try:
                yield cell.cell_contents, f".{name}", None
            except ValueError:
                continue
        for name in value.__code__.co_names:
            if name in value.__globals__ and not isinstance(value.__globals__[name], types.ModuleType):
                yield value.__globals__[name], f".{name}", None
    elif isinstance(value, types.MethodType):
        yield value.__self__, "", None
        yield value.__func__, "", None
    elif hasattr(value, "__dict__") and not isinstance(value, torch.optim.Optimizer):
        module = (type(value).__module__ or "") + "."
        if not module.startswith(_NOT_WALKED):
            for name, item in list(vars(value).items()):
                yield item, f".{name}", value


def nodes_behind(tensor: torch.Tensor) -> frozenset[int]:
    """Sequence numbers of the autograd nodes that a tensor's graph holds."""
    found: set[int] = set()
    stack = [tensor.grad_fn]
    seen: set[Any] = set()
    while stack and len(seen) < MOST_NODES:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        found.add(int(node._sequence_nr()))
        stack.extend(following for following, _ in node.next_functions)
    return frozenset(found)


def fingerprint(container: Any) -> tuple[Any, ...]:
    """What changes when something is put into a container."""
    if isinstance(container, dict):
        return len(container), tuple(map(id, list(container.values())[-64:]))
    if isinstance(container, list | tuple | deque):
        return len(container), tuple(map(id, list(container)[-8:]))
    if isinstance(container, set | frozenset):
        return (len(container),)
    return tuple(
        (name, id(value)) for name, value in list(vars(container).items()) if isinstance(value, torch.Tensor | list)
    )
