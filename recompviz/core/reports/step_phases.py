"""The phases of a training step: forward and backward passes, optimizer steps, and stretches without gradients.

A function that trains, validates and retries has many phases. A cycle of phases that repeats is shown as one entry.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from recompviz.core.base.units import format_bytes

# length of the longest cycle that is looked for
MOST_IN_CYCLE = 4


@dataclass(frozen=True)
class StepPhase:
    """One phase of a training step, or a cycle of phases that repeats.

    Attributes
    ----------
    name : str
        For example ``"forward"``, ``"backward"``, ``"no gradients"`` or ``"Adam.step"``. For a cycle, the names of its
        phases with arrows between them.
    first, last : int
        The numbers of the first and the last operator of the phase or of all repetitions of the cycle.
    peak : int
        The largest number of total bytes alive from the first to the last of these operators.
    has_peak : bool
        Whether memory reaches the peak of the report from the first to the last of these operators.
    times : int
        How often the phase or cycle runs in a row; 1 if it does not repeat.
    """

    name: str
    first: int
    last: int
    peak: int
    has_peak: bool = False
    times: int = 1

    @property
    def text(self) -> str:
        """The phase in words, such as ``forward → backward → SGD.step, 4 times: up to 3.20 MiB``."""
        often = f", {self.times:,} times" if self.times > 1 else ""
        return f"{self.name}{often}: up to {format_bytes(self.peak)}" + (" ← the peak" if self.has_peak else "")


def folded(phases: Sequence[StepPhase]) -> tuple[StepPhase, ...]:
    """Replace each cycle of at most four phases that repeats by one entry. Its peak is the highest of all repetitions.

    Examples
    --------
    >>> one = [StepPhase("forward", 0, 4, 8), StepPhase("backward", 5, 9, 9)]
    >>> [phase.text for phase in folded([*one, *one, StepPhase("no gradients", 20, 29, 5)])]
    ['forward → backward, 2 times: up to 9 B', 'no gradients: up to 5 B']
    """
    found: list[StepPhase] = []
    i = 0
    while i < len(phases):
        length, times = _cycle_at([phase.name for phase in phases], i)
        members = phases[i : i + length * times]
        found.append(
            StepPhase(
                " → ".join(phase.name for phase in members[:length]),
                members[0].first,
                members[-1].last,
                max(phase.peak for phase in members),
                any(phase.has_peak for phase in members),
                times,
            )
        )
        i += length * times
    return tuple(found)


def _cycle_at(names: list[str], start: int) -> tuple[int, int]:
    """Return length and number of the repetitions, at a position, that cover the most phases."""
    best = 1, 1
    for length in range(1, MOST_IN_CYCLE + 1):
        one, times = names[start : start + length], 1
        while len(one) == length and names[start + times * length : start + (times + 1) * length] == one:
            times += 1
        if times > 1 and length * times > best[0] * best[1]:
            best = length, times
    return best
