"""The memory of one rank of a pipeline, whose stage has several micro-batches in flight at the same time.

A *stage* is a part of a model on one rank. A batch is divided into *micro-batches*. Each micro-batch passes through the
stages one after another. A stage runs the forward passes of some micro-batches before its first backward pass. With
GPipe, it runs all of them. With 1F1B, it runs as many as there are stages from this stage to the last one, both
included, but no more than there are micro-batches. The values that the stage's plan keeps are in memory once for each
micro-batch in flight.

The training step of a stage for one micro-batch is simulated as any other training step. Its timeline is divided into
the forward and the backward pass. The passes of all micro-batches are then put together in the order of the pipeline.

PyTorch's schedules return the outputs of the last stage unless they are called with ``return_outputs=False``. If a
schedule returns them, the last stage holds at the end the outputs of all micro-batches, and one copy of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from recompviz.core.ranks.batch_timeline import BatchTimeline
from recompviz.core.ranks.sharding import OUTSIDE, ROOT, unit_of_calls
from recompviz.core.ranks.step_editor import StepEditor
from recompviz.core.steps.joint import Category, JointGraph
from recompviz.core.steps.schedule import make_schedule
from recompviz.core.steps.simulation import LOSS_GRADIENT, simulate_schedule
from recompviz.core.steps.timeline import Timeline

if TYPE_CHECKING:
    from numpy.typing import NDArray

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
    """

    stage: int
    stages: int
    micro_batches: int
    kind: PipelineKind = "1f1b"
    return_outputs: bool = True

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


@dataclass(frozen=True, eq=False)
class StageSteps:
    """The training step of a stage for one micro-batch, in two variants.

    A storage in ``inputs`` and ``outputs`` is an index into ``first.storages`` and ``later.storages``.

    Attributes
    ----------
    first : JointGraph
        The step of the first micro-batch. The parameter gradients of this step stay as the ``.grad`` of the parameters.
    later : JointGraph
        The step of any later micro-batch. The parameter gradients of this step are added to the ``.grad`` of the
        parameters, and then freed.
    inputs : frozenset of int
        The storages of the gradients of the stage's inputs. These gradients are sent to the previous stage.
    outputs : frozenset of int
        The storages of the stage's outputs.
    merged : int
        Bytes of the copies of all outputs that PyTorch's ``schedule.step()`` returns; 0 if it returns none.
    optimizer_scratch : int
        Bytes that the optimizer's step allocates besides the optimizer's state. The optimizer runs once, after the last
        backward pass.
    """

    first: JointGraph
    later: JointGraph
    inputs: frozenset[int]
    outputs: frozenset[int]
    merged: int = 0
    optimizer_scratch: int = 0


def stage_steps(
    joint: JointGraph,
    place: StagePlace,
    units: Sequence[str],
    sent: Iterable[int],
    nodes: Sequence[int] = (),
    output_bytes: Sequence[int] | None = None,
) -> StageSteps:
    """Return the training step of a stage for the first and for later micro-batches.

    Parameters
    ----------
    joint : JointGraph
        The training step of the stage alone, with one micro-batch. For the last stage, it includes the loss.
    place : StagePlace
    units : sequence of str
        Dotted paths of the modules that run under a plan. Autograd gets all parameter gradients of a unit together,
        when the backward pass of the unit has ended. Autograd gets all other parameter gradients at the end of the
        autograd node that computes them.
    sent : iterable of int
        The storages of the gradients of the stage's inputs.
    nodes : sequence of int, optional
        For each call, the number of the autograd node that runs it, or −1 if it is not known. Consecutive backward
        calls with the same number are one node. By default, each backward call is a node of its own.
    output_bytes : sequence of int, optional
        The bytes of each output of the last stage for one micro-batch. By default, the bytes of the storage in which
        the output lies; a storage may be larger than the output.
    """
    sent = frozenset(sent)
    ends = _node_ends(joint, nodes)
    first, own = _edited(joint, place, units, sent, ends, keep=True)
    later, _ = _edited(joint, place, units, sent, ends, keep=False)
    sizes = [joint.storages[s].size for s in own] if output_bytes is None else output_bytes
    merged = sum(joint.rounded(size * place.micro_batches) for size in sizes) if place.returns else 0
    return StageSteps(first, later, sent, own, merged, joint.optimizer_scratch)


def _edited(
    joint: JointGraph,
    place: StagePlace,
    units: Sequence[str],
    sent: frozenset[int],
    node_ends: Sequence[int],
    keep: bool,
) -> tuple[JointGraph, frozenset[int]]:
    """Return the joint graph of a micro-batch, and the storages of its outputs."""
    editor, count = StepEditor(joint), joint.forward_count
    for i, storage in enumerate(joint.storages):
        # one buffer for each micro-batch exists all the time: of the inputs, or where they are received
        if storage.maker < 0 and storage.category in (Category.INPUT, Category.TARGET):
            editor.resize(i, storage.size * place.micro_batches)
    outputs = frozenset(i for i in joint.results if 0 <= joint.storages[i].maker < count)
    results, clones = set(joint.results), list(joint.clones)
    if place.last:
        # the stage's output is a value of the step; the engine holds it until the next micro-batch
        returned = _returned(joint)
        results |= returned
        outputs = returned
    else:
        received = joint.calls[count].makes
        size = sum(joint.storages[s].size for s in received)
        for s in received:
            editor.resize(s, 0)
        editor.storage(size * place.micro_batches, Category.INPUT, "received gradients")
    owner = unit_of_calls(joint, [ROOT, *units])
    gradients = [
        i
        for i, storage in enumerate(joint.storages)
        if storage.category is Category.PARAMETER_GRADIENT and i in joint.results and i not in sent
    ]
    for c in range(count, len(joint.calls)):
        if owner[c] in (0, OUTSIDE):  # autograd runs it, and frees what a node was given when the node ends
            editor.hold(node_ends[c], joint.calls[c].reads)
    ends = {u: max(c for c in range(count, len(joint.calls)) if owner[c] == u) + 1 for u in set(owner[count:])}
    for i in gradients:
        maker = joint.storages[i].maker
        at = node_ends[maker] + 1 if owner[maker] in (0, OUTSIDE) else ends[owner[maker]]
        copied = next((row for row in clones if row[0] == i), None)
        copy = -1
        if copied is not None:
            clones.remove(copied)
            copy = editor.storage(copied[1], Category.PARAMETER_GRADIENT, joint.storages[i].label)
        if not keep:
            results.discard(i)
            editor.insert(at, f"add {joint.storages[i].label}", reads=[i], backward=True)
        elif copied is not None:
            results.discard(i)
            results.add(copy)
            editor.insert(at, f"copy {joint.storages[i].label}", makes=[copy], reads=[i], backward=True)
    # the optimizer runs once for the batch, and not in the step of a micro-batch
    return replace(editor.finish(results, clones), optimizer_scratch=0), outputs


def _node_ends(joint: JointGraph, nodes: Sequence[int]) -> list[int]:
    """Return for each call the last call of its autograd node."""
    ends = list(range(len(joint.calls)))
    for c in range(len(ends) - 2, joint.forward_count - 1, -1):
        if nodes and nodes[c] >= 0 and nodes[c] == nodes[c + 1]:
            ends[c] = ends[c + 1]
    return ends


def _returned(joint: JointGraph) -> frozenset[int]:
    """Return the storages that the loss reads and the model made: the model's outputs."""
    return frozenset(
        s
        for call in joint.calls[: joint.forward_count]
        if call.info.module == "loss"
        for s in call.reads
        if joint.storages[s].maker >= 0 and joint.calls[joint.storages[s].maker].info.module != "loss"
    )


def stage_timeline(steps: StageSteps, place: StagePlace, keep_mask: Sequence[bool], device: str = "cpu") -> Timeline:
    """Return the predicted timeline of a stage over one batch.

    Parameters
    ----------
    steps : StageSteps
    place : StagePlace
    keep_mask : sequence of bool, length #V
        For each node, whether its value is kept for the backward pass. The plan is the same for every micro-batch.
    device : str
        The name of the device for ``Timeline.device``.
    """
    return stage_passes(steps, place, keep_mask, device)[0]


def stage_passes(
    steps: StageSteps, place: StagePlace, keep_mask: Sequence[bool], device: str = "cpu"
) -> tuple[Timeline, tuple[int, ...]]:
    """Return the predicted timeline of a stage over one batch, and the ends of the passes in this timeline.

    For each pass of ``place.order()``, its end is the number of timeline steps up to the end of the pass. The last pass
    includes the end of PyTorch's ``schedule.step()``. If the optimizer has scratch memory, the tuple has one more
    entry: the end of the optimizer's step. The parameters are those of :func:`stage_timeline`.
    """
    first = StagePasses(steps.first, keep_mask, device)
    later = StagePasses(steps.later, keep_mask, device)
    batch = BatchTimeline()
    ran: set[tuple[bool, int]] = set()
    held = set(range(place.micro_batches))  # the micro-batches whose outputs the schedule holds, or will hold
    for backward, i in place.order():
        passes = later if i else first
        rows = passes.rows(backward, steps.outputs | (steps.inputs if backward else frozenset()))
        batch.run(rows, (f"{label} (micro-batch {i})" for label in passes.labels[backward]), passes.phases[backward])
        if backward and i and place.kind != "gpipe":  # the gradient that was sent is dropped when the next one is sent
            batch.free(passes.frees(steps.inputs))
        ran.add((backward, i))
        dropped = [] if place.returns else [j for j in range(i + 1) if j in held and _released(place, j, ran)]
        held.difference_update(dropped)
        for _ in dropped:
            batch.free(passes.frees(steps.outputs))
    sent = place.micro_batches if place.kind == "gpipe" else 1
    ending = [later.frees(steps.inputs)] * sent
    ending += [later.frees(steps.outputs) for _ in held if not place.returns]
    static = first.timeline.static_bytes
    scratch = [steps.optimizer_scratch]
    return batch.finish(ending, steps.merged, scratch, later.timeline.storage_labels, static, device)


def _released(place: StagePlace, i: int, ran: set[tuple[bool, int]]) -> bool:
    """Return whether the schedule holds the output of a micro-batch no longer, after the passes in ``ran``.

    It holds each output until its backward pass has run. The last stage also holds the output of the last forward pass
    that has run. Other stages of 1F1B hold the last output that they sent before their first backward pass until all
    forward passes and the backward pass after these have run, because they keep the request that sent it. Other stages
    of GPipe keep all requests, so they hold all outputs until the step of the schedule ends.
    """
    if (True, i) not in ran:
        return False
    if place.last:
        return (False, i + 1) in ran
    if place.kind == "gpipe":
        return False
    kept = i == place.in_flight - 2
    return not kept or (True, place.micro_batches - place.in_flight) in ran


class StagePasses:
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
