"""Simulate the memory of a rank of a pipeline over one batch, from the actions of its schedule.

The training step of a stage for one micro-batch is simulated as any other training step. Its timeline is divided into
the forward and the backward pass. The passes of all micro-batches are then put together in the order of the actions,
with what the schedule receives and frees between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from recompviz.core.ranks.batch_actions import Action, ActionKind, BatchActions
from recompviz.core.ranks.batch_timeline import BatchTimeline
from recompviz.core.ranks.stage_steps import StageSteps
from recompviz.core.steps.joint import Category, JointGraph
from recompviz.core.steps.schedule import make_schedule
from recompviz.core.steps.simulation import LOSS_GRADIENT, simulate_schedule
from recompviz.core.steps.timeline import Timeline

if TYPE_CHECKING:
    from numpy.typing import NDArray


def run_batch(
    actions: BatchActions,
    numbers: Sequence[int],
    steps: Sequence[StageSteps],
    keep_masks: Sequence[Sequence[bool]],
    device: str = "cpu",
) -> tuple[Timeline, tuple[int, ...]]:
    """Return the predicted timeline of a rank over one batch, and the ends of the passes in this timeline.

    Parameters
    ----------
    actions : BatchActions
    numbers : sequence of int
        The numbers of the rank's stages.
    steps : sequence of StageSteps
        The training steps of these stages.
    keep_masks : sequence of sequence of bool
        For each stage and each node of the stage, whether the value is kept for the backward pass.
    device : str
        The name of the device for ``Timeline.device``.

    Returns
    -------
    (Timeline, tuple of int)
        The timeline. Then, for each pass of ``actions.passes``, the number of timeline steps up to the end of the pass.
        The last pass includes the end of PyTorch's ``schedule.step()``. If an optimizer has scratch memory, the tuple
        has one more entry: the end of the last optimizer's step.
    """
    stages: dict[int, _RankStage] = {}
    storages = 0
    for number, step, keep_mask in zip(numbers, steps, keep_masks, strict=True):
        stages[number] = stage = _RankStage(step, keep_mask, storages, device)
        storages += len(stage.labels)
    batch = BatchTimeline()
    for action in actions.during:
        stage = stages[action.stage]
        if action.kind in ("forward", "backward"):
            name = f"stage {action.stage + 1}, " if len(numbers) > 1 else ""
            stage.run(batch, action, f"{name}micro-batch {action.micro_batch}")
        else:
            batch.append(stage.events(action.kind))
    static: dict[Category, int] = {}
    for stage in stages.values():
        for kind, size in stage.static_bytes.items():
            static[kind] = static.get(kind, 0) + size
    return batch.finish(
        [stages[action.stage].events(action.kind) for action in actions.at_end],
        sum(step.merged for step in steps),
        [step.optimizer_scratch for step in steps],
        [label for stage in stages.values() for label in stage.labels],
        static,
        device,
    )


class _RankStage:
    """The events of one stage of the rank. The numbers of its storages begin with ``offset``."""

    def __init__(self, steps: StageSteps, keep_mask: Sequence[bool], offset: int, device: str) -> None:
        self.steps, self._offset = steps, offset
        self._first = _StagePasses(steps.first, keep_mask, device)
        self._later = _StagePasses(steps.later, keep_mask, device)
        self.labels = self._later.timeline.storage_labels
        self.static_bytes = self._first.timeline.static_bytes
        # the outputs that the schedule frees; the others are saved by autograd, and freed within the backward pass
        self._outputs = steps.outputs & self._later.freed_in_forward if steps.drops_outputs else steps.outputs

    def run(self, batch: BatchTimeline, action: Action, name: str) -> None:
        """Append a pass. ``name`` is put behind the labels of its timeline steps."""
        passes, backward = self._later if action.micro_batch else self._first, action.kind == "backward"
        held = self.steps.inputs if backward else self._outputs
        if backward and not self.steps.drops_outputs:
            held = held | self._outputs
        rows = passes.rows(backward, held)
        labels = (f"{label} ({name})" for label in passes.labels[backward])
        batch.run(self._numbered(rows), labels, passes.phases[backward])

    def events(self, kind: ActionKind) -> NDArray[np.int64]:
        """Return the events of an action that is not a pass, as columns (0, storage, category, bytes)."""
        steps, passes = self.steps, self._later
        if kind in ("free outputs", "free sent gradients"):
            return self._numbered(passes.frees(self._outputs if kind == "free outputs" else steps.inputs))
        blocks = steps.received_values if kind.endswith("values") else steps.received_gradients
        sign = 1 if kind.startswith("receive") else -1
        rows = [[0, storage, int(Category.INPUT), sign * size] for storage, size in blocks]
        return self._numbered(np.array(rows, np.int64).reshape(-1, 4).T)

    def _numbered(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        rows = rows.copy()
        rows[1] += self._offset
        return rows


class _StagePasses:
    """The simulated timeline of one micro-batch, divided into the forward and the backward pass.

    Parameters
    ----------
    joint : JointGraph
        The training step of the micro-batch.
    keep_mask : sequence of bool, length #V
        For each node, whether its value is kept for the backward pass.
    device : str
        The name of the device for ``Timeline.device``.
    """

    def __init__(self, joint: JointGraph, keep_mask: Sequence[bool], device: str) -> None:
        self.timeline = timeline = simulate_schedule(make_schedule(joint, list(keep_mask)), device)
        count = joint.forward_count
        self.sizes = joint.sizes
        self.labels = {False: timeline.step_labels[:count], True: timeline.step_labels[count:]}
        self.phases = {False: timeline.phases[:count].tolist(), True: timeline.phases[count:].tolist()}
        table = np.stack([timeline.step, timeline.storage, timeline.category, timeline.delta]).astype(np.int64)
        later = timeline.step >= count
        if joint.tangent_bytes:  # the schedule starts the backward pass of a loss later than a plain step does
            starts = timeline.storage == timeline.storage_labels.index(LOSS_GRADIENT)
            table[0] = np.where(starts & (table[3] > 0), count, table[0])
            later |= starts
            order = np.argsort(table[0], kind="stable")
            table, later = table[:, order], later[order]
        self._rows = {False: table[:, ~later], True: table[:, later]}
        self._rows[True][0] -= count
        before = self._rows[False]
        self.freed_in_forward = frozenset(before[1, before[3] < 0].tolist())
        made = table[3] > 0
        self._categories = dict(zip(table[1, made].tolist(), table[2, made].tolist(), strict=True))

    def rows(self, backward: bool, held: frozenset[int]) -> NDArray[np.int64]:
        """Return the events of the forward or the backward pass, without the frees of the storages in ``held``.

        The array has the shape (4, #events). Each column is one event: (step of the pass, storage, category, bytes).
        """
        rows = self._rows[backward]
        drop = (rows[3] < 0) & np.isin(rows[1], list(held))
        return rows[:, ~drop].copy()

    def frees(self, storages: frozenset[int]) -> NDArray[np.int64]:
        """Return events that free the given storages in step 0, as columns of the same form as in :meth:`rows`."""
        rows = [[0, s, self._categories.get(s, int(Category.OUTPUT)), -self.sizes[s]] for s in sorted(storages)]
        return np.array(rows, np.int64).reshape(-1, 4).T
