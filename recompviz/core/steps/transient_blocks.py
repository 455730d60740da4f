"""The transient blocks of a timeline as a table. For each block, the table has the steps at whose peaks it is alive.

*Transient* blocks are all blocks except static memory, such as parameters, which is allocated before the training step
and stays allocated after it. For each step of the timeline, the bytes of the blocks with ``first <= step < stop`` add
up to the step's peak in transient bytes.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from recompviz.core.base.units import format_bytes
from recompviz.core.steps.joint import Category
from recompviz.core.steps.schedule import Phase

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recompviz.core.steps.timeline import Timeline

# number of categories named in the description of a peak, and the characters that it may have with the largest value
NAMED = 3
LONGEST = 175


@dataclass(frozen=True, eq=False)
class Blocks:
    """The blocks of a timeline, without static memory, in the order they were allocated; frozen.

    ``len(blocks)`` is the number of blocks.

    Attributes
    ----------
    storage : numpy.ndarray of int32, shape (#blocks,)
        The storage of each block, as a position in the timeline's ``storage_labels``.
    category : numpy.ndarray of int8, shape (#blocks,)
        The :class:`Category` of each block.
    size : numpy.ndarray of int64, shape (#blocks,)
        The bytes of each block.
    first, stop : numpy.ndarray of int32, shape (#blocks,)
        Each block is alive at the peaks of the steps ``first`` to ``stop − 1``. For a block that is not freed, ``stop``
        is the number of steps in the timeline.
    """

    storage: NDArray[np.int32]
    category: NDArray[np.int8]
    size: NDArray[np.int64]
    first: NDArray[np.int32]
    stop: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.size)


def blocks_of(timeline: Timeline) -> Blocks:
    """Return the blocks of a timeline, without static memory, that are alive at the peak of at least one step.

    Examples
    --------
    >>> from recompviz.core.steps.examples import chain_step
    >>> from recompviz.core.steps.schedule import make_schedule
    >>> from recompviz.core.steps.simulation import simulate_schedule
    >>> timeline = simulate_schedule(make_schedule(chain_step([4, 4, 4])[1], [True] * 3))
    >>> blocks = blocks_of(timeline)
    >>> [timeline.storage_labels[s] for s in blocks.storage][:4]
    ['v0', 'v1', 'v2', 'gradient of v2']
    >>> blocks.first.tolist(), blocks.stop.tolist()
    ([0, 1, 2, 3, 4, 5], [5, 4, 7, 5, 6, 7])
    """
    ends = _pairs(timeline)
    steps = len(timeline.phases)
    born = np.flatnonzero(timeline.delta > 0)
    peak_events = timeline.step_peak_events - 1  # the event after which a step peaks
    first = np.searchsorted(peak_events, born, side="left")
    stop = np.where(ends[born] < 0, steps, np.searchsorted(peak_events, ends[born], side="left"))
    counts = first < stop
    born = born[counts]
    return Blocks(
        timeline.storage[born],
        timeline.category[born],
        timeline.delta[born],
        first[counts].astype(np.int32),
        stop[counts].astype(np.int32),
    )


def _pairs(timeline: Timeline) -> NDArray[np.int64]:
    """Return for each allocation the event that frees it, or −1. Of two equal blocks the younger is freed first."""
    ends = np.full(len(timeline.delta), -1, np.int64)
    key = timeline.storage.astype(np.int64) * len(Category) + timeline.category
    order = np.argsort(key, kind="stable")
    born, same = timeline.delta[order] > 0, key[order][1:] == key[order][:-1]
    # most blocks are freed before their storage is allocated again: the next event of the storage frees them
    follows = np.flatnonzero(born[:-1] & ~born[1:] & same)
    ends[order[follows]] = order[follows + 1]
    nested = np.isin(key, np.unique(key[order[1:][born[:-1] & born[1:] & same]]))
    open_: dict[int, list[int]] = {}
    for i in np.flatnonzero(nested).tolist():
        block = int(key[i])
        if timeline.delta[i] > 0:
            open_.setdefault(block, []).append(i)
        elif open_.get(block):
            ends[open_[block].pop()] = i
    return ends


def binding(timeline: Timeline) -> str:
    """Return a text about a timeline's peak: the step, the bytes of each category of memory, and the largest value.

    The three largest categories are named, and the bytes of all others are added up. The largest value is left out if
    the text would be too long. If the timeline has no event, or reaches its peak before the first step, the text is
    ``"nothing is allocated in the step"``.

    Examples
    --------
    >>> from recompviz.core.steps.examples import chain_step
    >>> from recompviz.core.steps.schedule import make_schedule
    >>> from recompviz.core.steps.simulation import simulate_schedule
    >>> print(binding(simulate_schedule(make_schedule(chain_step([4, 4, 4])[1], [True] * 3))))
    backward of v2 (step 4 of 7): kept values 8 B, loss 4 B, gradients in flight 4 B; the largest is v0, 4 B
    """
    at = timeline.peak_step
    if not 0 <= at < len(timeline.phases):
        return "nothing is allocated in the step"
    blocks = timeline.at_peak()
    sums = Counter({category: size for category, size in timeline.static_bytes.items() if size})
    for block in blocks:
        sums[block.category] += block.size
    kinds = [(Category(category).label, size) for category, size in sums.most_common()]
    rest = sum(size for _, size in kinds[NAMED:])
    named = [f"{label} {format_bytes(size)}" for label, size in kinds[:NAMED] + ([("others", rest)] if rest else [])]
    label = timeline.step_labels[at]
    phase = Phase(int(timeline.phases[at])).label
    where = label if label.startswith(phase) else f"{phase} step {label}"
    text = f"{where} (step {at + 1} of {len(timeline.phases)}): {', '.join(named)}"
    # workspace has no name of its own
    values = [block for block in blocks if block.category is not Category.WORKSPACE]
    largest = max(values, key=lambda block: block.size, default=None)
    whole = f"{text}; the largest is {largest.label}, {format_bytes(largest.size)}" if largest else text
    return whole if len(whole) <= LONGEST else text
