"""Choose the units that stay gathered, for units of different sizes.

A unit that stays gathered holds its parameters from its forward to its backward pass. The backward passes run in
reverse order. While the backward pass of unit j runs, the units after j are therefore freed already, and of the units
before j, those that stay gathered are held. The memory at this time depends on the sum of the bytes of these units, and
on whether unit j itself stays gathered. For unit j − 1 the choice matters less than for the earlier units: if it does
not stay gathered, its second all-gather is prefetched, so its parameters are in memory anyway.

A dynamic program goes through the units in the order of their forward passes. A state has the bytes of the kept units,
the peak so far and the time so far. A state is dropped if another one is at least as good in all three numbers.

The bytes come from simulations: one in which every unit reshards, and for each unit one in which only this unit stays
gathered. The differences are added up. The sum is exact unless two distant units share a buffer. Therefore the caller
simulates the choices that are returned.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# the most states after each unit, for each of the two choices of the last unit; of more, only some are kept
MOST_STATES = 1500


class _States(NamedTuple):
    """States after some units, one in each position."""

    kept: NDArray[np.int64]  # bytes of the kept units, without the last unit
    peak: NDArray[np.int64]
    time: NDArray[np.float64]
    chosen: NDArray[np.object_]  # a set of units as an int, one bit for each

    def at(self, places: NDArray[np.int64]) -> _States:
        return _States(self.kept[places], self.peak[places], self.time[places], self.chosen[places])


def kept_choices(
    base: NDArray[np.int64],
    extra: NDArray[np.int64],
    unit_at: Sequence[int],
    loss_at: int,
    times: Sequence[float],
) -> list[tuple[int, ...]]:
    """Return the best choices of units that stay gathered, by rising time and falling peak.

    A unit is a module given to ``fully_shard``. A unit that *stays gathered* holds its whole parameters from its
    forward to its backward pass, which saves an all-gather. A unit that *reshards* frees them after its forward pass. A
    *place* is a moment of the training step, for example one operator call. With many units of different sizes, a
    better choice may be missed.

    Parameters
    ----------
    base : numpy.ndarray of int64, shape (#places,)
        The largest number of bytes at each place if every unit reshards.
    extra : numpy.ndarray of int64, shape (#units, #places)
        For each unit, the bytes that are added at each place if this unit stays gathered.
    unit_at : sequence of int, length #places
        For each place, the largest position (row of ``extra``) of a unit whose forward pass has begun and whose
        backward pass has not ended.
    loss_at : int
        The index of a place between the forward and the backward pass.
    times : sequence of float, length #units
        The time of each unit's second all-gather. A unit that stays gathered saves this time.

    Returns
    -------
    list of tuple of int
        For each choice, the positions (rows of ``extra``) of the units that stay gathered.

    Examples
    --------
    Two units of 4 and 6 bytes. At the loss, both may be in memory:

    >>> base = np.array([10, 10, 10, 10])
    >>> extra = np.array([[0, 4, 4, 0], [0, 0, 6, 0]])
    >>> kept_choices(base, extra, [0, 1, 1, 0], 2, [3.0, 3.5])
    [(0, 1), (1,), (0,), ()]
    """
    count = len(times)
    held = extra[:, loss_at]
    where = np.asarray(unit_at)
    start = np.zeros(1, np.int64)
    states = {False: _States(start, start, start.astype(np.float64), np.array([0], object))}
    for j in range(count):
        inside = np.flatnonzero(where == j)
        before = extra[j - 1][inside] if j else np.zeros(len(inside), np.int64)
        after: dict[bool, list[_States]] = {False: [], True: []}
        for last, old in states.items():
            kept = old.kept + (int(held[j - 1]) if last else 0)
            # the units before the last one count fully, the two nearest as simulated
            for mine, into in after.items():
                most = base[inside] + last * before + mine * extra[j][inside]
                peak = np.maximum(old.peak, old.kept + most.max()) if len(inside) else old.peak
                chosen = old.chosen | (1 << j) if mine else old.chosen
                into.append(_States(kept, peak, old.time + (0.0 if mine else times[j]), chosen))
        states = {mine: _thinned(_joined(found)) for mine, found in after.items()}
    ended = _joined(list(states.values()))
    order = np.lexsort((ended.peak, ended.time))
    choices: list[tuple[int, ...]] = []
    least: int | None = None
    for i in order.tolist():
        if least is None or ended.peak[i] < least:
            least = int(ended.peak[i])
            choices.append(tuple(j for j in range(count) if int(ended.chosen[i]) >> j & 1))
    return choices


def _joined(parts: Sequence[_States]) -> _States:
    return _States(
        np.concatenate([part.kept for part in parts]),
        np.concatenate([part.peak for part in parts]),
        np.concatenate([part.time for part in parts]),
        np.concatenate([part.chosen for part in parts]),
    )


def _thinned(states: _States) -> _States:
    """Return the states that no other state is better than; if they are many, the best of each small range of bytes."""
    for parts in (0, 64, 32, 16):
        if parts:
            kept, peak = (_ranges(column, parts) for column in (states.kept, states.peak))
            order = np.lexsort((states.peak, states.time, peak, kept))
            first = np.ones(len(order), np.bool_)
            first[1:] = (np.diff(kept[order]) != 0) | (np.diff(peak[order]) != 0)
            leanest = np.lexsort((states.kept, states.peak))[:1]
            states = states.at(np.union1d(order[first], leanest))
        states = states.at(_best(states))
        if len(states.kept) <= MOST_STATES:
            break
    return states


def _ranges(column: NDArray[np.int64], parts: int) -> NDArray[np.int64]:
    low, high = int(column.min()), int(column.max())
    return (column - low) * parts // max(high - low, 1)


def _best(states: _States) -> NDArray[np.int64]:
    """Return the positions of the states that no other state is better than."""
    chosen: list[int] = []
    # of the chosen states, all with no more kept bytes: the best pairs, by rising peak and falling time
    peaks: list[int] = []
    times: list[float] = []
    for i in np.lexsort((states.peak, states.time, states.kept)).tolist():
        peak, time = int(states.peak[i]), float(states.time[i])
        at = bisect_right(peaks, peak)
        if at and times[at - 1] <= time:
            continue
        chosen.append(i)
        stop = at
        while stop < len(times) and times[stop] >= time:
            stop += 1
        if at and peaks[at - 1] == peak:
            at -= 1
        peaks[at:stop], times[at:stop] = [peak], [time]
    return np.array(chosen, np.int64)
