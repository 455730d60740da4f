"""Search for the live tensors that named variables reach.

The walk starts from global variables, the last error (``sys.last_value``), local variables of the user's frames,
closures, and the attributes and hooks of modules. It continues breadth first through the objects that each object
refers to, and records an expression for each tensor, such as ``log[3]['outputs']``. Local variables of the running
training step, and the exception that is being handled, come last, because they end with the step. A tensor with an
autograd graph also keeps alive the tensors that the nodes of its graph saved; :func:`nodes_behind` lists these nodes.
"""

from __future__ import annotations

import functools
import inspect
import sys
import time
import types
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from recompviz.pytorch.debugging.references.children import Namespace, children, is_long, of_tensor, plain, variables
from recompviz.pytorch.internals.autograd import sequence_number
from recompviz.pytorch.internals.user_lines import own_frames, runs_steps

# limits of a walk
MOST_OBJECTS = 200_000
MOST_SECONDS = 5.0
MOST_DEPTH = 9
# limit of one search of an autograd graph
MOST_NODES = 100_000
# number of paths that are kept for one tensor
MOST_PATHS = 4

# references to the copy of a frame's variables that nobody but the frame and the search holds
_REFERENCES = 3

# the root of paths that begin at an exception whose ``except`` block is running
HANDLED = "exception that is being handled"
# the expression of the error that ended an earlier cell; its traceback holds the variables of the functions that failed
LAST_ERROR = "sys.last_value"


@dataclass(frozen=True, eq=False)
class Link:
    """One object on the path to a tensor.

    Attributes
    ----------
    expression : str
        The Python expression that reaches the object; empty for a namespace.
    owner : object
        The object itself, or a :class:`~recompviz.pytorch.debugging.references.children.Namespace`.
    """

    expression: str
    owner: Any

    @property
    def key(self) -> tuple[str, int]:
        """The expression and the ``id`` of the object; the ``id`` of a namespace is given as 0."""
        return self.expression, 0 if type(self.owner) is Namespace else id(self.owner)


@dataclass(frozen=True, eq=False)
class FoundTensor:
    """A tensor that the walk found, and one path to it.

    Attributes
    ----------
    expression : str
        The Python expression that reaches the tensor, for example ``log[3]['outputs']`` or ``model.cache``.
    root : str
        The start of the path, for example ``local of train``, ``global``, ``closure of hook`` or ``attribute of Net``.
    links : tuple of Link
        The objects on the path, outermost first. The first is the namespace of the variable, module or function with
        which the path starts.
    tensor : torch.Tensor
        The tensor. A view also keeps its base alive.
    outlives : bool
        Whether the path starts from an object that still exists after the training step.
    of_loop : bool
        Whether the tensor is the value of a variable of the loop that runs the training steps.
    """

    expression: str
    root: str
    links: tuple[Link, ...]
    tensor: torch.Tensor
    outlives: bool = True
    of_loop: bool = False


class Walk:
    """A search for live tensors. The constructor runs the search.

    The search visits at most 200,000 objects, takes at most 5 seconds, and follows paths of at most 10 objects. It
    records at most 4 paths to one tensor.

    Parameters
    ----------
    modules : list of torch.nn.Module
        The search starts from their attributes and hooks.
    functions : list of callable
        The search starts from their closures, default values and global variables, and from the ``self`` of a bound
        method.
    frame : frame, optional
        The search starts from the variables of the user's frames among this frame and its callers. Default: the frame
        that constructs the walk.
    in_loop : bool
        Whether the training steps run in a loop of the user. Variables of the frames of this loop outlive each step,
        until they are assigned again.
    spaces : sequence of dict
        Further global variables from which the search starts, for example the variables of a notebook.

    Attributes
    ----------
    found : list of FoundTensor
        Paths that outlive the training step come first. Within each group, short paths usually come first.
    owners : dict of (root, expression) to object
        The visited objects. The dictionary keeps them alive, so delete the walk after use.
    namespaces : dict of (root, name) to Namespace
        The namespace in which each variable is stored.
    containers : set of (expression, id)
        The visited objects, described without keeping them alive.
    not_searched : str
        A sentence about objects that were left out, because the search reached its limit of objects or time, or because
        a collection is long. Empty if there are none. Objects at the end of longer paths are left out without a
        sentence.
    """

    def __init__(
        self,
        modules: list[nn.Module],
        functions: list[Any],
        frame: Any = None,
        in_loop: bool = False,
        spaces: Sequence[dict[str, Any]] = (),
    ) -> None:
        self.in_loop = in_loop
        self.found: list[FoundTensor] = []
        self.owners: dict[tuple[str, str], Any] = {}
        self.namespaces: dict[tuple[str, str], Namespace] = {}
        self.containers: set[tuple[str, int]] = set()
        self.not_searched = ""
        self._until = time.perf_counter() + MOST_SECONDS
        self._queue: deque[tuple[Any, str, str, tuple[Link, ...]]] = deque()
        self._seen: set[int] = set()
        self._paths: dict[int, int] = {}  # id of a tensor → number of paths found
        inside: list[types.FrameType] = []
        outside: list[types.FrameType] = []
        global_variables: dict[int, dict[str, Any]] = {id(space): space for space in spaces}
        for own, within in own_frames(frame or sys._getframe(1), beyond_loop=in_loop):
            global_variables[id(own.f_globals)] = own.f_globals
            if own.f_code.co_name != "<module>":
                (inside if within and not (in_loop and runs_steps(own)) else outside).append(own)
        for function in functions:
            if space := getattr(function, "__globals__", None):
                global_variables[id(space)] = space
        for space in global_variables.values():
            for name, value in list(space.items()):
                if not name.startswith("_") or issubclass(type(value), torch.Tensor):
                    self._variable(value, name, "global", Namespace(space.get))
        last = getattr(sys, "last_value", None)
        if issubclass(type(last), BaseException):
            self._queue.append((last, LAST_ERROR, "global", ()))
        for own in outside:
            self._locals(own)
        for function in functions:
            if isinstance(function, types.MethodType):
                self._queue.append((function.__self__, "self", f"of {type(function.__self__).__name__}", ()))
            self._queue.append((function, getattr(function, "__name__", "function"), "closure", ()))
        for module in modules:
            name = type(module).__name__
            self._queue.append((module, name, f"attribute of {name}", ()))
        self._follow(outlives=True)
        for own in inside:
            self._locals(own)
        self._follow(outlives=False)
        error = sys.exc_info()[1]
        if error is not None:
            self._queue.append((error, type(error).__name__, HANDLED, ()))
            self._follow(outlives=False)

    def _variable(self, value: Any, name: str, root: str, namespace: Namespace) -> None:
        self.namespaces.setdefault((root, name), namespace)
        self._queue.append((value, name, root, (Link("", namespace),)))

    def _locals(self, frame: types.FrameType) -> None:
        namespace = Namespace(functools.partial(_read_local, frame))
        for name, value in _locals_of(frame):
            if name in frame.f_code.co_freevars and self._visited(value):
                continue  # belongs to the enclosing function, and was visited there
            self._variable(value, name, f"local of {frame.f_code.co_name}", namespace)

    def _visited(self, value: Any) -> bool:
        return id(value) in self._seen or id(value) in self._paths

    def _follow(self, outlives: bool) -> None:
        while self._queue:
            if len(self._seen) >= MOST_OBJECTS or time.perf_counter() > self._until:
                self.not_searched = (
                    f"the search for references stopped after {len(self._seen):,} objects; "
                    "a reference from another object is not reported"
                )
                self._queue.clear()
                return
            value, expression, root, links = self._queue.popleft()
            try:
                self._visit(value, expression, root, links, outlives)
            except Exception:  # methods of the user's objects may raise anything
                continue

    def _visit(self, value: Any, expression: str, root: str, links: tuple[Link, ...], outlives: bool) -> None:
        link = Link(expression, value)
        if issubclass(type(value), torch.Tensor):
            count = self._paths.get(id(value), 0)
            self._paths[id(value)] = count + 1
            if count < MOST_PATHS:
                of_loop = self.in_loop and outlives and len(links) == 1 and type(links[0].owner) is Namespace
                self.found.append(FoundTensor(expression, root, links, value, outlives, of_loop))
            if count == 0 and len(links) <= MOST_DEPTH:
                self.containers.add(link.key)
                self.owners.setdefault((root, expression), value)
                for child, step in of_tensor(value):
                    self._queue.append((child, expression + step, root, (*links, link)))
            return
        if len(links) > MOST_DEPTH or id(value) in self._seen or plain(value):
            return
        self._seen.add(id(value))
        self.containers.add(link.key)
        self.owners.setdefault((root, expression), value)
        if is_long(value):
            self.not_searched = self.not_searched or (
                f"`{expression}` is long: only its oldest and newest items were searched for references"
            )
        for child, name, where, namespace in variables(value):
            if len(links) > 1 and issubclass(type(child), torch.Tensor):
                # the user holds the function, not the variable
                self._queue.append((child, f"{expression} ({name})", root, (*links, link)))
            else:
                self._variable(child, name, where, namespace)
        for child, step in children(value):
            self._queue.append((child, expression + step, root, (*links, link)))


def _locals_of(frame: types.FrameType) -> list[tuple[str, Any]]:
    """Return names and values of a function's local variables, without keeping the values alive in the frame.

    Before Python 3.13, reading ``f_locals`` stores a copy of the variables in the frame. The copy would keep a tensor
    alive after its variable is assigned again. It is emptied, unless the user holds it, as the result of ``locals()``.
    """
    copied = frame.f_locals
    found = list(copied.items())
    optimized = frame.f_code.co_flags & inspect.CO_OPTIMIZED
    if optimized and type(copied) is dict and sys.getrefcount(copied) <= _REFERENCES:
        copied.clear()
    return found


def _read_local(frame: types.FrameType, name: str) -> Any:
    return frame.f_locals.get(name)


def nodes_behind(tensor: torch.Tensor, seen: set[Any]) -> Iterator[int]:
    """Yield the sequence number of each node in a tensor's autograd graph.

    The search ends when ``seen`` contains 100,000 nodes.

    Parameters
    ----------
    tensor : torch.Tensor
        A tensor without ``grad_fn`` has no nodes.
    seen : set of nodes
        Nodes in this set are skipped. Each visited node is added to it.
    """
    stack = [tensor.grad_fn]
    while stack and len(seen) < MOST_NODES:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        yield sequence_number(node)
        stack.extend(following for following, _ in node.next_functions)
