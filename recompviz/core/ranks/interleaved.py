"""The memory of a rank that runs several stages of a pipeline in turn: the interleaved 1F1B schedule.

With ``r`` ranks, rank ``i`` runs the stages ``i``, ``i + r``, ``i + 2r``, … The micro-batches are divided into
*rounds*. All micro-batches of a round pass through the rank's first stage, then all of them through its second stage,
and so on. A rank therefore runs more forward passes before its first backward pass than with 1F1B, and waits less.

Until PyTorch 2.14, for each tensor that a rank sends, PyTorch keeps the send request, and so the tensor, until the end
of ``schedule.step()``. These tensors are the outputs of stages and the gradients of their inputs. The outputs of the
last stage of the pipeline are not sent. If ``schedule.step()`` does not return them, each output is freed when two
passes have run: its backward pass, and the next forward pass on the rank. If no forward pass follows, it is freed at
the end of ``schedule.step()``. From PyTorch 2.15 on, a rank allocates its buffers when another rank sends, which
depends on the passes of all ranks. PyTorch computes this order (:attr:`RankPlace.transfers`).

References
----------
D. Narayanan et al., *Efficient Large-Scale Language Model Training on GPU Clusters Using Megatron-LM*, 2021.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from recompviz.core.ranks.batch_actions import Action, BatchActions
from recompviz.core.ranks.batch_run import run_batch
from recompviz.core.ranks.rank_layers import Pass
from recompviz.core.ranks.stage_steps import StageSteps
from recompviz.core.steps.timeline import Timeline


@dataclass(frozen=True)
class RankPlace:
    """The place of a rank in an interleaved pipeline (PyTorch's ``ScheduleInterleaved1F1B``).

    Attributes
    ----------
    rank, ranks : int
        The number of this rank, counted from 0, and the number of ranks.
    local_stages : int
        The number of stages that each rank runs.
    micro_batches : int
        The number of micro-batches in one batch.
    return_outputs : bool
        Whether PyTorch's ``schedule.step()`` returns the outputs of the last stage, as it does by default.
    transfers : tuple of Action, optional
        The passes in their order, and between them the actions that receive tensors, and that free outputs and
        gradients when they have been sent. None if the buffers of all micro-batches exist during the whole batch.
    """

    rank: int
    ranks: int
    local_stages: int
    micro_batches: int
    return_outputs: bool = True
    transfers: tuple[Action, ...] | None = field(default=None, compare=False, repr=False)

    @property
    def stages(self) -> tuple[int, ...]:
        """The numbers of the stages that the rank runs; stages are counted from 0 over the whole pipeline."""
        return tuple(self.rank + self.ranks * i for i in range(self.local_stages))

    @property
    def round_size(self) -> int:
        """The number of micro-batches in a round.

        All micro-batches of a round pass through one stage of the rank before they pass through its next stage. There
        are ``micro_batches // ranks`` rounds, but at least one.
        """
        return self.micro_batches // max(1, self.micro_batches // self.ranks)

    @property
    def is_possible(self) -> bool:
        """Whether the micro-batches can be divided into equal rounds; see :attr:`round_size`."""
        return self.micro_batches % self.round_size == 0

    @property
    def warm_up(self) -> int:
        """The number of forward passes that run before forward and backward passes alternate.

        The alternation begins with a forward pass, if one is left.
        """
        most = (self.local_stages - 1) * self.round_size + 2 * (self.ranks - 1 - self.rank)
        return min(most, self.micro_batches * self.local_stages)

    def order(self) -> tuple[Pass, ...]:
        """Return all passes of the rank over one batch, in the order in which they run.

        Examples
        --------
        Two ranks with two stages each, and two micro-batches. The text has for each pass "f" or "b" (forward or
        backward), the stage and the micro-batch:

        >>> " ".join(f"{p.kind[0]}{p.stage}{p.micro_batch}" for p in RankPlace(1, 2, 2, 2).order())
        'f10 f11 f30 b30 f31 b31 b10 b11'
        """
        forward = self._turns(range(self.local_stages))
        backward = self._turns(range(self.local_stages - 1, -1, -1))
        passes = [Pass("forward", *turn) for turn in forward[: self.warm_up]]
        for i, turn in enumerate(backward):
            if self.warm_up + i < len(forward):
                passes.append(Pass("forward", *forward[self.warm_up + i]))
            passes.append(Pass("backward", *turn))
        return tuple(passes)

    def _turns(self, places: Sequence[int]) -> list[tuple[int, int]]:
        """Return pairs (stage, micro-batch), round after round; the stages of a round in the given order."""
        size = self.round_size
        return [
            (self.stages[place], start + i)
            for start in range(0, self.micro_batches, size)
            for place in places
            for i in range(size)
        ]


def interleaved_passes(
    steps: Sequence[StageSteps], place: RankPlace, keep_masks: Sequence[Sequence[bool]], device: str = "cpu"
) -> tuple[Timeline, tuple[int, ...]]:
    """Return the predicted timeline of a rank over one batch, and the ends of the passes in this timeline.

    The ends are those of the passes of ``place.order()``, as :func:`recompviz.core.ranks.batch_run.run_batch` returns
    them.

    Parameters
    ----------
    steps : sequence of StageSteps
        The steps of the stages ``place.stages``, in this order.
    place : RankPlace
    keep_masks : sequence of sequence of bool
        For each stage and each node of the stage, whether the value is kept for the backward pass.
    device : str
        The name of the device for ``Timeline.device``.
    """
    return run_batch(rank_actions(place), place.stages, steps, keep_masks, device)


def rank_actions(place: RankPlace) -> BatchActions:
    """Return the actions of a rank over one batch.

    Examples
    --------
    >>> actions = rank_actions(RankPlace(1, 2, 2, 2))
    >>> [str(action.stage) + action.kind[0] for action in actions.passes] == "1f 1f 3f 3b 3f 3b 1b 1b".split()
    True
    >>> sorted({action.kind for action in actions.at_end})
    ['free outputs', 'free sent gradients']
    """
    last = place.ranks * place.local_stages - 1
    return _with_all_buffers(place, last) if place.transfers is None else _on_demand(place, place.transfers, last)


def _with_all_buffers(place: RankPlace, last: int) -> BatchActions:
    """Return the actions of a rank whose buffers exist during the whole batch, as until PyTorch 2.14."""
    during: list[Action] = []
    at_end: list[Action] = []
    newest: Pass | None = None  # the forward pass whose output the schedule has in a variable
    stale: Action | None = None  # frees this output, if its backward pass has run
    for one in place.order():
        during.append(Action("backward" if one.kind == "backward" else "forward", one.stage, one.micro_batch))
        free_outputs = Action("free outputs", one.stage, one.micro_batch)
        if one.kind == "backward":
            at_end.append(Action("free sent gradients", one.stage, one.micro_batch))
            if one.stage == last and not place.return_outputs:
                if newest == Pass("forward", one.stage, one.micro_batch):
                    stale = free_outputs
                else:
                    during.append(free_outputs)
        else:
            if stale is not None:
                during.append(stale)
            newest, stale = one, None
            if one.stage != last:
                at_end.append(free_outputs)
    return BatchActions(tuple(during), (*at_end, stale) if stale else tuple(at_end))


def _on_demand(place: RankPlace, transfers: Sequence[Action], last: int) -> BatchActions:
    """Return the passes and transfers, and what is freed after each backward pass, as from PyTorch 2.15 on.

    On the last stage of the pipeline, the losses hold what was received.
    """
    during: list[Action] = []
    for action in transfers:
        during.append(action)
        if action.kind == "backward":
            _, stage, i = action
            if stage != last:
                during.append(Action("free gradients", stage, i))
                during += [Action("free values", stage, i)] if stage else []
            elif not place.return_outputs:
                during.append(Action("free outputs", stage, i))
    return BatchActions(tuple(during))
