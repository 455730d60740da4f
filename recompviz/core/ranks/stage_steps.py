"""The training step of a stage of a pipeline for one micro-batch.

It is made from the traced step of the stage alone. In a pipeline, the inputs and the gradients of the outputs are
received, and parameter gradients are accumulated over the micro-batches. The schedule may hold the stage's outputs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from recompviz.core.ranks.sharding import OUTSIDE, ROOT, unit_of_calls
from recompviz.core.ranks.stage_place import StagePlace
from recompviz.core.ranks.step_editor import StepEditor
from recompviz.core.steps.joint import Category, JointGraph

# the label of the buffers of received gradients
RECEIVED_GRADIENTS = "received gradients"


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
    drops_outputs : bool
        Whether the schedule drops an output when it has been sent. Then a value that autograd saved is freed within the
        backward pass, and the schedule frees only outputs that autograd did not save.
    received_values, received_gradients : tuple of (int, int)
        The buffers that are allocated for each micro-batch, as pairs (storage, bytes): of the stage's inputs, and of
        the gradients of its outputs. Empty if the buffers of all micro-batches exist during the whole batch.
    """

    first: JointGraph
    later: JointGraph
    inputs: frozenset[int]
    outputs: frozenset[int]
    merged: int = 0
    optimizer_scratch: int = 0
    drops_outputs: bool = False
    received_values: tuple[tuple[int, int], ...] = ()
    received_gradients: tuple[tuple[int, int], ...] = ()


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
    steps = StageSteps(first, later, sent, own, merged, joint.optimizer_scratch)
    if not place.on_demand:
        return steps
    return replace(
        steps,
        drops_outputs=not place.last,
        received_values=tuple((s, joint.sizes[s]) for s in _inputs(joint) if not place.first),
        received_gradients=_received_gradients(joint, first) if not place.last else (),
    )


def _inputs(joint: JointGraph) -> list[int]:
    return [s for s, storage in enumerate(joint.storages) if storage.maker < 0 and storage.category is Category.INPUT]


def _received_gradients(joint: JointGraph, edited: JointGraph) -> tuple[tuple[int, int], ...]:
    """Return the storage that stands for the received gradients in the edited joint graph, with its bytes."""
    size = sum(joint.sizes[s] for s in joint.calls[joint.forward_count].makes)
    return tuple((s, size) for s, storage in enumerate(edited.storages) if storage.label == RECEIVED_GRADIENTS)


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
    inputs = _inputs(joint)
    for i, storage in enumerate(joint.storages):
        if storage.maker < 0 and storage.category in (Category.INPUT, Category.TARGET):
            # one block for each micro-batch exists all the time: of the inputs, or where they are received
            received_later = place.on_demand and not place.first and i in inputs
            editor.resize(i, 0 if received_later else storage.size * place.micro_batches)
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
        editor.storage(0 if place.on_demand else size * place.micro_batches, Category.INPUT, RECEIVED_GRADIENTS)
        if place.on_demand:  # the schedule drops them
            results -= outputs
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
