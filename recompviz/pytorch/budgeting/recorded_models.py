"""The recorded training steps of a loop with their plans, and these plans at other input sizes.

A recorded step is found by its first region (captured graph). Steps that start with the same region but run other
regions or sizes are merged into one model. The bytes of plans at a size that was not recorded are computed from the
symbolic sizes of the graphs, and cached. For a very different size, plans are searched again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from recompviz.pytorch.budgeting.predicted_sizes import PredictedSizes
from recompviz.pytorch.budgeting.step_model import StepModel, growth_of, merged, resized, searched_at, with_size

if TYPE_CHECKING:
    from recompviz.pytorch.budgeting.planned_region import PlannedRegion
    from recompviz.pytorch.executing.region import Region

# If the size of a step differs by more than this factor from all before, the step is recorded, and new plans are found.
RECORDED_RANGE = 2.0
# The most sizes for which plans are cached.
MOST_SIZES = 512

Sizes = tuple[Any, ...]


class RecordedModels(Mapping["Region", StepModel]):
    """The model (:class:`StepModel`) of each recorded step, by the first region of the step.

    Parameters
    ----------
    regions : dict of Region to PlannedRegion
        The captured regions of the loop, each with its plans.

    Attributes
    ----------
    search_seconds : float
        Processor time for the first search of one region's plans, in seconds.
    """

    search_seconds = 20.0

    def __init__(self, regions: Mapping[Region, PlannedRegion]) -> None:
        self._regions = regions
        self._models: dict[Region, StepModel] = {}
        self._predicted: dict[Region, PredictedSizes] = {}
        # for a recorded step and sizes, its plans for these sizes
        self._resized: dict[tuple[StepModel, tuple[Sizes, ...], bool], StepModel] = {}

    def __getitem__(self, first: Region) -> StepModel:
        return self._models[first]

    def __iter__(self) -> Iterator[Region]:
        return iter(self._models)

    def __len__(self) -> int:
        return len(self._models)

    def use(self, model: StepModel) -> None:
        """Use ``model`` for the steps that start with the first region of ``model``, in place of any earlier model."""
        self._models[model.regions[0]] = model

    def add(self, recorded: StepModel, sizes: Sequence[Sizes]) -> None:
        """Add a recorded step: as a new model, as a new size of a known model, or merged with a known model.

        ``sizes`` has the dynamic sizes of the inputs of each run in the recorded step.
        """
        first = recorded.regions[0]
        model = self._models.get(first)
        if model is None:
            self._models[first], self._predicted[first] = recorded, PredictedSizes(sizes)
        elif model.regions == recorded.regions:
            self._models[first] = with_size(model, recorded)
        else:
            self._models[first], positions = merged(model, recorded)
            by_position = dict(zip(positions[0], self._predicted[first].of(sizes[0]), strict=True))
            by_position |= zip(positions[1], sizes, strict=True)
            self._predicted[first] = PredictedSizes([by_position[k] for k in sorted(by_position)])

    def forget(self, region: Region) -> None:
        """Drop the recorded steps that ran a region."""
        for first in [first for first, model in self._models.items() if first is region or region in model.regions]:
            del self._models[first]
            self._predicted.pop(first, None)
        self._resized.clear()

    def predicted(self, first: Region) -> PredictedSizes:
        """Return the predictor of the input sizes of each run, for the steps whose first region is ``first``.

        Raises
        ------
        KeyError
            If :meth:`add` was given no step that starts with this region.
        """
        return self._predicted[first]

    def is_new_size(self, model: StepModel, growth: float) -> bool:
        """Return whether a step is larger or smaller than all recorded steps of its model by more than a factor of 2.

        ``growth`` is the size of the step; see :func:`growth_of`. The result is False if no size is dynamic.
        """
        if not model.symbolic:
            return False
        sizes = [size for size, _ in model.recorded]
        return growth > sizes[-1] * RECORDED_RANGE or growth < sizes[0] / RECORDED_RANGE

    def searched(self, model: StepModel, sizes: tuple[Sizes, ...], ratio: float = RECORDED_RANGE) -> StepModel:
        """Return the model with the plans of a search at about these input sizes.

        Plans are searched now, unless there was a search for a step whose size differs by at most the factor ``ratio``.
        Later steps then use the result in place of ``model``.
        """
        growth = growth_of(model.sized, sizes)
        if any(size / ratio <= growth <= size * ratio for size in model.searched):
            return model
        model = searched_at(model, self._regions, sizes, self.search_seconds / 4)
        self.use(model)
        return model

    def at(self, model: StepModel, sizes: tuple[Sizes, ...], exact: bool = False) -> StepModel:
        """Return a model with its plans at other input sizes; cached. For ``exact``, see :func:`resized`."""
        key = model, sizes, exact
        if key not in self._resized:
            if len(self._resized) >= MOST_SIZES:
                self._resized.clear()
            self._resized[key] = resized(model, sizes, exact)
        return self._resized[key]
