"""Regions that some steps run and others leave out: dropped layers, branches, early exits.

A step that was recorded without such a region may be followed by one that runs it. Then memory for it is reserved. Two
graphs of the same parameters (captured for other shapes, for example) count as one region.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recompviz.pytorch.running.planned_region import PlannedRegion
    from recompviz.pytorch.running.region import Region
    from recompviz.pytorch.running.resident_memory import ResidentMemory


class OptionalRegions:
    """Remembers which regions ran in which steps.

    Parameters
    ----------
    memory : ResidentMemory
        Knows the parameters of each region.
    """

    def __init__(self, memory: ResidentMemory) -> None:
        self.memory = memory
        self._sizes: dict[Region, tuple[Any, ...]] = {}
        self._count = 0
        self._in_steps: dict[Region, set[Region]] = {}  # by the first region of the step

    @property
    def count(self) -> int:
        """A number that rises when there is something new."""
        return self._count

    def note(self, first: Region, region: Region, sizes: tuple[Any, ...]) -> None:
        """Note a run of a region in a step that started with the region ``first``."""
        self._sizes[region] = sizes
        ran = self._in_steps.setdefault(first, set())
        if region not in ran:
            ran.add(region)
            self._count += 1

    def forget(self, region: Region) -> None:
        """Forget a region that will not run again."""
        self._sizes.pop(region, None)
        self._in_steps.pop(region, None)
        for ran in self._in_steps.values():
            ran.discard(region)
        self._count += 1

    def reserve(self, recorded: Sequence[Region], regions: dict[Region, PlannedRegion]) -> int:
        """Bytes for regions that may run in a step, though the recorded step left them out.

        0 if every step that started like the recorded one ran the same regions.

        Parameters
        ----------
        recorded : sequence of Region
            What the recorded step ran.
        regions : dict of Region to PlannedRegion
        """
        covered = {self.memory.parameter_ids(region) for region in recorded}
        if not self._missing(self._in_steps.get(recorded[0], set()), covered):
            return 0
        missing: dict[tuple[int, ...], int] = {}
        for parameters, region in self._missing(set(self._sizes), covered):
            if (known := regions.get(region)) is not None:
                size = known.held(known.lean(), self._sizes[region], gradients=True)
                missing[parameters] = max(missing.get(parameters, 0), size)
        return sum(missing.values())

    def _missing(self, ran: set[Region], covered: set[tuple[int, ...]]) -> list[tuple[tuple[int, ...], Region]]:
        by_parameters = [(self.memory.parameter_ids(region), region) for region in ran]
        return [
            (parameters, region) for parameters, region in by_parameters if parameters and parameters not in covered
        ]
