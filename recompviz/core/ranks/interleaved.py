"""The memory of a rank that runs several stages of a pipeline in turn: the interleaved 1F1B schedule.

With ``r`` ranks, rank ``i`` runs the stages ``i``, ``i + r``, ``i + 2r``, … The micro-batches are divided into
*rounds*. All micro-batches of a round pass through the rank's first stage, then all of them through its second stage,
and so on. A rank therefore runs more forward passes before its first backward pass than with 1F1B, and waits less.

For each tensor that a rank sends, PyTorch keeps the send request, and so the tensor, until the end of
``schedule.step()``. These tensors are the outputs of stages and the gradients of their inputs. The outputs of the last
stage of the pipeline are not sent. If ``schedule.step()`` does not return them, each output is freed when two passes
have run: its backward pass, and the next forward pass on the rank. If no forward pass follows, it is freed at the end
of ``schedule.step()``.

References
----------
D. Narayanan et al., *Efficient Large-Scale Language Model Training on GPU Clusters Using Megatron-LM*, 2021.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from recompviz.core.ranks.batch_timeline import BatchTimeline
from recompviz.core.ranks.pipeline import StagePasses, StageSteps
from recompviz.core.ranks.rank_layers import Pass
from recompviz.core.steps.joint import Category
from recompviz.core.steps.timeline import Timeline

if TYPE_CHECKING:
    from numpy.typing import NDArray


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
    """

    rank: int
    ranks: int
    local_stages: int
    micro_batches: int
    return_outputs: bool = True

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

    Parameters
    ----------
    steps : sequence of StageSteps
        The steps of the rank's stages, in the order of ``place.stages``.
    place : RankPlace
    keep_masks : sequence of sequence of bool
        For each stage of the rank and each node of the stage, whether the value is kept for the backward pass.
    device : str
        The name of the device for ``Timeline.device``.

    Returns
    -------
    (Timeline, tuple of int)
        The timeline. Then, for each pass of ``place.order()``, the number of timeline steps up to the end of the pass.
        The last pass includes the end of PyTorch's ``schedule.step()``. If an optimizer has scratch memory, the tuple
        has one more entry: the end of the last optimizer's step.
    """
    stages = [_RankStage(step, mask, device) for step, mask in zip(steps, keep_masks, strict=True)]
    offsets = np.cumsum([0, *(len(stage.later.timeline.storage_labels) for stage in stages)]).tolist()
    last = place.ranks * place.local_stages - 1
    batch = BatchTimeline()
    held: list[NDArray[np.int64]] = []
    newest: Pass | None = None  # the forward pass whose output the schedule has in a variable
    stale: NDArray[np.int64] | None = None  # frees of this output, if its backward pass has run
    for one in place.order():
        at = place.stages.index(one.stage)
        stage, backward, offset = stages[at], one.kind == "backward", offsets[at]
        passes = stage.later if one.micro_batch else stage.first
        rows = passes.rows(backward, stage.steps.outputs | (stage.steps.inputs if backward else frozenset()))
        name = f"stage {one.stage + 1}, " if place.local_stages > 1 else ""
        labels = (f"{label} ({name}micro-batch {one.micro_batch})" for label in passes.labels[backward])
        batch.run(_numbered(rows, offset), labels, passes.phases[backward])
        outputs = _numbered(passes.frees(stage.steps.outputs), offset)
        if backward:
            held.append(_numbered(passes.frees(stage.steps.inputs), offset))
            if one.stage == last and not place.return_outputs:
                if newest == Pass("forward", one.stage, one.micro_batch):
                    stale = outputs
                else:
                    batch.free(outputs)
        else:
            if stale is not None:
                batch.free(stale)
            newest, stale = one, None
            if one.stage != last:
                held.append(outputs)
    if stale is not None:
        held.append(stale)
    static: dict[Category, int] = {}
    for stage in stages:
        for kind, size in stage.first.timeline.static_bytes.items():
            static[kind] = static.get(kind, 0) + size
    storage_labels = [label for stage in stages for label in stage.later.timeline.storage_labels]
    scratch = [step.optimizer_scratch for step in steps]
    return batch.finish(held, sum(step.merged for step in steps), scratch, storage_labels, static, device)


def _numbered(rows: NDArray[np.int64], offset: int) -> NDArray[np.int64]:
    """Return events with the numbers of the storages of a rank, which follow those of its stages before."""
    rows = rows.copy()
    rows[1] += offset
    return rows


class _RankStage:
    """The passes of one stage of the rank, for the first and for later micro-batches."""

    def __init__(self, steps: StageSteps, keep_mask: Sequence[bool], device: str) -> None:
        self.steps = steps
        self.first = StagePasses(steps.first, keep_mask, device)
        self.later = StagePasses(steps.later, keep_mask, device)
