"""Merge recorded training steps that ran different regions (captured graphs).

A model may drop layers at random, or stop early. The merged step is a sequence of runs that contains the runs of every
recorded step in order. After a run, code outside the regions may keep some bytes alive, for example the outputs of the
run. These bytes are read from the recorded steps that contain the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import TypeVar

from recompviz.core.planning.step_plans import Outside

T = TypeVar("T")


def merged_positions(first: Sequence[T], second: Sequence[T]) -> tuple[list[int], list[int], list[T]]:
    """Merge two sequences into one that contains the items of both. The items of each keep their order.

    Parameters
    ----------
    first, second : sequence
        Their items must be hashable.

    Returns
    -------
    (list of int, list of int, list)
        The positions of the items of ``first`` and of ``second`` in the merged sequence, and the merged sequence.

    Examples
    --------
    >>> merged_positions("abd", "acd")
    ([0, 1, 3], [0, 2, 3], ['a', 'b', 'c', 'd'])
    """
    numbers: dict[T, int] = {}
    a, b = ([numbers.setdefault(value, len(numbers)) for value in values] for values in (first, second))
    merged: list[T] = []
    of_first, of_second = [], []
    for kind, a_start, a_end, b_start, b_end in SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        for i in range(a_start, a_end):
            of_first.append(len(merged) + i - a_start)
        if kind == "equal":
            of_second += of_first[len(of_first) - (b_end - b_start) :]
        merged += first[a_start:a_end]
        if kind != "equal":
            of_second += range(len(merged), len(merged) + b_end - b_start)
            merged += second[b_start:b_end]
    return of_first, of_second, merged


def merged_outside(count: int, recorded: Sequence[tuple[Sequence[int], Sequence[Outside]]]) -> tuple[Outside, ...]:
    """Return the bytes that code outside the regions (captured graphs) holds in a merged step.

    Parameters
    ----------
    count : int
        The number of runs in the merged step.
    recorded : sequence of (sequence of int, sequence of Outside)
        For each recorded step, the positions of its runs in the merged step, and the bytes that code outside the
        regions held around each of these runs.

    Returns
    -------
    tuple of Outside
        For each run of the merged step.

    Examples
    --------
    Each of two layers leaves 8 bytes outside, and the loss takes 2. In the first call no recorded step ran both layers,
    so the bytes of the loss and of the layer are known only together. All 10 bytes are assumed to be held when the
    second layer starts:

    >>> step = [Outside(0, 10, 10, 4)]
    >>> both = [Outside(0, 8, 14, 4), Outside(8, 18, 18, 14)]
    >>> merged_outside(2, [([0], step), ([1], step)])[1].forward
    10
    >>> merged_outside(2, [([0, 1], both), ([1], step)]) == tuple(both)
    True
    """
    gains: list[list[int]] = [[] for _ in range(count)]  # what a run leaves behind for the next forward pass
    left: list[list[int]] = [[] for _ in range(count)]  # what a run's backward pass leaves behind for the next one
    after: list[list[int]] = [[] for _ in range(count)]
    after_backward: list[list[int]] = [[] for _ in range(count)]
    ends = []
    for positions, held in recorded:
        extra = [around.backward - around.forward for around in held]
        for j, (k, around) in enumerate(zip(positions, held, strict=True)):
            last = j + 1 == len(held)
            if not last:
                gains[k].append(held[j + 1].forward - around.forward)
            after[count - 1 if last else k].append(around.after_forward - around.forward)
            if j:
                left[k].append(extra[j - 1] - extra[j])
            after_backward[k].append(around.after_backward - around.backward)
        ends.append(extra[-1])
    for positions, held in recorded:
        if not gains[positions[-1]]:  # its outputs, and the loss
            gains[positions[-1]].append(held[-1].after_forward - held[-1].forward)

    forward, extra_backward = [0] * count, [0] * count
    for k in range(count):
        before = forward[k - 1] + max(gains[k - 1], default=0) if k else 0
        forward[k] = max([before, *_at(k, recorded, "forward")])
    for k in reversed(range(count)):
        extra_backward[k] = extra_backward[k + 1] + max(left[k + 1], default=0) if k + 1 < count else max(ends)
    merged = []
    for k in range(count):
        backward = max([0, forward[k] + extra_backward[k], *_at(k, recorded, "backward")])
        merged.append(
            Outside(
                forward[k],
                forward[k] + max(after[k], default=0),
                backward,
                backward + max(after_backward[k], default=0) if k else max(_at(0, recorded, "after_backward")),
            )
        )
    return tuple(merged)


def _at(k: int, recorded: Sequence[tuple[Sequence[int], Sequence[Outside]]], name: str) -> list[int]:
    """The attribute ``name`` of run ``k``, from each recorded step that ran it."""
    return [getattr(held[positions.index(k)], name) for positions, held in recorded if k in positions]
