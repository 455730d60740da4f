"""A schedule without liveness analysis: storages are freed only at the ends of segments.

The canonical strategy in section 3 of the paper discards values segment by segment. Liveness analysis (section 4.4)
frees each storage after its last use. The difference between the two simulated peaks is the memory that liveness
analysis saves.

Source: Kusumoto et al. 2019, section 3 and Table 2.
"""

from __future__ import annotations

from dataclasses import replace

from recompviz.core.plans.plan import Plan
from recompviz.core.steps.schedule import Schedule


def freed_at_segment_ends(schedule: Schedule, plan: Plan) -> Schedule:
    """Return a schedule that frees each storage at the end of the segment (:attr:`Plan.segments`) of its last use.

    A storage that the forward pass frees is freed at the end of the forward pass at the latest.

    Parameters
    ----------
    schedule : Schedule
        The schedule of ``plan``, in which storages are freed after their last use.
    plan : Plan

    Returns
    -------
    Schedule
        The same calls in the same order.

    Examples
    --------
    >>> from recompviz.core.steps.examples import chain_step
    >>> from recompviz.core.steps.schedule import make_schedule
    >>> from recompviz.core.steps.simulation import simulate_schedule
    >>> graph, joint = chain_step(sizes=[4, 4, 4])
    >>> keep_all = Plan.keep_all(graph)
    >>> schedule = make_schedule(joint, keep_all.keep_mask.tolist())
    >>> late = freed_at_segment_ends(schedule, keep_all)
    >>> simulate_schedule(schedule).transient_peak, simulate_schedule(late).transient_peak
    (16, 24)
    """
    segments = segment_of_steps(schedule, plan)
    forward = schedule.joint.forward_count
    frees: list[list[int]] = [[] for _ in schedule.frees]
    waiting: list[int] = []
    for i, dying in enumerate(schedule.frees):
        waiting += dying
        ends = i + 1 in (forward, len(segments)) or segments[i + 1] != segments[i]
        if ends:
            frees[i], waiting = waiting, []
    return replace(schedule, frees=tuple(map(tuple, frees)))


def segment_of_steps(schedule: Schedule, plan: Plan) -> list[int]:
    """Return the number of the segment (:attr:`Plan.segments`) of each step of the schedule, counted from 1.

    A step of the forward pass has the highest segment number of the nodes computed so far. Any later step has the
    highest segment number of the forward values that this step or a later step reads.
    """
    joint, segment = schedule.joint, plan.segment
    found: list[int] = []
    now = 1
    for c in schedule.calls[: joint.forward_count]:
        node = joint.calls[c].node
        now = max(now, int(segment[node])) if node >= 0 else now
        found.append(now)
    behind: list[int] = []
    now = 1
    for c in reversed(schedule.calls[joint.forward_count :]):
        makers = [joint.storages[s].maker for s in joint.calls[c].reads]
        nodes = [joint.calls[m].node for m in makers if 0 <= m < joint.forward_count]
        now = max([now, *(int(segment[v]) for v in nodes if v >= 0)])
        behind.append(now)
    return found + behind[::-1]
