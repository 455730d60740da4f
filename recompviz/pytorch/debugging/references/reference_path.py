"""Reference paths, and the retainer on each path: the object that keeps a block alive after a training step.

A reference path leads from a variable through objects to a tensor. For example, ``log[3]['outputs']`` leads through the
list ``log`` and the dictionary ``log[3]``, which a training step appended. The *retainer* is the innermost object on
the path that existed before that step, here ``log``. The *slot* is where the retainer holds the block, here ``log[3]``.
A path from a variable begins with the *namespace* of the variable, such as the globals of a module.
Objects are described by expression and ``id``, so a path keeps no tensor alive.
"""

from __future__ import annotations

import functools
from collections import deque
from dataclasses import dataclass
from functools import cached_property

from torch import nn

from recompviz.pytorch.debugging.references.children import Namespace
from recompviz.pytorch.debugging.references.walk import FoundTensor, Link

# identifies a retainer: (root, expression)
Key = tuple[str, str]


@dataclass(frozen=True)
class Referrer:
    """One object on a reference path, which leads from a variable through objects to a tensor.

    Attributes
    ----------
    expression : str
        The Python expression that reaches the object; empty for the namespace of a variable.
    identity : int
        The ``id`` of the object; 0 for a namespace.
    kind : str
        ``"variable"`` for a namespace, ``"dict"``, ``"collection"`` for a list, tuple, set, deque, ``ModuleList``,
        ``ModuleDict`` or ``ParameterList``, ``"cache"`` for a function with ``functools.lru_cache``, or ``"object"``.
    bound : int or None
        ``maxlen`` of a deque: the most items that it can hold. None for other objects.
    """

    expression: str
    identity: int
    kind: str
    bound: int | None = None

    @classmethod
    def of(cls, link: Link) -> Referrer:
        """Describe the object of a link, without keeping the object alive."""
        kind = type(link.owner)
        expression, identity = link.key
        if kind is Namespace:
            return cls(expression, identity, "variable")
        if issubclass(kind, dict):
            return cls(expression, identity, "dict")
        if issubclass(kind, deque):
            return cls(expression, identity, "collection", link.owner.maxlen)
        if issubclass(kind, list | tuple | set | frozenset | nn.ModuleList | nn.ModuleDict | nn.ParameterList):
            return cls(expression, identity, "collection")
        return cls(expression, identity, "cache" if issubclass(kind, functools._lru_cache_wrapper) else "object")


@dataclass(frozen=True)
class ReferencePath:
    """A path from a variable, module or function to a tensor, and possibly on through its autograd graph to a block.

    Attributes
    ----------
    expression : str
        The Python expression that reaches the tensor, for example ``log[3]['outputs']``.
    root : str
        The start of the path, for example ``global``, ``local of train`` or ``attribute of Net``.
    referrers : tuple of Referrer
        The objects on the path, outermost first.
    outlives : bool
        Whether the path starts from an object that still exists after the training step.
    block : int
        The number of the tensor's block; −1 if the block was not seen.
    shape : tuple of int
        The shape of the tensor.
    offset : int
        The position in the storage at which the tensor starts, in elements.
    bytes : int
        Bytes of the tensor's elements. A view counts its own elements, not all elements of its base.
    has_graph : bool
        Whether the tensor has an autograd graph.
    through_graph : bool
        Whether the path leads to a block that the tensor's autograd graph saved, instead of the tensor's own block.
    of_loop : bool
        Whether the tensor is the value of a variable of the loop that runs the training steps.
    """

    expression: str
    root: str
    referrers: tuple[Referrer, ...]
    outlives: bool
    block: int
    shape: tuple[int, ...]
    offset: int
    bytes: int
    has_graph: bool
    through_graph: bool = False
    of_loop: bool = False

    @classmethod
    def of(cls, found: FoundTensor, block: int) -> ReferencePath:
        """Describe the path to a tensor without keeping the tensor alive. ``block`` is the number of its block."""
        tensor = found.tensor
        return cls(
            found.expression,
            found.root,
            tuple(map(Referrer.of, found.links)),
            found.outlives,
            block,
            tuple(tensor.shape),
            int(tensor.storage_offset()),
            tensor.numel() * tensor.element_size(),
            tensor.grad_fn is not None,
            of_loop=found.of_loop,
        )

    @property
    def local(self) -> bool:
        """Whether the path is only a local variable of the training step, or a variable of its loop, and nothing more.

        Such a path ends when the function of the variable returns, or when the loop assigns the variable again.
        """
        return self.of_loop or (not self.outlives and len(self.referrers) == 1)

    @property
    def exception(self) -> str:
        """The part of ``expression`` before its first dot.

        If the path begins with an exception, this is the class of the exception.
        """
        return self.expression.partition(".")[0]

    @property
    def number(self) -> bool:
        """Whether the tensor has one element."""
        return all(size == 1 for size in self.shape)

    @cached_property
    def keys(self) -> frozenset[Key]:
        """The keys (root, expression) of all objects on the path that can be the retainer, and of the tensor itself."""
        expressions = (*(referrer.expression for referrer in self.referrers), self.expression)
        return frozenset((self.root, expression) for expression in expressions)

    @property
    def text(self) -> str:
        """The path in words, such as ``the graph of `log[3]` (global)``."""
        return f"{'the graph of ' if self.through_graph else ''}`{self.expression}` ({self.root})"


@dataclass(frozen=True)
class Retainer:
    """The object that keeps a block alive after the training step that made the block.

    Attributes
    ----------
    referrer : Referrer
        The object, for example ``log`` or ``self``. If a variable holds the block, it is the namespace of the variable.
    slot : str
        The place in the object that holds the block, as an expression such as ``log[3]`` or ``self.bank``. For a
        variable, it is the name.
    root : str
        The start of the reference path, for example ``global`` or ``local of main``.
    """

    referrer: Referrer
    slot: str
    root: str

    @property
    def collection(self) -> bool:
        """Whether the kind of the object is ``"dict"`` or ``"collection"``; see :class:`Referrer`."""
        return self.referrer.kind in ("dict", "collection")

    @property
    def key(self) -> Key:
        """The key ``(root, expression)``. Blocks with the same key are reported together.

        For a collection or a cache, the expression is that of the object. Otherwise it is ``slot``.
        """
        whole = self.collection or self.referrer.kind == "cache"
        return self.root, self.referrer.expression if whole else self.slot


def retainer_of(path: ReferencePath, before: frozenset[tuple[str, int]]) -> Retainer:
    """Return the retainer of a path: the innermost referrer that existed before the training step that made the block.

    If no referrer of the path existed before that step, the outermost referrer is taken. If the path leads through a
    cache (``functools.lru_cache``) to the referrer, the cache is taken instead.

    Parameters
    ----------
    path : ReferencePath
        A path with at least one referrer.
    before : frozenset of (expression, id)
        The referrers that existed before that training step, as pairs of their ``expression`` and ``identity``.
    """
    referrers = path.referrers
    candidates = range(len(referrers) - 1, 0, -1)
    j = next((j for j in candidates if (referrers[j].expression, referrers[j].identity) in before), 0)
    j = next((i for i in range(j) if referrers[i].kind == "cache"), j)
    slot = referrers[j + 1].expression if j + 1 < len(referrers) else path.expression
    return Retainer(referrers[j], slot, path.root)
