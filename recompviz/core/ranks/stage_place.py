"""The place of a stage in a pipeline: its number, the schedule, and the order of its passes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PipelineKind = Literal["1f1b", "gpipe", "interleaved"]


@dataclass(frozen=True)
class StagePlace:
    """The place of a stage in a pipeline.

    Attributes
    ----------
    stage : int
        From 0 to ``stages − 1``.
    stages : int
        The number of stages of the pipeline.
    micro_batches : int
        The number of micro-batches in one batch.
    kind : "1f1b", "gpipe" or "interleaved"
        The schedule. With ``"1f1b"`` (PyTorch's ``Schedule1F1B``), a stage alternates forward and backward passes after
        some first forward passes. With ``"gpipe"`` (``ScheduleGPipe``), a stage runs all forward passes first. With
        ``"interleaved"`` (``ScheduleInterleaved1F1B``), a rank has several stages, and
        :mod:`recompviz.core.ranks.interleaved` has the order of the passes.
    return_outputs : bool
        Whether PyTorch's ``schedule.step()`` returns the outputs of the last stage, as it does by default.
    on_demand : bool
        Whether the schedule allocates a buffer when it receives a tensor, and drops an output when it has been sent.
        PyTorch does so from version 2.15 on. See :mod:`recompviz.core.ranks.batch_actions`.
    """

    stage: int
    stages: int
    micro_batches: int
    kind: PipelineKind = "1f1b"
    return_outputs: bool = True
    on_demand: bool = False

    @property
    def first(self) -> bool:
        """Whether the stage gets the inputs of the model."""
        return self.stage == 0

    @property
    def last(self) -> bool:
        """Whether the stage computes the loss."""
        return self.stage == self.stages - 1

    @property
    def returns(self) -> bool:
        """Whether the stage holds its outputs until PyTorch's ``schedule.step()`` returns them."""
        return self.last and self.return_outputs

    @property
    def in_flight(self) -> int:
        """The largest number of micro-batches that have begun their forward pass and not ended their backward pass.

        This is for 1F1B and GPipe only.

        Examples
        --------
        >>> [StagePlace(stage, 4, 8).in_flight for stage in range(4)]
        [4, 3, 2, 1]
        """
        return self.micro_batches if self.kind == "gpipe" else min(self.stages - self.stage, self.micro_batches)

    def order(self) -> list[tuple[bool, int]]:
        """Return the passes in the order in which they run, as pairs (whether the pass is backward, micro-batch).

        This is for 1F1B and GPipe only.

        Examples
        --------
        >>> "".join("FB"[backward] + str(i) for backward, i in StagePlace(1, 3, 4).order())
        'F0F1B0F2B1F3B2B3'
        """
        warm_up = self.in_flight
        passes = [(False, i) for i in range(warm_up)]
        for i in range(self.micro_batches):
            passes.append((True, i))
            if warm_up + i < self.micro_batches:
                passes.append((False, warm_up + i))
        return passes
