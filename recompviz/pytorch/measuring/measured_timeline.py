"""Turn the allocator's events in one training step into a measured timeline.

The timeline of a planned module has the steps of the module's schedule. Each allocated block is matched to a storage
that the schedule allocates in the same step; a block without such a storage is workspace. Any other module has no
schedule. Consecutive events of one operator are then one step of the timeline.
"""

from __future__ import annotations

from collections.abc import Iterator

from recompviz.core.steps.allocations import AllocationEvent, read_allocations
from recompviz.core.steps.joint import Category
from recompviz.core.steps.schedule import Phase, Schedule
from recompviz.core.steps.simulation import ARRIVAL, OPTIMIZER_STEP, category_of
from recompviz.core.steps.timeline import Timeline
from recompviz.pytorch.internals.devices.runtimes import may_be_larger
from recompviz.pytorch.measuring.measurement_run import Reading


def measured_timeline(
    reading: Reading, schedule: Schedule | None, static: dict[Category, int], device: str
) -> Timeline:
    """Return the timeline of a recorded training step.

    Parameters
    ----------
    reading : Reading
        The recorded events.
    schedule : Schedule or None
        The schedule of the planned module that ran; None for any other module.
    static : dict from Category to int
        The bytes that existed on the device before the training step, by category.
    device : str
        The device on which the step ran, for example ``"cuda:0"``.
    """
    return _Builder(reading, schedule).timeline(static, device)


class _Builder:
    """Assigns a step to each event, and a storage and a category to each allocated block."""

    def __init__(self, reading: Reading, schedule: Schedule | None) -> None:
        self.reading, self.schedule = reading, schedule
        self.labels: list[str] = [s.label for s in schedule.joint.storages] if schedule else []
        self.label_number: dict[str, int] = {}
        self.step_labels = [schedule.joint.calls[c].info.key for c in schedule.calls] if schedule else []
        self.phases = [int(phase) for phase in schedule.phases] if schedule else []
        self.expected: dict[int, list[tuple[int, int, int]]] = {}  # step → (storage, category, bytes) not yet seen

    def timeline(self, static: dict[Category, int], device: str) -> Timeline:
        history = read_allocations(self._by_step())
        births = history.at[history.birth].tolist()
        blocks = [
            self._match(step, size, scope)
            for step, size, scope in zip(births, history.size.tolist(), history.scopes, strict=True)
        ]
        columns = (column.tolist() for column in (history.at, history.block, history.delta))
        rows = [(step, *blocks[block], delta) for step, block, delta in zip(*columns, strict=True)]
        return Timeline.of_events(
            rows,
            self.step_labels,
            self.phases,
            storage_labels=tuple(self.labels),
            static_bytes=static,
            kind="measured",
            device=device,
            reserved_peak=self.reading.reserved,
            seconds=self.reading.seconds,
            notes=tuple(self.reading.notes),
        )

    def _by_step(self) -> Iterator[AllocationEvent]:
        """Iterate over the events, each with its step."""
        step, last_scope = -1, ""
        for event in self.reading.events:
            step = self._step(step, event.scope, last_scope)
            last_scope = event.scope
            yield event.counted_at(step)

    def _step(self, step: int, scope: str, last_scope: str) -> int:
        """Return the number of the step in which an event happened.

        The profiler's range around each call of a schedule has the number of the step in its name. Without a schedule,
        a new step starts when the operator changes.
        """
        if self.schedule is not None:
            if scope.startswith("rv:") and scope != "rv:optimizer":
                return int(scope[3:])
            if step >= len(self.schedule) - 1:  # after the last range: gradients arrive, the optimizer steps
                return self._step_after_schedule(scope)
            # outside the ranges, before the backward pass: the gradient that autograd starts from
            return max(step, self.schedule.joint.forward_count - 1)
        if scope == last_scope and step >= 0:
            return step
        self.step_labels.append(scope or "between operators")
        self.phases.append(Phase.OPTIMIZER if scope == "rv:optimizer" else self._eager_phase(scope))
        return len(self.phases) - 1

    def _eager_phase(self, scope: str) -> int:
        backward = "backward" in scope.lower() or Phase.BACKWARD in self.phases
        return Phase.BACKWARD if backward else Phase.FORWARD

    def _step_after_schedule(self, scope: str) -> int:
        phase = Phase.OPTIMIZER if scope == "rv:optimizer" else Phase.ACCUMULATE
        if self.phases[-1] != phase:
            self.step_labels.append(OPTIMIZER_STEP if phase is Phase.OPTIMIZER else ARRIVAL)
            self.phases.append(phase)
        return len(self.phases) - 1

    def _match(self, step: int, size: int, scope: str) -> tuple[int, int]:
        """Return (storage, category) of a new block.

        It is a storage of this size that the schedule allocates in the step. If there is none, the block is workspace.
        """
        if self.schedule is None:
            return self._label(scope or "unattributed"), Category.OTHER
        if step >= len(self.schedule):
            optimizer = self.phases[step] == Phase.OPTIMIZER
            category = Category.OPTIMIZER if optimizer else Category.PARAMETER_GRADIENT
            return self._label(self.step_labels[step]), category
        if step not in self.expected:
            self.expected[step] = self._made_in(step)
        joint = self.schedule.joint
        for i, (storage, category_made, least) in enumerate(self.expected[step]):
            if least <= size <= joint.rounded(least) + may_be_larger(joint.alignment, size):
                self.expected[step].pop(i)
                return storage, category_made
        return self._label("workspace"), Category.WORKSPACE

    def _made_in(self, step: int) -> list[tuple[int, int, int]]:
        assert self.schedule is not None
        joint, phase = self.schedule.joint, self.schedule.phases[step]
        made = joint.calls[self.schedule.calls[step]].makes
        return [(s, category_of(self.schedule, s, phase), joint.storages[s].size) for s in made]

    def _label(self, text: str) -> int:
        if text not in self.label_number:
            self.label_number[text] = len(self.labels)
            self.labels.append(text)
        return self.label_number[text]
