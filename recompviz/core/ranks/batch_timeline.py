"""The timeline of one batch on a rank of a pipeline, put together from its passes.

A *pass* is the forward or backward pass of one micro-batch. PyTorch's ``schedule.step()`` runs all passes of a batch.
At its end, it frees the tensors that it still holds. If it returns outputs, it then copies each output of the last
stage for all micro-batches into one tensor. Afterwards the optimizer runs, once for the batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from recompviz.core.steps.joint import Category
from recompviz.core.steps.schedule import Phase
from recompviz.core.steps.simulation import OPTIMIZER_SCRATCH, OPTIMIZER_STEP
from recompviz.core.steps.timeline import Timeline

if TYPE_CHECKING:
    from numpy.typing import NDArray

# the step of the timeline after the last pass
SCHEDULE_ENDS = "the schedule's step ends"
MERGED_OUTPUTS = "merged outputs"


class BatchTimeline:
    """Collects the events of the passes of a batch. A pass is the forward or backward pass of one micro-batch.

    Events are arrays of int64 of shape (4, #events): the step, storage, category and bytes of each event.

    Attributes
    ----------
    ends : list of int
        For each pass, the index of the timeline step after the last step of the pass.
    """

    def __init__(self) -> None:
        self.ends: list[int] = []
        self._columns: list[NDArray[np.int64]] = []
        self._early: list[NDArray[np.int64]] = []  # events before the first pass
        self._labels: list[str] = []
        self._phases: list[int] = []

    def run(self, rows: NDArray[np.int64], labels: Iterable[str], phases: Iterable[int]) -> None:
        """Append a pass. ``rows`` has the events of the pass; their steps are counted from the start of the pass.

        ``labels`` and ``phases`` have one entry for each step of the pass.
        """
        self._columns += [_shifted(events, len(self._labels)) for events in (*self._early, rows)]
        self._early.clear()
        self._labels += labels
        self._phases += phases
        self.ends.append(len(self._labels))

    def append(self, rows: NDArray[np.int64]) -> None:
        """Append events to the timeline step that was appended last. In ``rows``, the step of each event is 0.

        Before the first pass, the events are put at the start of its first step.
        """
        if self._labels:
            self._columns.append(_shifted(rows, len(self._labels) - 1))
        else:
            self._early.append(rows)

    def finish(
        self,
        held: Iterable[NDArray[np.int64]],
        merged: int,
        scratch: Iterable[int],
        storage_labels: Sequence[str],
        static_bytes: dict[Category, int],
        device: str,
    ) -> tuple[Timeline, tuple[int, ...]]:
        """Append the end of ``schedule.step()`` and the optimizers' steps. Return the timeline and the passes' ends.

        The passes' ends are the entries of :attr:`ends`. The end of ``schedule.step()`` belongs to the last pass. If an
        optimizer has scratch memory, the tuple has one more entry: the end of the last optimizer's step.

        Parameters
        ----------
        held : iterable of numpy.ndarray
            Events that free what the schedule holds until ``schedule.step()`` ends. The step of each event is 0.
        merged : int
            Bytes of the copies of all outputs that ``schedule.step()`` returns; 0 if it returns none. The training loop
            drops these copies immediately.
        scratch : iterable of int
            The scratch memory in bytes of the optimizer of each stage. The optimizers run one after another.
        storage_labels : sequence of str
            The label of each storage.
        static_bytes : dict from Category to int
            The bytes that exist during the whole batch.
        device : str
        """
        names = list(storage_labels)
        self._begin(SCHEDULE_ENDS, Phase.ACCUMULATE)
        for rows in held:
            self.append(rows)
        if merged:
            names.append(MERGED_OUTPUTS)
            self._inside(len(names) - 1, Category.OUTPUT, merged)
        self.ends[-1] = len(self._labels)
        sizes = [size for size in scratch if size]
        for size in sizes:
            self._begin(OPTIMIZER_STEP, Phase.OPTIMIZER)
            names.append(OPTIMIZER_SCRATCH)
            self._inside(len(names) - 1, Category.OPTIMIZER, size)
        if sizes:
            self.ends.append(len(self._labels))
        step, storage, category, delta = np.concatenate(self._columns, axis=1)
        timeline = Timeline(
            step.astype(np.int32),
            storage.astype(np.int32),
            category.astype(np.int8),
            delta,
            tuple(self._labels),
            np.array(self._phases, np.int8),
            storage_labels=tuple(names),
            static_bytes=static_bytes,
            kind="simulated",
            device=device,
        )
        return timeline, tuple(self.ends)

    def _begin(self, label: str, phase: Phase) -> None:
        self._labels.append(label)
        self._phases.append(int(phase))

    def _inside(self, storage: int, category: Category, size: int) -> None:
        """Append a block that is allocated and freed in the last step."""
        rows = [[0, storage, int(category), delta] for delta in (size, -size)]
        self.append(np.array(rows, np.int64).T)


def _shifted(rows: NDArray[np.int64], steps: int) -> NDArray[np.int64]:
    rows = rows.copy()
    rows[0] += steps
    return rows
