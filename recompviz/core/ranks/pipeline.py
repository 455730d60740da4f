"""The memory of one rank of a pipeline, whose stage has several micro-batches in flight at the same time.

A *stage* is a part of a model on one rank. A batch is divided into *micro-batches*. Each micro-batch passes through the
stages one after another. A stage runs the forward passes of some micro-batches before its first backward pass. With
GPipe, it runs all of them. With 1F1B, it runs as many as there are stages from this stage to the last one, both
included, but no more than there are micro-batches. The values that the stage's plan keeps are in memory once for each
micro-batch in flight.

PyTorch's schedules return the outputs of the last stage unless they are called with ``return_outputs=False``. If a
schedule returns them, the last stage holds at the end the outputs of all micro-batches, and one copy of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from recompviz.core.ranks.batch_actions import ActionList, BatchActions
from recompviz.core.ranks.batch_run import run_batch
from recompviz.core.ranks.stage_place import StagePlace
from recompviz.core.ranks.stage_steps import StageSteps
from recompviz.core.steps.timeline import Timeline


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
    return run_batch(stage_actions(place), [place.stage], [steps], [keep_mask], device)


def stage_actions(place: StagePlace) -> BatchActions:
    """Return the actions of a stage over one batch, with 1F1B or GPipe.

    Examples
    --------
    >>> for on_demand in (False, True):
    ...     actions = stage_actions(StagePlace(0, 2, 2, "gpipe", on_demand=on_demand))
    ...     print(", ".join(f"{action.kind} {action.micro_batch}" for action in actions.during[:4]))
    forward 0, forward 1, backward 0, backward 1
    forward 0, forward 1, free outputs 0, free outputs 1
    """
    if not place.on_demand:
        return _with_all_buffers(place)
    return _gpipe_on_demand(place) if place.kind == "gpipe" else _1f1b_on_demand(place)


def _with_all_buffers(place: StagePlace) -> BatchActions:
    """Return the actions of a stage whose buffers exist during the whole batch, as until PyTorch 2.14."""
    actions = ActionList(place.stage)
    ran: set[tuple[bool, int]] = set()
    held = set() if place.returns else set(range(place.micro_batches))  # whose outputs the schedule will free
    for backward, i in place.order():
        actions.add("backward" if backward else "forward", i)
        ran.add((backward, i))
        if backward and i and place.kind != "gpipe":  # the gradient that was sent is dropped when the next one is sent
            actions.add("free sent gradients", i - 1)
        for j in sorted(j for j in held if _released(place, j, ran)):
            actions.add("free outputs", j)
            held.remove(j)
    _end_of_sends(actions, place)
    actions.end("free outputs", sorted(held))
    return actions.finish()


def _released(place: StagePlace, i: int, ran: set[tuple[bool, int]]) -> bool:
    """Return whether the schedule holds the output of a micro-batch no longer, after the passes in ``ran``.

    This is for PyTorch until 2.14. It holds each output until its backward pass has run. The last stage also holds the
    output of the last forward pass that has run. Other stages of 1F1B hold the last output that they sent before their
    first backward pass until all forward passes and the backward pass after these have run, because they keep the
    request that sent it. Other stages of GPipe keep all requests, so they hold all outputs until the step of the
    schedule ends.
    """
    if (True, i) not in ran:
        return False
    if place.last:
        return (False, i + 1) in ran
    if place.kind == "gpipe":
        return False
    kept = i == place.in_flight - 2
    return not kept or (True, place.micro_batches - place.in_flight) in ran


def _1f1b_on_demand(place: StagePlace) -> BatchActions:
    """Return the actions of a stage of 1F1B, as from PyTorch 2.15 on.

    An output is sent when the next forward pass has run, or together with the receive before the next backward pass.
    After the last forward pass, a variable of the schedule holds each received gradient until the next is received.
    """
    actions, count, warm_up = ActionList(place.stage), place.micro_batches, place.in_flight
    for backward, i in place.order():
        if not backward:
            _forward_on_demand(actions, place, i)
            if not place.last and 0 < i < warm_up:
                actions.add("free outputs", i - 1)
            continue
        if not place.last:
            actions.add("receive gradients", i)
            if i > count - warm_up + 1:
                actions.add("free gradients", i - 1)
            if i + warm_up - 1 < count:
                actions.add("free outputs", i + warm_up - 1)
        _backward_on_demand(actions, place, i)
        if not place.last and i <= count - warm_up:
            actions.add("free gradients", i)
        if i:
            actions.add("free sent gradients", i - 1)
    if not place.last and warm_up > 1:
        actions.end("free gradients", [count - 1])
    _end_of_sends(actions, place)
    return actions.finish()


def _gpipe_on_demand(place: StagePlace) -> BatchActions:
    """Return the actions of a stage of GPipe, as from PyTorch 2.15 on.

    The outputs are freed after the last forward pass. A variable of the schedule holds each received gradient until the
    next is received.
    """
    actions, micro_batches = ActionList(place.stage), range(place.micro_batches)
    for i in micro_batches:
        _forward_on_demand(actions, place, i)
    if not place.last:
        for i in micro_batches:
            actions.add("free outputs", i)
    for i in micro_batches:
        if not place.last:
            actions.add("receive gradients", i)
            if i:
                actions.add("free gradients", i - 1)
        _backward_on_demand(actions, place, i)
    if not place.last:
        actions.end("free gradients", micro_batches[-1:])
    _end_of_sends(actions, place)
    return actions.finish()


def _forward_on_demand(actions: ActionList, place: StagePlace, i: int) -> None:
    if not place.first:
        actions.add("receive values", i)
    actions.add("forward", i)


def _backward_on_demand(actions: ActionList, place: StagePlace, i: int) -> None:
    """Append a backward pass and what it frees. On the last stage, the losses hold what was received."""
    actions.add("backward", i)
    if place.last and not place.returns:
        actions.add("free outputs", i)
    if not place.first and not place.last:
        actions.add("free values", i)


def _end_of_sends(actions: ActionList, place: StagePlace) -> None:
    """Let the end of ``schedule.step()`` free the sent gradients: all of them with GPipe, and the last with 1F1B."""
    sent = range(place.micro_batches)
    actions.end("free sent gradients", sent if place.kind == "gpipe" else sent[-1:])
