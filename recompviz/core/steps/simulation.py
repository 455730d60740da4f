"""The lifetime simulation: add up the bytes that are alive during a schedule.

A call allocates its outputs when it starts, and uses its workspace while it runs. When it ends, storages whose last use
was this call are freed. A planned module runs the same schedule. A simulated timeline therefore differs from a measured
one mainly by memory that operators use internally and that was not calibrated. The sums are computed in arrays, so that
a schedule of thousands of calls can be simulated while the user drags a budget.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from recompviz.core.steps.joint import Category
from recompviz.core.steps.schedule import Phase, Schedule
from recompviz.core.steps.timeline import Timeline

if TYPE_CHECKING:
    from numpy.typing import NDArray

# the step of the timeline after the last call: autograd passes the gradients to their parameters
ARRIVAL = "gradients arrive"
# the gradient from which the backward pass starts
LOSS_GRADIENT = "gradient of the loss"
# the step after the arrival of the gradients
OPTIMIZER_STEP = "optimizer"
OPTIMIZER_SCRATCH = "optimizer's scratch memory"
# places within a step: outputs are allocated, the generator's state is saved, workspace is used, states are freed,
# storages whose last use was this call are freed, and after the last forward call the gradient of the loss is allocated
PLACES = 6


def simulate_schedule(schedule: Schedule, device: str = "cpu") -> Timeline:
    """Return the simulated timeline of a schedule.

    Parameters
    ----------
    schedule : Schedule
    device : str
        The name of the device for ``Timeline.device``. The name does not change the bytes.

    Returns
    -------
    Timeline
        The steps of the schedule, then a step in which the gradients arrive at their parameters. If
        ``schedule.joint.optimizer_scratch`` is not 0, the optimizer's step follows.

    Examples
    --------
    >>> from recompviz.core.steps.examples import chain_step
    >>> from recompviz.core.steps.schedule import make_schedule
    >>> _, joint = chain_step(sizes=[4, 4, 4])
    >>> simulate_schedule(make_schedule(joint, [True] * 3)).transient_peak
    16
    """
    joint, last = schedule.joint, len(schedule)
    calls = np.array(schedule.calls, np.int64)
    phases = np.fromiter(schedule.phases, np.int64, last)
    labels = list(joint.storage_labels)
    events = [_values(schedule, calls, phases)]  # each of shape (5, #): step, place in it, storage, category, bytes

    def add(text: str, category: Category, *rows: tuple[Any, int, Any]) -> None:
        """Append events (steps, place, bytes) of a block that is not an output of a call."""
        labels.append(text)
        for steps, place, delta in rows:
            events.append(np.stack(np.broadcast_arrays(steps, place, len(labels) - 1, int(category), delta)))

    twice = np.zeros(len(joint.calls), np.bool_)
    twice[list(schedule.recomputed)] = True
    replayed = np.flatnonzero((joint.random & twice)[calls] & (phases != Phase.BACKWARD))
    if len(replayed) and (state := joint.rounded(joint.rng_bytes)):
        # saved before the first run; while the second run replays it, the current state is saved as well
        again = np.repeat(replayed[phases[replayed] == Phase.RECOMPUTE], 2)
        add("generator state", Category.KEPT, (replayed, 1, state), (again, 3, -state))
    scratch = joint.scratch[calls]
    if len(inside := np.repeat(np.flatnonzero(scratch), 2)):
        add("workspace", Category.WORKSPACE, (inside, 2, scratch[inside] * np.resize([1, -1], len(inside))))
    if tangent := joint.rounded(joint.tangent_bytes):
        # autograd allocates the gradient it starts from, and holds it until the gradients have arrived
        add(LOSS_GRADIENT, Category.GRADIENT, ([joint.forward_count - 1], 5, tangent), ([last], 5, -tangent))
    names = [*map(joint.keys.__getitem__, schedule.calls), ARRIVAL]
    ends = [int(Phase.ACCUMULATE)]
    if scratch_bytes := joint.optimizer_scratch:
        ends.append(int(Phase.OPTIMIZER))
        names.append(OPTIMIZER_STEP)
        add(OPTIMIZER_SCRATCH, Category.OPTIMIZER, ([last + 1] * 2, 0, [scratch_bytes, -scratch_bytes]))

    step, place, storage, category, delta = np.concatenate(events, axis=1)
    order = np.argsort(step * PLACES + place, kind="stable")
    order = order[delta[order] != 0]
    return Timeline(
        step[order].astype(np.int32),
        storage[order].astype(np.int32),
        category[order].astype(np.int8),
        delta[order],
        tuple(names),
        np.append(phases, ends).astype(np.int8),
        storage_labels=tuple(labels),
        static_bytes=joint.static,
        kind="simulated",
        device=device,
    )


def _values(schedule: Schedule, calls: NDArray[np.int64], phases: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the events of the outputs of calls: allocations at the start of a step, frees after the last use."""
    joint, last = schedule.joint, len(calls)
    start, made = joint.made
    lengths = start[calls + 1] - start[calls]
    makers = np.repeat(np.arange(last), lengths)
    makes = made[np.arange(len(makers)) + np.repeat(start[calls] - np.cumsum(lengths) + lengths, lengths)]
    freers = np.repeat(np.arange(last), np.fromiter(map(len, schedule.frees), np.int64, last))
    freed = np.fromiter(chain.from_iterable(schedule.frees), np.int64, len(freers))

    transient = joint.categories == Category.KEPT
    transient[list(schedule.saved)] = False
    as_made = np.where(transient, int(Category.TRANSIENT), joint.categories)
    categories = np.where(phases[makers] == Phase.RECOMPUTE, int(Category.RECOMPUTED), as_made[makes])

    # a block is freed by the next free of its storage; sorted by storage and time, the two are neighbours
    storages = np.concatenate([makes, freed])
    order = np.lexsort((np.concatenate([2 * makers, 2 * freers + 1]), storages))
    is_made, ends_here = order < len(makes), storages[order][:-1] != storages[order][1:]
    pairs = np.flatnonzero(is_made[:-1] & ~is_made[1:] & ~ends_here)
    pairs = pairs[np.argsort(order[pairs + 1])]  # in the order of the frees again
    block, free = order[pairs], order[pairs + 1] - len(makes)
    sizes = joint.allocated
    events = [
        (makers, np.zeros_like(makers), makes, categories, sizes[makes]),
        (freers[free], np.full_like(free, 4), freed[free], categories[block], -sizes[freed[free]]),
    ]

    # gradients that arrive are copied, and their old blocks are freed
    held = {int(makes[i]): i for i in order[np.append(ends_here, True)] if i < len(makes)} if joint.clones else {}
    for s, size in joint.clones:
        i = held.pop(s, None)
        category, gone = (int(Category.PARAMETER_GRADIENT), 0) if i is None else (int(categories[i]), int(sizes[s]))
        copies = [(last, 0, s, int(Category.PARAMETER_GRADIENT), joint.rounded(size)), (last, 0, s, category, -gone)]
        events.append(tuple(np.array(copies, np.int64).T))
    return np.concatenate([np.stack(part) for part in events], axis=1)


def category_of(schedule: Schedule, storage: int, phase: Phase) -> int:
    """Return the :class:`Category`, as an int, of a storage that is allocated in a phase of the schedule.

    In the phase ``RECOMPUTE``, the category is ``RECOMPUTED``. In other phases, it is ``TRANSIENT`` if the storage is
    ``KEPT`` in the joint graph and not in ``schedule.saved``. Otherwise it is the category in the joint graph.
    """
    # plain ints, because members of an enumeration are slow to convert to arrays
    if phase is Phase.RECOMPUTE:
        return int(Category.RECOMPUTED)
    category = schedule.joint.storages[storage].category
    if category is Category.KEPT and storage not in schedule.saved:
        return int(Category.TRANSIENT)
    return int(category)
