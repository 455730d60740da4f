"""The simulator: add up a schedule's bytes.

Outputs are allocated when a call starts, its workspace lives inside it, and what it was the last to
use is freed when it ends. This is the same schedule that the executor runs, so a simulated
timeline differs from a measured one only by what the operators do inside themselves.
"""

from __future__ import annotations

from recompviz.core.joint import Category
from recompviz.core.schedule import Phase, Schedule
from recompviz.core.timeline import Timeline

# the step after the last call: autograd hands the gradients to their parameters
ARRIVAL = "gradients arrive"
# and the one after that
OPTIMIZER_STEP = "optimiser"
OPTIMIZER_SCRATCH = "optimiser's scratch memory"


def simulate_schedule(schedule: Schedule, device: str = "cpu") -> Timeline:
    """The timeline of a schedule.

    Parameters
    ----------
    schedule : Schedule
    device : str
        For the label only; the joint graph already has the allocator's alignment.

    Examples
    --------
    >>> from recompviz.core.examples import chain_step
    >>> from recompviz.core.schedule import make_schedule
    >>> _, joint = chain_step(sizes=[4, 4, 4])
    >>> simulate_schedule(make_schedule(joint, [True] * 3)).transient_peak
    16
    """
    joint = schedule.joint
    sizes = joint.sizes
    events: list[tuple[int, int, int, int]] = []
    labels = [storage.label for storage in joint.storages]
    held: dict[int, tuple[int, int]] = {}  # storage → (category, bytes) of its living block
    rng_label = workspace_label = tangent_label = -1

    def label_of(text: str) -> int:
        labels.append(text)
        return len(labels) - 1

    for i, (c, phase) in enumerate(zip(schedule.calls, schedule.phases, strict=True)):
        call = joint.calls[c]
        for s in call.makes:
            category = category_of(schedule, s, phase)
            held[s] = category, sizes[s]
            events.append((i, s, *held[s]))
        state = 0
        if call.random and c in schedule.recomputed and phase is not Phase.BACKWARD:
            state = joint.rounded(joint.rng_bytes)
        if state:  # taken before the first run; while the second one replays it, the present state waits beside it
            rng_label = label_of("generator state") if rng_label < 0 else rng_label
            events.append((i, rng_label, int(Category.KEPT), state))
        if joint.workspace and (extra := joint.workspace[c]):
            workspace_label = label_of("workspace") if workspace_label < 0 else workspace_label
            events.append((i, workspace_label, Category.WORKSPACE, joint.rounded(extra)))
            events.append((i, workspace_label, Category.WORKSPACE, -joint.rounded(extra)))
        if state and phase is Phase.RECOMPUTE:
            events += [(i, rng_label, int(Category.KEPT), -state)] * 2
        for s in schedule.frees[i]:
            if s in held:
                category, size = held.pop(s)
                events.append((i, s, category, -size))

        if i == joint.forward_count - 1 and joint.tangent_bytes:
            # autograd makes the gradient it starts from, and holds it until the gradients have arrived
            tangent_label = label_of("gradient of the loss")
            events.append((i, tangent_label, Category.GRADIENT, joint.rounded(joint.tangent_bytes)))

    last = len(schedule)
    for s, size in joint.clones:
        category, freed = held.pop(s, (int(Category.PARAMETER_GRADIENT), 0))
        events.append((last, s, Category.PARAMETER_GRADIENT, joint.rounded(size)))
        events.append((last, s, category, -freed))
    if tangent_label >= 0:
        events.append((last, tangent_label, Category.GRADIENT, -joint.rounded(joint.tangent_bytes)))
    phases = [*map(int, schedule.phases), int(Phase.ACCUMULATE)]
    names = [*(joint.calls[c].info.key for c in schedule.calls), ARRIVAL]
    if scratch := joint.optimizer_scratch:
        phases.append(int(Phase.OPTIMIZER))
        names.append(OPTIMIZER_STEP)
        label = label_of(OPTIMIZER_SCRATCH)
        events += [(last + 1, label, int(Category.OPTIMIZER), bytes_) for bytes_ in (scratch, -scratch)]

    kept = [event for event in events if event[3]]
    return Timeline.of_events(
        kept,
        names,
        phases,
        storage_labels=tuple(labels),
        static_bytes=joint.static,
        kind="simulated",
        device=device,
    )


def category_of(schedule: Schedule, storage: int, phase: Phase) -> int:
    """The category of a storage made in a phase: forward values are kept or passing as the plan says."""
    # plain ints: arrays are made of thousands of these, and enumeration members are slow to convert
    if phase is Phase.RECOMPUTE:
        return int(Category.RECOMPUTED)
    category = schedule.joint.storages[storage].category
    if category is Category.KEPT and storage not in schedule.saved:
        return int(Category.PASSING)
    return int(category)
