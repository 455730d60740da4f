"""The actions of a rank of a pipeline over one batch: its passes, and what is received and freed between them.

PyTorch's schedules hold tensors that no pass needs any more, and allocate buffers for tensors that other ranks send.
When this happens depends on the schedule and on the version of PyTorch:

- *Until PyTorch 2.14*, all buffers exist during the whole batch. A stage holds each of its outputs at least until the
  backward pass of the same micro-batch has run.
- *From PyTorch 2.15 on*, a buffer is allocated when its tensor is received, and freed after the backward pass of its
  micro-batch. A stage drops an output when it has been sent, so only autograd may still hold it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

ActionKind = Literal[
    "forward",
    "backward",
    "receive values",
    "receive gradients",
    "free values",
    "free gradients",
    "free outputs",
    "free sent gradients",
]


class Action(NamedTuple):
    """One action of a rank.

    Attributes
    ----------
    kind : str
        ``"forward"`` and ``"backward"`` are passes. ``"receive values"`` allocates the buffers for the inputs of the
        forward pass, and ``"receive gradients"`` those for the gradients of the stage's outputs. ``"free values"`` and
        ``"free gradients"`` free these buffers. ``"free outputs"`` frees the outputs of the stage, unless autograd
        holds them. ``"free sent gradients"`` frees the gradients of the stage's inputs.
    stage : int
        The number of the stage, counted from 0.
    micro_batch : int
        The number of the micro-batch, counted from 0.
    """

    kind: ActionKind
    stage: int
    micro_batch: int


class BatchActions(NamedTuple):
    """The actions of a rank over one batch.

    Attributes
    ----------
    during : tuple of Action
        The passes in their order, and the other actions between them.
    at_end : tuple of Action
        The actions when PyTorch's ``schedule.step()`` ends.
    """

    during: tuple[Action, ...]
    at_end: tuple[Action, ...] = ()

    @property
    def passes(self) -> tuple[Action, ...]:
        """The forward and backward passes, in the order in which they run."""
        return tuple(action for action in self.during if action.kind in ("forward", "backward"))


class ActionList:
    """Collects the actions of a rank with one stage, in their order.

    Examples
    --------
    >>> actions = ActionList(stage=1)
    >>> actions.add("forward", 0)
    >>> actions.add("backward", 0)
    >>> actions.end("free outputs", [0])
    >>> [action.kind for action in actions.finish().during]
    ['forward', 'backward']
    """

    def __init__(self, stage: int) -> None:
        self._stage = stage
        self._during: list[Action] = []
        self._at_end: list[Action] = []

    def add(self, kind: ActionKind, micro_batch: int) -> None:
        """Append an action."""
        self._during.append(Action(kind, self._stage, micro_batch))

    def end(self, kind: ActionKind, micro_batches: Iterable[int]) -> None:
        """Append an action for each of the micro-batches to the end of ``schedule.step()``."""
        self._at_end += [Action(kind, self._stage, i) for i in micro_batches]

    def finish(self) -> BatchActions:
        """Return the collected actions."""
        return BatchActions(tuple(self._during), tuple(self._at_end))
