"""Reserve memory for regions (captured graphs) that some training steps run and others leave out.

Examples are dropped layers, branches and early exits. A later step may run a region that the recorded step left out, so
memory is reserved for this region. Graphs with the same parameters, for example captured for different shapes, count as
one region.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recompviz.pytorch.budgeting.planned_region import PlannedRegion
    from recompviz.pytorch.budgeting.resident_memory import ResidentMemory
    from recompviz.pytorch.executing.region import Region


class OptionalRegions:
    """Records which regions (captured graphs) ran in which training steps.

    Parameters
    ----------
    memory : ResidentMemory
        Gives the ``id`` of each region's parameters.
    """

    def __init__(self, memory: ResidentMemory) -> None:
        self.memory = memory
        self._sizes: dict[Region, tuple[Any, ...]] = {}
        self._count = 0
        self._in_steps: dict[Region, set[Region]] = {}  # by the first region of the step

    @property
    def count(self) -> int:
        """The number of changes to the records. A result of :meth:`reserve` is valid until this number changes."""
        return self._count

    def note(self, first: Region, region: Region, sizes: tuple[Any, ...]) -> None:
        """Record that a region ran in a training step.

        Parameters
        ----------
        first : Region
            The first region of the step.
        region : Region
        sizes : tuple
            The dynamic sizes of the region's inputs.
        """
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
        """Return the bytes to reserve for regions that the recorded step left out.

        For each region that ran in an earlier step, but not in the recorded step, bytes are reserved: for the values
        that its plan of least peak saves, for its outputs and for its gradients. Regions with the same parameters count
        as one, with the largest of their bytes. Nothing is reserved for regions without parameters.

        Parameters
        ----------
        recorded : sequence of Region
            The regions of the recorded step.
        regions : dict of Region to PlannedRegion
            All regions.

        Returns
        -------
        int
            Bytes; 0 if no step with the same first region ran a region with parameters that the recorded step left out.
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
        """The regions of ``ran`` that have parameters and are not covered, with the ids of their parameters."""
        by_parameters = [(self.memory.parameter_ids(region), region) for region in ran]
        return [
            (parameters, region) for parameters, region in by_parameters if parameters and parameters not in covered
        ]
