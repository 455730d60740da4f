"""Tensors in reference cycles, which only Python's garbage collector frees.

During the recorded steps, automatic collection is disabled. The collector runs here after each step, with the option
``gc.DEBUG_SAVEALL``, which puts the garbage into a list instead of freeing it. If tensors are in a cycle through the
user's own classes or functions, the garbage is kept until the recording ends, as it would be if the collector had not
run. Otherwise, garbage with tensors is freed.
"""

from __future__ import annotations

import contextlib
import gc
import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from recompviz.core.reports.source_line import SourceLine
from recompviz.pytorch.debugging.recorder.watcher import Watcher
from recompviz.pytorch.debugging.source_text import attribute_line
from recompviz.pytorch.internals.user_lines import is_own, source_line

# length of the longest cycle that is searched for
MOST_LINKS = 12
# number of objects that one search visits
MOST_VISITED = 20_000


@dataclass(frozen=True)
class Cycle:
    """A reference cycle of the user's objects that keeps tensors alive.

    Attributes
    ----------
    text : str
        The objects of the cycle, for example ``GateBackward → .y → Tensor → .grad_fn → GateBackward``.
    line : SourceLine or None
        The user's line that closes the cycle, if it was found.
    attribute : str
        The attribute through which the cycle reaches a tensor, such as ``"y"``; empty if there is none.
    function : bool
        Whether the cycle leads through the context of a custom ``torch.autograd.Function``.
    blocks : frozenset of int
        The numbers of the blocks that the garbage with this cycle holds.
    step : int
        The training step after which the cycle was found.
    """

    text: str
    line: SourceLine | None
    attribute: str
    function: bool
    blocks: frozenset[int]
    step: int


@contextlib.contextmanager
def collector_off() -> Iterator[None]:
    """Disable automatic garbage collection in a ``with`` block. If it was enabled before, enable it afterwards."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def collected(watcher: Watcher) -> tuple[list[Any], Cycle | None]:
    """Find the garbage of Python, and a cycle of the user's objects in it that holds tensors.

    If there is such a cycle, the garbage is kept and returned. Otherwise, if the garbage has tensors, it is freed.

    Parameters
    ----------
    watcher : Watcher
        It knows the blocks of tensors.

    Returns
    -------
    garbage : list
        The objects stay alive as long as the caller keeps the list. Empty if no cycle of the user's objects holds
        tensors.
    cycle : Cycle or None
        None if no cycle of the user's objects holds tensors.
    """
    garbage, cycle = _found(watcher)
    if cycle is None and garbage:
        garbage.clear()
        gc.collect()  # what was handed out before is garbage again
    return garbage, cycle


def _found(watcher: Watcher) -> tuple[list[Any], Cycle | None]:
    flags, before = gc.get_debug(), list(gc.garbage)
    gc.garbage.clear()
    try:
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        garbage = list(gc.garbage)
    finally:
        gc.set_debug(flags)
        gc.garbage[:] = before
    tensors: list[Any] = [one for one in garbage if issubclass(type(one), torch.Tensor)]
    blocks = {}
    for tensor in tensors:
        number = watcher.known(tensor)
        if number is not None and not watcher.blocks[number].role:
            blocks[number] = tensor
    if not blocks:
        return tensors, None
    inside = {id(one): one for one in garbage}
    largest = sorted(blocks, key=lambda number: -watcher.blocks[number].size)
    for number in largest[:8]:
        links = _cycle_through(blocks[number], inside)
        if links and any(_own(one) for one, _ in links):
            return garbage, _described(links, frozenset(blocks), watcher.step)
    return tensors, None


Links = list[tuple[Any, str]]


def _cycle_through(start: Any, inside: dict[int, Any]) -> Links:
    """Return the shortest cycle from an object back to itself, as (object, step to the next); empty if there is none.

    If the object is only held by a cycle, that cycle is returned instead.
    """
    paths: dict[int, Links] = {id(start): []}
    queue = [start]
    visited = 0
    while queue and visited < MOST_VISITED:
        value = queue.pop(0)
        visited += 1
        if len(paths[id(value)]) > MOST_LINKS:
            continue
        for child, step in _references(value, inside):
            if child is start:
                return [*paths[id(value)], (value, step)]
            if id(child) not in paths:
                paths[id(child)] = [*paths[id(value)], (value, step)]
                queue.append(child)
    for holder in gc.get_referrers(start):
        if id(holder) in inside and holder is not start and not issubclass(type(holder), torch.Tensor):
            found = _plain_cycle(holder, inside)
            if found:
                return found
    return []


def _plain_cycle(start: Any, inside: dict[int, Any]) -> Links:
    paths: dict[int, Links] = {id(start): []}
    queue = [start]
    while queue and len(paths) < MOST_VISITED:
        value = queue.pop(0)
        for child, step in _references(value, inside):
            if child is start:
                return [*paths[id(value)], (value, step)]
            if id(child) not in paths and len(paths[id(value)]) < MOST_LINKS:
                paths[id(child)] = [*paths[id(value)], (value, step)]
                queue.append(child)
    return []


def _references(value: Any, inside: dict[int, Any]) -> Iterator[tuple[Any, str]]:
    """Yield the objects of the garbage that an object refers to, with an expression for the step."""
    if issubclass(type(value), torch.Tensor) and value.grad_fn is not None and id(value.grad_fn) in inside:
        yield value.grad_fn, ".grad_fn"
    if issubclass(type(value), dict):
        for key, one in dict.items(value):
            if id(one) in inside:
                yield one, f"[{key!r}]"
        return
    names: dict[int, str] = {}
    try:
        space = object.__getattribute__(value, "__dict__")
    except AttributeError:
        space = {}
    for name, one in space.items() if type(space) is dict else ():
        names[id(one)] = f".{name}"
        if id(one) in inside:
            yield one, f".{name}"
    if type(value) is types.FrameType:
        for name, one in value.f_locals.items():
            names[id(one)] = f" ({name})"
    for child in gc.get_referents(value):
        if child is space:
            continue
        if id(child) in inside and not (names.get(id(child), "").startswith(".")):
            yield child, names.get(id(child), "")
        elif type(child) in (types.CellType, types.FrameType) and id(child) in inside:
            yield child, ""


def _own(value: Any) -> bool:
    if type(value) is types.FrameType:
        return is_own(value.f_code.co_filename)
    if type(value) is types.FunctionType:
        return is_own(value.__code__.co_filename)
    return any(is_own(code.co_filename) for code in _methods(getattr(type(value), "_forward_cls", type(value))))


def _described(links: Links, blocks: frozenset[int], step: int) -> Cycle:
    parts = []
    for value, reference in links:
        parts.append(_name(value))
        if reference:
            parts.append(reference.strip())
    text = " → ".join([*parts, _name(links[0][0])])
    line, attribute, function, best = None, "", False, -1
    for (value, reference), (following, _) in zip(links, [*links[1:], links[0]], strict=True):
        if not reference.startswith(".") or not _own(value):
            continue
        kind = getattr(type(value), "_forward_cls", type(value))
        function = function or hasattr(type(value), "_forward_cls")
        found = _attribute_of(kind, reference[1:])
        rank = 2 if issubclass(type(following), torch.Tensor) else int(_own(following))
        if found is not None and rank > best:
            line, attribute, best = found, reference[1:], rank
    if line is None:
        frame = next((one for one, _ in links if type(one) is types.FrameType and _own(one)), None)
        if frame is not None:
            line = source_line(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)
    if line is None:
        made = next((one for one, _ in links if type(one) is types.FunctionType and _own(one)), None)
        if made is not None:
            line = source_line(made.__code__.co_filename, made.__code__.co_firstlineno, made.__code__.co_name)
    return Cycle(text, line, attribute, function, blocks, step)


def _name(value: Any) -> str:
    if type(value) is types.FrameType:
        return f"frame of {value.f_code.co_name}"
    if type(value) is types.FunctionType:
        return f"function {value.__name__}"
    return type(value).__name__


def _attribute_of(kind: type, attribute: str) -> SourceLine | None:
    found = (
        attribute_line(code.co_filename, attribute, code.co_firstlineno, _last_line(code)) for code in _methods(kind)
    )
    return next((line for line in found if line is not None), None)


def _methods(kind: type) -> list[types.CodeType]:
    """Return the code of the methods that a class defines itself."""
    functions = [getattr(value, "__func__", value) for value in vars(kind).values()]
    return [function.__code__ for function in functions if type(function) is types.FunctionType]


def _last_line(code: types.CodeType) -> int:
    return max((line for *_, line in code.co_lines() if line is not None), default=code.co_firstlineno)
