"""The schedule: all operator calls of a training step under a plan, in order, and the storages freed after each call.

A schedule is made from a joint graph and a keep mask, which says for each node whether its value is kept. Forward calls
run in the order they were traced. Values that a backward call needs and that were not kept are recomputed just before
this call. No call is recomputed twice. Each storage is freed right after its last use (liveness analysis).

Source: Kusumoto et al. 2019, section 3 (canonical strategy) and section 4.4 (liveness analysis).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property

from recompviz.core.steps.joint import JointGraph


class Phase(IntEnum):
    """The kind of a step of a schedule or timeline.

    Attributes
    ----------
    FORWARD, RECOMPUTE, BACKWARD
        The step runs a forward call, runs a forward call a second time, or runs a backward call.
    ACCUMULATE
        In this step the gradients arrive at their parameters. Only timelines have such a step.
    OPTIMIZER
        The step of the optimizer. Only timelines have such a step.
    """

    FORWARD = 0
    RECOMPUTE = 1
    BACKWARD = 2
    ACCUMULATE = 3  # a gradient is copied into its parameter's layout
    OPTIMIZER = 4

    @property
    def label(self) -> str:
        """The name of the phase in figures and texts, for example ``"recompute"``."""
        return self.name.lower()


@dataclass(frozen=True, eq=False)
class Schedule:
    """The operator calls of a training step under a plan, in order; frozen.

    Each *step of the schedule* runs one call. ``len(schedule)`` is the number of steps. Calls and storages are given as
    positions in ``joint.calls`` and ``joint.storages``.

    Attributes
    ----------
    joint : JointGraph
        The training step.
    phases : tuple of Phase
        ``FORWARD``, ``RECOMPUTE`` or ``BACKWARD`` for each step.
    calls : tuple of int
        The call that each step runs.
    frees : tuple of tuple of int
        The storages freed right after each step.
    saved : frozenset of int
        The outputs of forward calls that stay allocated from the forward to the backward pass because the backward pass
        reads them.
    """

    joint: JointGraph
    phases: tuple[Phase, ...]
    calls: tuple[int, ...]
    frees: tuple[tuple[int, ...], ...]
    saved: frozenset[int]

    def __len__(self) -> int:
        return len(self.calls)

    @property
    def saved_bytes(self) -> int:
        """The bytes of the storages in :attr:`saved`, rounded up as the allocator does. Parameters are not counted."""
        return sum(self.joint.sizes[s] for s in self.saved)

    @cached_property
    def recomputed(self) -> frozenset[int]:
        """The forward calls that run a second time, as positions in ``joint.calls``."""
        return frozenset(c for c, phase in zip(self.calls, self.phases, strict=True) if phase is Phase.RECOMPUTE)


def make_schedule(joint: JointGraph, keep_mask: Sequence[bool]) -> Schedule:
    """Return the schedule of a training step for a given choice of kept values.

    Parameters
    ----------
    joint : JointGraph
        The operator calls of the training step.
    keep_mask : sequence of bool, length #V
        For each node of the graph of intermediate values, whether its value is kept from the forward to the backward
        pass.

    Examples
    --------
    Recomputing one value adds one step to the schedule:

    >>> from recompviz.core.steps.examples import chain_step
    >>> _, joint = chain_step(sizes=[4, 4, 4])
    >>> keep_all = make_schedule(joint, [True] * 3)
    >>> lean = make_schedule(joint, [True, False, False])
    >>> len(lean) - len(keep_all), sorted(lean.recomputed)
    (1, [1])
    """
    order, phases, saved = _order(joint, keep_mask)
    return Schedule(joint, tuple(phases), tuple(order), _frees(joint, order, saved), frozenset(saved))


def _order(joint: JointGraph, keep_mask: Sequence[bool]) -> tuple[list[int], list[Phase], set[int]]:
    """Return the calls in the order they run, their phases, and the storages saved for the backward pass."""
    forward, forward_reads = joint.forward_count, joint.forward_reads
    keeps = joint.kept_calls(keep_mask)
    order = list(range(forward))
    phases = [Phase.FORWARD] * forward
    saved: set[int] = set()
    recomputed: set[int] = set()

    for b in range(forward, len(joint.calls)):
        pulled: list[int] = []
        stack = [b]
        while stack:  # each forward value read is kept, or its maker runs again
            for s, maker in forward_reads[stack.pop()]:
                if keeps[maker]:
                    saved.add(s)
                elif maker not in recomputed:
                    recomputed.add(maker)
                    pulled.append(maker)
                    stack.append(maker)
        if pulled:
            pulled.sort()  # traced order is a topological order
            order += pulled
            phases += [Phase.RECOMPUTE] * len(pulled)
        order.append(b)
        phases.append(Phase.BACKWARD)
    return order, phases, saved


def _frees(joint: JointGraph, order: Sequence[int], saved: set[int]) -> tuple[tuple[int, ...], ...]:
    """Return for each step of the schedule the storages that are freed after it, because it uses them last."""
    calls, touched, forward = joint.calls, joint.touched, joint.forward_count
    frees: list[tuple[int, ...]] = [()] * len(order)
    # going backwards, the first use found is the last use. The forward pass must not free saved storages, and the
    # caller holds the results (but not the second block that recomputing a result allocates)
    made_again = {s for c in order[forward:] if c < forward for s in calls[c].makes}
    for start, stop, immortal in (
        (forward, len(order), joint.results - made_again),
        (0, forward, joint.results | saved),
    ):
        met = set(immortal)
        for i in range(stop - 1, start - 1, -1):
            last = [s for s in touched[order[i]] if s not in met]
            if last:
                met.update(last)
                frees[i] = tuple(last)
    return tuple(frees)
