"""The memory of a rank over its passes, divided into layers, for pictures. A layer is a kind of memory.

A rank's step is divided into *passes*. A pass is the forward or the backward pass of one micro-batch, or the
optimizer's step. A rank without a pipeline has one micro-batch. The steps of each pass are divided into a few columns.
A column stands for some consecutive steps. It shows the moment within these steps at which the most bytes are alive.
One more column shows the bytes that are alive after the pass, while the rank waits for other ranks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from recompviz.core.steps.joint import Category
from recompviz.core.steps.timeline import Timeline

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Layer(NamedTuple):
    """A kind of memory of a rank: its name in code, the text that is shown for it, and its colour in the palette."""

    name: str
    text: str
    colour: str


LAYERS = (
    Layer("parameters", "parameters", "rank-parameters"),
    Layer("optimizer", "optimizer state", "rank-optimizer"),
    Layer("inputs", "inputs and buffers", "rank-inputs"),
    Layer("gradients", "stored gradients", "rank-gradients"),
    Layer("gathered", "gathered parameters", "rank-gathered"),
    Layer("collectives", "buffers of collectives", "rank-collectives"),
    Layer("kept", "kept values", "keep"),
    Layer("recomputed", "recomputed values", "recompute"),
    Layer("flight", "values in flight", "rank-flight"),
)
_AT = {layer.name: i for i, layer in enumerate(LAYERS)}
# a part of the label of a block → its layer; see sharded_step.py and replicated_step.py
_LABELS = {
    "(gathered)": "gathered",
    "all-gather buffer": "collectives",
    "reduce-scatter buffer": "collectives",
    "gradient buckets": "collectives",
    "this rank's part": "gradients",
}
_CATEGORIES = {
    Category.PARAMETER: "parameters",
    Category.OPTIMIZER: "optimizer",
    Category.BUFFER: "inputs",
    Category.INPUT: "inputs",
    Category.TARGET: "inputs",
    Category.PARAMETER_GRADIENT: "gradients",
    Category.KEPT: "kept",
    Category.OUTPUT: "kept",
    Category.RECOMPUTED: "recomputed",
}

# for each category the position of its layer
_BY_CATEGORY = np.array([_AT[_CATEGORIES.get(category, "flight")] for category in Category], np.int64)

PassKind = Literal["forward", "backward", "optimizer"]


@dataclass(frozen=True)
class Pass:
    """A part of a rank's step: the forward or backward pass of one micro-batch, or the optimizer's step.

    Attributes
    ----------
    kind : "forward", "backward" or "optimizer"
        What runs in the pass.
    stage : int
        The stage of the pipeline; 0 without a pipeline.
    micro_batch : int
        The micro-batch, counted from 0.
    """

    kind: PassKind
    stage: int = 0
    micro_batch: int = 0


def layer_of(category: Category, label: str) -> int:
    """Return the position in ``LAYERS`` of the layer to which a block with this category and label belongs.

    Examples
    --------
    >>> LAYERS[layer_of(Category.KEPT, "w (gathered)")].name, LAYERS[layer_of(Category.GRADIENT, "")].name
    ('gathered', 'flight')
    """
    found = _of_label(label)
    return int(_BY_CATEGORY[category]) if found < 0 else found


def _of_label(label: str) -> int:
    """Return the layer of a block by its label; −1 if its category decides."""
    return next((_AT[name] for part, name in _LABELS.items() if part in label), -1)


# timelines of one step share their labels, and a board has many plans of one step
@lru_cache(maxsize=4)
def _by_label(labels: tuple[str, ...]) -> NDArray[np.int64]:
    return np.array([_of_label(label) for label in labels], np.int64)


def static_layers(timeline: Timeline, buckets: int = 0) -> NDArray[np.int64]:
    """Return the bytes of each layer that exist before the step, shape (#layers,). A layer is a kind of memory.

    Parameters
    ----------
    timeline : Timeline
        The timeline of the rank.
    buckets : int
        Bytes of the gradient buckets of DDP. ``timeline`` counts them as buffers; here they count as memory of
        collectives.
    """
    found = np.zeros(len(LAYERS), np.int64)
    for category, size in timeline.static_bytes.items():
        found[layer_of(category, "")] += size
    found[_AT["inputs"]] -= buckets
    found[_AT["collectives"]] += buckets
    return found


def layered(timeline: Timeline, ends: Sequence[int], columns: int, buckets: int = 0) -> NDArray[np.int64]:
    """Return the bytes of each layer over the passes of a rank, shape (#passes, columns + 1, #layers).

    A layer is a kind of memory. The steps of each pass are divided into ``columns`` columns. A column has the bytes of
    each layer at one moment: the moment within the steps of the column at which the most bytes are alive. The last
    column of a pass has the bytes at the end of the pass.

    Parameters
    ----------
    timeline : Timeline
        The timeline of the rank.
    ends : sequence of int
        For each pass, the number of timeline steps up to the end of the pass.
    columns : int
        The number of columns of each pass, without the last one.
    buckets : int
        As in :func:`static_layers`.
    """
    moved = np.zeros((len(timeline.delta) + 1, len(LAYERS)), np.int64)
    by_label = _by_label(timeline.storage_labels)[timeline.storage]
    owner = np.where(by_label < 0, _BY_CATEGORY[timeline.category], by_label)
    moved[np.arange(1, len(timeline.delta) + 1), owner] = timeline.delta
    alive = moved.cumsum(axis=0) + static_layers(timeline, buckets)
    events, peaks = timeline.step_peak_events, timeline.step_peaks
    after = np.searchsorted(timeline.step, np.arange(len(timeline.phases)), side="right")
    result = np.zeros((len(ends), columns + 1, len(LAYERS)), np.int64)
    start = 0
    for i, stop in enumerate(ends):
        steps = stop - start
        for k in range(columns if steps else 0):
            first = start + k * steps // columns
            last = max(start + (k + 1) * steps // columns, first + 1)
            result[i, k] = alive[events[first + int(peaks[first:last].argmax())]]
        result[i, columns] = alive[after[stop - 1]] if stop else alive[0]
        if not steps:
            result[i, :columns] = result[i, columns]
        start = stop
    return result
