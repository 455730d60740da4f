"""Who holds a tensor: the names, attributes and containers of the user's that it can be reached from.

A walk from what has a name, the global variables, the local ones of the user's frames, closures, and the attributes and
hooks of the modules, through lists, dicts, tuples, sets and plain objects. What outlives the step is walked first, and
the shortest path counts: ``log[3]['outputs']``. A tensor with a graph also holds what its graph saved.
"""

from __future__ import annotations

import functools
import gc
import sys
import types
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from recompviz.pytorch.user_lines import own_frames

# the walk is cut where a user's objects are without end
MOST_OBJECTS = 200_000
MOST_DEPTH = 8
MOST_NODES = 100_000
# objects of these packages are not the user's
_NOT_WALKED = (
    "torch.", "numpy.", "_pytest.", "pytest.", "IPython.", "ipykernel.", "recompviz.core.", "recompviz.pytorch."
)  # fmt: skip
# paths to one tensor that are remembered
MOST_PATHS = 4


@dataclass(frozen=True, eq=False)
class Names:
    """A place for variables: the globals of a module, the locals of a frame, the cell of a closure."""

    read: Callable[[str], Any]


@dataclass(frozen=True, eq=False)
class Link:
    """One object on the way to a tensor, and how one writes it."""

    path: str
    owner: Any

    @property
    def key(self) -> tuple[str, int]:
        """Which object, and by which path."""
        return self.path, 0 if isinstance(self.owner, Names) else id(self.owner)


@dataclass(frozen=True, eq=False)
class Holder:
    """One way in which a tensor can be reached.

    Attributes
    ----------
    path : str
        ``log[3]['outputs']`` or ``model.cache``.
    root : str
        ``local of train``, ``global``, ``closure of hook``, ``attribute of Net``.
    trail : tuple of Link
        The objects on the path, from the place of the variable to the innermost container.
    outlives : bool
        Whether what it starts from is still there when the step is over.
    through_graph : bool
        Whether it is the tensor's graph that holds the block in question.
    """

    path: str
    root: str
    trail: tuple[Link, ...]
    tensor: torch.Tensor
    outlives: bool = True
    through_graph: bool = False

    @property
    def local(self) -> bool:
        """Whether it is a plain local variable, gone when its function returns."""
        return not self.outlives and len(self.trail) == 1

    @property
    def by_graph(self) -> Holder:
        """The same, through the tensor's graph."""
        return replace(self, through_graph=True)

    @property
    def text(self) -> str:
        """For people."""
        return f"`{self.path}` ({self.root})"


class Walk:
    """Every way in which live tensors can be reached from what has a name: what outlives the step, then the rest.

    Parameters
    ----------
    modules : list of torch.nn.Module
        Whose attributes and hooks are walked too.
    functions : list of callable
        Whose closures are walked too.
    frame : frame, optional
        The innermost frame to look at.

    Attributes
    ----------
    holders : list of Holder
        Shortest first.
    containers : set of (path, id)
        What was passed on the way.
    """

    def __init__(self, modules: list[nn.Module], functions: list[Any], frame: Any = None) -> None:
        self.holders: list[Holder] = []
        self.containers: set[tuple[str, int]] = set()
        self._queue: deque[tuple[Any, str, str, tuple[Link, ...]]] = deque()
        self._seen: set[int] = set()
        self._paths: dict[int, int] = {}
        inside: list[types.FrameType] = []
        outer: list[types.FrameType] = []
        spaces: dict[int, dict[str, Any]] = {}
        for own, within in own_frames(frame or sys._getframe(1)):
            spaces[id(own.f_globals)] = own.f_globals
            if own.f_code.co_name != "<module>":
                (inside if within else outer).append(own)
        for function in functions:
            if space := getattr(function, "__globals__", None):
                spaces[id(space)] = space
        for space in spaces.values():
            for name, value in list(space.items()):
                if not name.startswith("_") or isinstance(value, torch.Tensor):
                    self._queue.append((value, name, "global", (Link("", Names(space.get)),)))
        for own in outer:
            self._locals(own)
        for function in functions:
            if isinstance(function, types.MethodType):
                self._queue.append((function.__self__, "self", f"of {type(function.__self__).__name__}", ()))
            self._queue.append((function, getattr(function, "__name__", "function"), "closure", ()))
        for module in modules:
            name = type(module).__name__
            self._queue.append((module, name, f"attribute of {name}", ()))
        self._follow(True)
        for own in inside:
            self._locals(own)
        self._follow(False)

    def _locals(self, frame: types.FrameType) -> None:
        names = Names(lambda name: frame.f_locals.get(name))
        for name, value in list(frame.f_locals.items()):
            if name in frame.f_code.co_freevars and self._reached(value):
                continue  # a variable of the function around it, walked as such
            self._queue.append((value, name, f"local of {frame.f_code.co_name}", (Link("", names),)))

    def _reached(self, value: Any) -> bool:
        return id(value) in self._seen or id(value) in self._paths

    def _follow(self, outlives: bool) -> None:
        while self._queue and len(self._seen) < MOST_OBJECTS:
            value, path, root, trail = self._queue.popleft()
            if isinstance(value, torch.Tensor):
                count = self._paths.get(id(value), 0)
                self._paths[id(value)] = count + 1
                if count < MOST_PATHS:
                    found = Holder(path, root, trail, value, outlives)
                    self.holders.append(found)
                    base = value._base if type(value) is torch.Tensor else None
                    if base is not None and count == 0:
                        self.holders.append(replace(found, tensor=base))
                continue
            if len(trail) > MOST_DEPTH or id(value) in self._seen or _plain(value):
                continue
            self._seen.add(id(value))
            link = Link(path, value)
            self.containers.add(link.key)
            for child in _variables(value):
                self._queue.append(child)
            for item, step in _children(value):
                self._queue.append((item, path + step, root, (*trail, link)))


def _variables(value: Any) -> Iterator[tuple[Any, str, str, tuple[Link, ...]]]:
    """The variables of its own that a function reads: they are written by their names alone."""
    if not isinstance(value, types.FunctionType):
        return
    for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
        link = Link("", Names(lambda _name, cell=cell: _contents(cell)))  # type: ignore[misc]
        yield _contents(cell), name, f"closure of {value.__name__}", (link,)
    space = value.__globals__
    for name in value.__code__.co_names:
        if name in space and not isinstance(space[name], types.ModuleType):
            yield space[name], name, "global", (Link("", Names(space.get)),)


def _contents(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return None


def _plain(value: Any) -> bool:
    return isinstance(value, int | float | complex | str | bytes | type | types.ModuleType | types.CodeType | None)


def _children(value: Any) -> Iterator[tuple[Any, str]]:
    """(what it holds, how it is written after the path) of one object."""
    if isinstance(value, dict):
        for key, item in list(value.items()):
            yield item, f"[{key!r}]" if isinstance(key, str | int) else f"[{type(key).__name__}]"
    elif isinstance(value, list | tuple | deque):
        for i, item in enumerate(list(value)):
            yield item, f"[{i}]"
    elif isinstance(value, set | frozenset):
        for item in list(value):
            yield item, "{…}"
    elif isinstance(value, nn.Module):
        yield from _of_module(value)
    elif isinstance(value, types.MethodType):
        yield value.__self__, ""
        yield value.__func__, ""
    elif isinstance(value, functools.partial):
        yield value.func, ""
        yield from ((item, f".args[{i}]") for i, item in enumerate(value.args))
        yield from ((item, f".keywords[{name!r}]") for name, item in value.keywords.items())
    elif isinstance(value, functools._lru_cache_wrapper | types.GeneratorType):
        yield from ((item, ".cached") for item in gc.get_referents(value))
    elif not isinstance(value, torch.optim.Optimizer | types.FunctionType) and _walked(value):
        yield from ((item, f".{name}") for name, item in attributes(value).items())


def _of_module(module: nn.Module) -> Iterator[tuple[Any, str]]:
    inside = vars(module)
    for name, child in inside.get("_modules", {}).items():
        yield child, f".{name}"
    for kind in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"):
        for hook in inside.get(kind, {}).values():
            yield hook, f".{kind.strip('_')}"
    for name, item in inside.items():
        if not name.startswith("_") and name != "training":
            yield item, f".{name}"


def _walked(value: Any) -> bool:
    return not ((type(value).__module__ or "") + ".").startswith(_NOT_WALKED)


def attributes(value: Any) -> dict[str, Any]:
    """What an object keeps under names, its slots among them."""
    found = dict(getattr(value, "__dict__", {}))
    for kind in type(value).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                found.setdefault(name, getattr(value, name))
    return found


def nodes_behind(tensor: torch.Tensor, seen: set[Any]) -> Iterator[int]:
    """Sequence numbers of the autograd nodes that a tensor's graph holds, but for those seen, which grow."""
    stack = [tensor.grad_fn]
    while stack and len(seen) < MOST_NODES:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        yield int(node._sequence_nr())
        stack.extend(following for following, _ in node.next_functions)
