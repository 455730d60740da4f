"""Who holds a tensor: the ways on which it can be reached from what has a name.

A walk from the global variables, the local ones of the user's frames, closures, and the attributes and hooks of the
modules, through what each object holds. What outlives the step is walked first, and the shortest path counts:
``log[3]['outputs']``. A tensor with a graph also holds what its graph saved.
"""

from __future__ import annotations

import functools
import sys
import time
import types
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from recompviz.pytorch.debugging.references.reachable import Names, children, is_long, of_tensor, plain, variables
from recompviz.pytorch.internals.user_lines import own_frames

# the walk is cut where a user's objects are without end
MOST_OBJECTS = 200_000
MOST_SECONDS = 5.0
MOST_DEPTH = 9
MOST_NODES = 100_000
# paths to one tensor that are remembered
MOST_PATHS = 4


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
    tensor : torch.Tensor
        The one that is reached; where that is a view, its base is held as well.
    outlives : bool
        Whether what it starts from is still there when the step is over.
    """

    path: str
    root: str
    trail: tuple[Link, ...]
    tensor: torch.Tensor
    outlives: bool = True


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
    owners : dict of (root, path) to object
        What was passed on the way.
    names : dict of (root, name) to Names
        Where each variable is.
    containers : set of (path, id)
        The same, to be told again later without being kept alive.
    cut : str
        What was not looked at, in words; empty if all was.
    """

    def __init__(self, modules: list[nn.Module], functions: list[Any], frame: Any = None) -> None:
        self.holders: list[Holder] = []
        self.owners: dict[tuple[str, str], Any] = {}
        self.names: dict[tuple[str, str], Names] = {}
        self.containers: set[tuple[str, int]] = set()
        self.cut = ""
        self._until = time.perf_counter() + MOST_SECONDS
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
                    self._variable(value, name, "global", Names(space.get))
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

    def _variable(self, value: Any, name: str, root: str, names: Names) -> None:
        self.names.setdefault((root, name), names)
        self._queue.append((value, name, root, (Link("", names),)))

    def _locals(self, frame: types.FrameType) -> None:
        names = Names(functools.partial(_read_local, frame))
        for name, value in list(frame.f_locals.items()):
            if name in frame.f_code.co_freevars and self._reached(value):
                continue  # a variable of the function around it, walked as such
            self._variable(value, name, f"local of {frame.f_code.co_name}", names)

    def _reached(self, value: Any) -> bool:
        return id(value) in self._seen or id(value) in self._paths

    def _follow(self, outlives: bool) -> None:
        while self._queue:
            if len(self._seen) >= MOST_OBJECTS or time.perf_counter() > self._until:
                self.cut = f"more than {len(self._seen):,} objects were not looked at for who holds what"
                self._queue.clear()
                return
            value, path, root, trail = self._queue.popleft()
            try:
                self._look_at(value, path, root, trail, outlives)
            except Exception:  # a user's object may answer any question with an error of its own
                continue

    def _look_at(self, value: Any, path: str, root: str, trail: tuple[Link, ...], outlives: bool) -> None:
        link = Link(path, value)
        if issubclass(type(value), torch.Tensor):
            count = self._paths.get(id(value), 0)
            self._paths[id(value)] = count + 1
            if count < MOST_PATHS:
                self.holders.append(Holder(path, root, trail, value, outlives))
            if count == 0 and len(trail) <= MOST_DEPTH:
                self.containers.add(link.key)
                self.owners.setdefault((root, path), value)
                for child, step in of_tensor(value):
                    self._queue.append((child, path + step, root, (*trail, link)))
            return
        if len(trail) > MOST_DEPTH or id(value) in self._seen or plain(value):
            return
        self._seen.add(id(value))
        self.containers.add(link.key)
        self.owners.setdefault((root, path), value)
        if is_long(value):
            self.cut = self.cut or f"`{path}` is long: only its oldest and newest items were looked at"
        for child, name, where, names in variables(value):
            if len(trail) > 1 and issubclass(type(child), torch.Tensor):
                self._queue.append((child, f"{path} ({name})", root, (*trail, link)))  # it is the function that is held
            else:
                self._variable(child, name, where, names)
        for child, step in children(value):
            self._queue.append((child, path + step, root, (*trail, link)))


def _read_local(frame: types.FrameType, name: str) -> Any:
    return frame.f_locals.get(name)


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
