"""Reference paths, and the retainer on each: the object that keeps a block alive from one step to the next.

A reference path leads from a variable through several objects to a tensor: ``log[3]['outputs']`` leads through ``log``
and through the dictionary of the third step. The *retainer* is the innermost object on it that existed before the step,
here ``log``; the *slot* is where the retainer holds the block, here ``log[3]``. All objects are described by expression
and identity, so that nothing here keeps a tensor alive.
"""

from __future__ import annotations

import functools
from collections import deque
from dataclasses import dataclass
from functools import cached_property

from recompviz.pytorch.debugging.references.children import Namespace
from recompviz.pytorch.debugging.references.walk import FoundTensor, Link

# identifies a retainer: (root, expression)
Key = tuple[str, str]


@dataclass(frozen=True)
class Referrer:
    """One object on a reference path.

    Attributes
    ----------
    expression : str
        The Python expression that reaches the object; empty for a namespace.
    identity : int
        Its ``id``; 0 for a namespace.
    kind : str
        ``"variable"``, ``"dict"``, ``"collection"``, ``"cache"`` or ``"object"``.
    bound : int or None
        The largest number of items that it can hold (``maxlen`` of a deque).
    """

    expression: str
    identity: int
    kind: str
    bound: int | None = None

    @classmethod
    def of(cls, link: Link) -> Referrer:
        """Describe the object of a link without holding it."""
        kind = type(link.owner)
        expression, identity = link.key
        if kind is Namespace:
            return cls(expression, identity, "variable")
        if issubclass(kind, dict):
            return cls(expression, identity, "dict")
        if issubclass(kind, deque):
            return cls(expression, identity, "collection", link.owner.maxlen)
        if issubclass(kind, list | tuple | set | frozenset):
            return cls(expression, identity, "collection")
        return cls(expression, identity, "cache" if issubclass(kind, functools._lru_cache_wrapper) else "object")


@dataclass(frozen=True)
class ReferencePath:
    """How a block can be reached from a variable.

    Attributes
    ----------
    expression, root : str
        As in :class:`~recompviz.pytorch.debugging.references.walk.FoundTensor`.
    referrers : tuple of Referrer
        The objects on the path, from the variable to the innermost container.
    outlives : bool
        Whether the path starts from something that still exists after the step.
    block : int
        The block of the tensor that the path reaches; −1 if it is not known.
    shape, offset, bytes
        Of that tensor. ``bytes`` counts its elements.
    has_graph : bool
        Whether that tensor has an autograd graph.
    through_graph : bool
        Whether the path continues through that graph to the block.
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

    @classmethod
    def of(cls, found: FoundTensor, block: int) -> ReferencePath:
        """Describe the path to a tensor without holding the tensor."""
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
        )

    @property
    def local(self) -> bool:
        """Whether the path is a plain local variable, which ends when its function returns."""
        return not self.outlives and len(self.referrers) == 1

    @property
    def number(self) -> bool:
        """Whether the tensor has one element."""
        return all(size == 1 for size in self.shape)

    @cached_property
    def keys(self) -> frozenset[Key]:
        """The key of every object and slot on the path."""
        expressions = (*(referrer.expression for referrer in self.referrers), self.expression)
        return frozenset((self.root, expression) for expression in expressions)

    @property
    def text(self) -> str:
        """``the graph of `log[3]` (global)``."""
        return f"{'the graph of ' if self.through_graph else ''}`{self.expression}` ({self.root})"


@dataclass(frozen=True)
class Retainer:
    """The object that keeps a block alive after the step that made it.

    Attributes
    ----------
    referrer : Referrer
        The object, for example ``log`` or ``self``; for a variable, the namespace that contains it.
    slot : str
        Where the object holds the block: ``log[3]``, ``self.bank``, or the name of the variable.
    root : str
        Where the reference path starts: ``global``, ``local of main``.
    """

    referrer: Referrer
    slot: str
    root: str

    @property
    def collection(self) -> bool:
        """Whether it is a container of items."""
        return self.referrer.kind in ("dict", "collection")

    @property
    def key(self) -> Key:
        """Identifies what is reported together: a whole collection, or one attribute or variable."""
        whole = self.collection or self.referrer.kind == "cache"
        return self.root, self.referrer.expression if whole else self.slot


def retainer_of(path: ReferencePath, before: frozenset[tuple[str, int]]) -> Retainer:
    """The innermost object on a path that existed before the step that made the block.

    Parameters
    ----------
    path : ReferencePath
    before : frozenset of (expression, id)
        The objects that existed before that step.
    """
    referrers = path.referrers
    candidates = range(len(referrers) - 1, 0, -1)
    j = next((j for j in candidates if (referrers[j].expression, referrers[j].identity) in before), 0)
    j = next((i for i in range(j) if referrers[i].kind == "cache"), j)
    slot = referrers[j + 1].expression if j + 1 < len(referrers) else path.expression
    return Retainer(referrers[j], slot, path.root)
