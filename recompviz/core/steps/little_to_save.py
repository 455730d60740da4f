"""What a training step needs memory for, if recomputation can hardly lower its peak.

Recomputation frees values of the forward pass. If the peak consists of parameters, their gradients, the optimizer's
state, inputs or one large value, no plan helps. The text then says what holds the peak, and what would lower it. Each
claim is computed from the timeline of the plan of least peak.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from recompviz.core.base.units import format_bytes
from recompviz.core.steps.joint import Category
from recompviz.core.steps.timeline import Timeline

if TYPE_CHECKING:
    from numpy.typing import NDArray

# recomputation that lowers the peak by a smaller share is not worth a choice
LITTLE = 0.01
# advice must lower the peak by this share
WORTH = 0.05
# one block with this share of the peak is named
LARGE = 0.3
# the holders that are named have together this share of the peak, or are three
MOST_OF_IT = 0.8

_HOLDERS = {
    "parameters": (Category.PARAMETER,),
    "parameter gradients": (Category.PARAMETER_GRADIENT,),
    "optimizer state": (Category.OPTIMIZER,),
    "buffers": (Category.BUFFER,),
    "inputs and targets": (Category.INPUT, Category.TARGET),
    "values of the forward pass": (Category.KEPT, Category.TRANSIENT, Category.RECOMPUTED, Category.OUTPUT),
    "gradients of values": (Category.GRADIENT,),
    "scratch memory of one operator": (Category.WORKSPACE,),
    "other memory": (Category.OTHER,),
}
# their bytes grow with the batch
_OF_BATCH = (
    Category.INPUT, Category.TARGET, Category.KEPT, Category.TRANSIENT, Category.RECOMPUTED, Category.GRADIENT,
    Category.OUTPUT,
)  # fmt: skip


def little_to_save(leanest: Timeline, keep_all: int) -> str:
    """Return a text that says why recomputation hardly lowers the peak of a training step.

    If the step has parameters, the text also says what would lower the peak. The text is empty if recomputation lowers
    the peak by 1 % of ``keep_all`` or more, or if the peak is 0.

    Parameters
    ----------
    leanest : Timeline
        The simulated training step under the plan of least peak.
    keep_all : int
        The peak of the training step without recomputation, in total bytes (parameters included).

    Examples
    --------
    >>> from recompviz.core.steps.examples import chain_step
    >>> from recompviz.core.steps.schedule import make_schedule
    >>> from recompviz.core.steps.simulation import simulate_schedule
    >>> timeline = simulate_schedule(make_schedule(chain_step([4, 4, 4])[1], [True] * 3))
    >>> print(little_to_save(timeline, timeline.peak).replace(". ", ".\\n"))
    Recomputation saves no memory here.
    The peak of 16 B is mostly 12 B of values of the forward pass and 4 B of gradients of values.
    >>> little_to_save(timeline, 2 * timeline.peak)
    ''
    """
    peak = leanest.peak
    saved = keep_all - peak
    if peak <= 0 or saved >= LITTLE * keep_all:
        return ""
    bands = _bands(leanest)
    at = int(bands.sum(axis=1).argmax())
    much = "no memory" if saved <= 0 else f"only {format_bytes(saved)}"
    parts = [
        f"Recomputation saves {much} here.",
        f"The peak of {format_bytes(peak)} is mostly {_holders(leanest, bands[at])}.",
    ]
    if advice := _advice(leanest, bands):
        parts.append(advice)
    return " ".join(parts)


def _bands(timeline: Timeline) -> NDArray[np.int64]:
    """Return the bytes of each category at the peak of each step, static memory included."""
    bands = timeline.bands.copy()
    for category, size in timeline.static_bytes.items():
        bands[:, category] += size
    return bands


def _holders(timeline: Timeline, row: NDArray[np.int64]) -> str:
    peak = int(row.sum())
    sums = {name: int(row[list(categories)].sum()) for name, categories in _HOLDERS.items()}
    named: list[tuple[str, int]] = []
    for name, size in sorted(sums.items(), key=lambda item: -item[1]):
        if size and len(named) < 3 and sum(size for _, size in named) < MOST_OF_IT * peak:
            named.append((name, size))
    rows = [f"{format_bytes(size)} of {name}" for name, size in named]
    text = " and ".join([", ".join(rows[:-1]), rows[-1]]) if len(rows) > 1 else rows[0]
    largest = next((block for block in timeline.at_peak() if block.category != Category.PARAMETER_GRADIENT), None)
    if largest is not None and largest.size >= LARGE * peak:
        text += f"; one value, {largest.label}, has {format_bytes(largest.size)}"
    return text


def _advice(timeline: Timeline, bands: NDArray[np.int64]) -> str:
    """Return what would lower the peak, with the peak that it leads to; empty if nothing does by enough."""
    peak = int(bands.sum(axis=1).max())
    if not timeline.static_bytes.get(Category.PARAMETER):
        return ""  # not the step of a network
    found = []
    gradients = bands[:, Category.PARAMETER_GRADIENT]
    events = timeline.delta[timeline.category == Category.PARAMETER_GRADIENT]
    largest = int(events.max(initial=0))
    without = bands.sum(axis=1) - np.maximum(gradients - largest, 0)
    found.append((int(without.max()), "An optimizer that steps inside the backward pass, as each gradient arrives,"))
    stateless = bands.sum(axis=1) - bands[:, Category.OPTIMIZER]
    found.append((int(stateless.max()), "An optimizer without state"))
    batch = bands[:, list(_OF_BATCH)].sum(axis=1)
    found.append((int((bands.sum(axis=1) - batch // 2).max()), "Half the batch"))
    worth = sorted((lower, what) for lower, what in found if peak - lower >= WORTH * peak)[:2]
    if not worth:
        return "Only a smaller model, or parameters of lower precision, would lower it."
    first, *others = (f"{what} would lower it to about {format_bytes(lower)}" for lower, what in worth)
    return "; ".join([first, *(f"{other[0].lower()}{other[1:]}" for other in others)]) + "."
