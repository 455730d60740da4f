"""The peak memory of a strategy that may run each forward call any number of times.

A plan runs each call at most once more. The bound *any* is also for strategies that run calls several times, and that
free a kept value and compute it again later. To see how much such strategies save, their peak must be known. A strategy
is given as the forward calls that run again before each backward call. Each computation of a value makes a new block of
memory, which is freed after its last read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from recompviz.core.steps.schedule import Phase, Schedule

if TYPE_CHECKING:
    from recompviz.core.steps.joint import JointGraph

# for each backward call, the forward calls that run again just before it, in order
Runs = Mapping[int, Sequence[int]]


def runs_of(schedule: Schedule) -> dict[int, list[int]]:
    """Return for each backward call the forward calls that a schedule runs again just before it, if there are any."""
    runs: dict[int, list[int]] = {}
    waiting: list[int] = []
    for call, phase in zip(schedule.calls, schedule.phases, strict=True):
        if phase is Phase.RECOMPUTE:
            waiting.append(call)
        elif phase is Phase.BACKWARD and waiting:
            runs[call], waiting = waiting, []
    return runs


def needed_runs(joint: JointGraph, runs: Runs) -> dict[int, list[int]]:
    """Return the runs whose outputs are read.

    ``runs`` has, for each backward call, the forward calls that run again just before it. A run of a call is not needed
    if nothing reads its outputs until the call runs again, or until the end.

    Examples
    --------
    Call 0 runs again before backward calls 3 and 4, but only call 4 reads its output:

    >>> from recompviz.core.steps.examples import chain_step
    >>> _, joint = chain_step([4, 4, 4])
    >>> [call.reads for call in joint.calls[3:]]
    [(1,), (3, 0), (4,)]
    >>> needed_runs(joint, {3: [0], 4: [0]})
    {4: [0]}
    """
    calls, read = joint.calls, set[int]()
    needed: dict[int, list[int]] = {}
    for before in reversed(range(joint.forward_count, len(calls))):
        read |= set(calls[before].reads)
        for c in reversed(runs.get(before, ())):
            if read.intersection(calls[c].makes):
                read = (read - set(calls[c].makes)) | set(calls[c].reads)
                needed.setdefault(before, []).insert(0, c)
    return dict(sorted(needed.items()))


def peak_of_runs(joint: JointGraph, runs: Runs) -> int:
    """Return the largest number of transient bytes that are alive at one time under a strategy.

    ``runs`` has, for each backward call, the forward calls that run again just before it. States of the random
    generator, and copies of gradients after the last call, are not counted.

    Raises
    ------
    ValueError
        If a call reads a storage that was never made.
    """
    order = list(range(joint.forward_count))
    for before in range(joint.forward_count, len(joint.calls)):
        order += [*runs.get(before, ()), before]
    change = np.zeros(len(order) + 1, np.int64)
    made: dict[int, int] = {}
    last_use: dict[int, int] = {}

    def block_ends(s: int, end: int) -> None:
        change[made[s]] += joint.sizes[s]
        change[end + 1] -= joint.sizes[s]

    for i, c in enumerate(order):
        for s in joint.calls[c].reads:
            if joint.storages[s].maker >= 0:
                if s not in made:
                    raise ValueError(f"call {c} reads storage {s} before it is made; run its maker first")
                last_use[s] = i
        for s in joint.calls[c].makes:
            if s in made:
                block_ends(s, last_use[s])
            made[s] = last_use[s] = i
    for s in made:
        block_ends(s, len(order) - 1 if s in joint.results else last_use[s])
    alive = change.cumsum()[:-1] + joint.scratch[order]
    alive[joint.forward_count :] += joint.rounded(joint.tangent_bytes)
    return int(alive.max())
