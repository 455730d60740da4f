"""Keep parameters gathered, or gather them again: the trade-off of communication, recomputation and peak on one rank.

A unit that reshards frees its gathered parameters after its forward pass, and gathers them a second time for its
backward pass. A gathered parameter is therefore like a value of the forward pass: it is kept or made again. Each point
of the trade-off has both choices: the units that keep their parameters gathered, and a plan for the values.

Only some choices of units are tried. All parameters that are kept gathered are alive when the backward pass starts. A
unit that keeps its parameters needs no buffer for a prefetched all-gather. The backward pass frees the parameters of
the last units first. If all units have equal bytes, the last units should therefore keep their parameters. For units
with different bytes, :mod:`.kept_units` finds choices by a dynamic program.

If all units have equal bytes and nothing is recomputed, at most one of two statements is true: "no choice is better
than resharding every unit", and "some choice is better than keeping every second unit gathered". Let b be the bytes of
the gathered parameters of one unit, L the bytes at the loss, and P the bytes in the backward pass of the last unit. L
and P are the bytes if every unit reshards.

- P includes the parameters of two units: those of the last unit, and the prefetched buffer of the unit before it. If
  L + b ≤ P, keeping the last unit gathered takes no more memory than resharding it, and saves an all-gather. The first
  statement is then false.
- If L + b > P, let k be the number of units that "keeping every second unit" keeps. It takes L + k·b bytes at the loss.
  The backward pass of the last unit takes less, P + (k − 1)·b bytes, because one of the two units in P is kept. So the
  peak is L + k·b. Every choice that takes no more time keeps at least k units, and needs at least as many bytes. The
  second statement is then false.

If units have different bytes, both statements can be true: small units save more latency for each byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from recompviz.core.graphs.graph import Graph
from recompviz.core.live.model import profile_function
from recompviz.core.plans.plan import Plan
from recompviz.core.ranks.kept_units import kept_choices
from recompviz.core.ranks.sharded_step import sharded_step
from recompviz.core.ranks.sharding import ROOT, ShardedUnit, Sharding, unit_of_calls
from recompviz.core.steps.joint import JointGraph
from recompviz.core.steps.schedule import make_schedule
from recompviz.core.steps.simulation import simulate_schedule

# the most plans that are simulated for each choice of units
MOST_PLANS = 24
# the most choices of unequal units that are simulated
MOST_CHOICES = 128


@dataclass(frozen=True)
class GatherTime:
    """The time of an all-gather: a latency, plus the received bytes divided by the bandwidth.

    Attributes
    ----------
    latency : float
        Time of an all-gather of no bytes, in the unit of ``graph.time``, for example milliseconds.
    bandwidth : float
        Bytes that a rank receives in one unit of time.
    """

    latency: float
    bandwidth: float

    def of(self, whole: int, shards: int) -> float:
        """Return the time of an all-gather of ``whole`` bytes that are divided evenly among ``shards`` ranks.

        A rank receives all bytes except its own part.

        Examples
        --------
        >>> GatherTime(latency=0.5, bandwidth=1000).of(4000, shards=4)
        3.5
        """
        return self.latency + whole * (shards - 1) / shards / self.bandwidth


@dataclass(frozen=True, eq=False)
class ReshardPoint:
    """One point of the trade-off: which units keep their parameters gathered, and a plan for the values.

    Attributes
    ----------
    kept : tuple of str
        The names of the units that keep their parameters gathered from the forward to the backward pass. Wrap these
        units with ``reshard_after_forward=False``.
    plan : Plan
        The plan for the values.
    gathering : float
        The time of all second all-gathers except that of the root, in the unit of ``graph.time``. The time is counted
        in full, as if no computation ran during an all-gather.
    overhead : float
        The time of recomputation, in the unit of ``graph.time``.
    peak : int
        The peak of the rank in total bytes (parameters included).
    """

    kept: tuple[str, ...]
    plan: Plan
    gathering: float
    overhead: float
    peak: int

    @property
    def time(self) -> float:
        """The sum of ``gathering`` and ``overhead``, in the unit of ``graph.time``."""
        return self.gathering + self.overhead

    def __repr__(self) -> str:
        return (
            f"ReshardPoint({len(self.kept)} units kept, gathering {self.gathering:.4g} + recomputation "
            f"{self.overhead:.4g}, peak {self.peak})"
        )


def reshard_point(
    graph: Graph, joint: JointGraph, sharding: Sharding, kept: Sequence[str], plan: Plan, gather: GatherTime
) -> ReshardPoint:
    """Return the point of one choice of units and one plan.

    ``kept`` has the names of the units that keep their parameters gathered. The other arguments and the errors are as
    for :func:`reshard_front`.
    """
    return _points(graph, joint, sharding, kept, [plan], gather)[0]


def reshard_front(
    graph: Graph, joint: JointGraph, sharding: Sharding, plans: Sequence[Plan], gather: GatherTime
) -> tuple[ReshardPoint, ...]:
    """Return the Pareto front of time and peak over all points that were tried, by rising time and falling peak.

    A point is a choice of the units that keep their parameters gathered, and one of ``plans``.

    Parameters
    ----------
    graph : Graph
    joint : JointGraph
        The training step on one device, without collectives.
    sharding : Sharding
        How parameters are divided. The attribute ``reshard`` of the units is not used, except that of the root.
    plans : sequence of Plan
        Plans of the graph. If there are more than 24, 24 evenly spaced ones are tried for each choice of units.
    gather : GatherTime
        The time of an all-gather.

    Raises
    ------
    GraphError
        If the calls of a unit are not consecutive, because the unit runs several times.
    """
    if len(plans) > MOST_PLANS:
        plans = [plans[int(i)] for i in np.unique(np.linspace(0, len(plans) - 1, MOST_PLANS).astype(int))]
    points = [
        point
        for kept in dict.fromkeys(tuple(sorted(kept)) for kept in _choices(graph, joint, sharding, gather))
        for point in _points(graph, joint, sharding, kept, plans, gather)
    ]
    points.sort(key=lambda point: (point.time, point.peak))
    front: list[ReshardPoint] = []
    for point in points:
        if not front or point.peak < front[-1].peak:
            front.append(point)
    return tuple(front)


def _choices(graph: Graph, joint: JointGraph, sharding: Sharding, gather: GatherTime) -> list[tuple[str, ...]]:
    """Return the choices of units that are tried: for each number of units the last ones; more for unequal units."""
    shards = sharding.shards
    wholes = {
        unit.name: sum(p.padded(shards) * shards * p.itemsize for p in unit.parameters)
        for unit in sharding.units
        if unit.name != ROOT and unit.parameters
    }
    names = list(wholes)
    last = [tuple(names[len(names) - count :]) for count in range(len(names) + 1)]
    if len(set(wholes.values())) <= 1:
        return last  # no choice is better, as the module's text shows
    times = [gather.of(whole, shards) for whole in wholes.values()]
    keep = [True] * len(graph)
    base = _most_at_calls(joint, sharding, (), keep)
    extra = np.stack([_most_at_calls(joint, sharding, (name,), keep) - base for name in names])
    found = kept_choices(base, extra, _unit_at(joint, names), joint.forward_count, times)
    if len(found) > MOST_CHOICES:
        # evenly by time, because every choice is simulated
        found = [found[int(i)] for i in np.unique(np.linspace(0, len(found) - 1, MOST_CHOICES).astype(int))]
    return [*last, *(tuple(names[u] for u in kept) for kept in found)]


def _most_at_calls(
    joint: JointGraph, sharding: Sharding, kept: Sequence[str], keep: Sequence[bool]
) -> NDArray[np.int64]:
    """Return the most bytes at each call of ``joint`` and the collectives before it, and after the last call."""
    whole = sharded_step(joint, replace(sharding, units=_with_kept(sharding, kept)))
    schedule = make_schedule(whole, list(keep))
    profile = simulate_schedule(schedule).profile
    most = np.zeros(len(joint.calls) + 1, np.int64)
    place = 0
    for i, call in enumerate(schedule.calls):
        most[place] = max(most[place], profile[i])
        if place < len(joint.calls) and whole.calls[call].info is joint.calls[place].info:
            place += 1
    most[place] = max(most[place], profile[len(schedule.calls) :].max())
    return most


def _unit_at(joint: JointGraph, names: Sequence[str]) -> list[int]:
    """Return for each call, and for the end, the last unit of ``names`` whose forward or backward pass is under way."""
    own, count = unit_of_calls(joint, [ROOT, *names]), joint.forward_count
    found = [0] * (len(own) + 1)
    now = 0
    for c in range(count):
        now = max(now, own[c] - 1)
        found[c] = now
    now = len(names) - 1
    for c in range(count, len(own)):
        now = min(now, own[c] - 1) if own[c] > 0 else now
        found[c] = now
    return found


def _with_kept(sharding: Sharding, kept: Sequence[str]) -> tuple[ShardedUnit, ...]:
    return tuple(replace(unit, reshard=unit.name not in kept) if unit.name != ROOT else unit for unit in sharding.units)


def _points(
    graph: Graph,
    joint: JointGraph,
    sharding: Sharding,
    kept: Sequence[str],
    plans: Sequence[Plan],
    gather: GatherTime,
) -> list[ReshardPoint]:
    units = _with_kept(sharding, kept)
    shards = sharding.shards
    time = sum(
        gather.of(sum(p.padded(shards) * shards * p.itemsize for p in unit.parameters), shards)
        for unit in units
        if unit.reshard and unit.name != ROOT and unit.parameters
    )
    profile = profile_function(graph, sharded_step(joint, replace(sharding, units=units)))
    names = tuple(unit.name for unit in units if unit.name in kept)
    return [ReshardPoint(names, plan, time, plan.overhead, int(profile(plan).max())) for plan in plans]
