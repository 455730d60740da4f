"""Another batch size or sequence length: the Explorer shows the same training step with other sizes.

A background thread makes the planner of the step at the new sizes. The newest request replaces older ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from recompviz.core.planning.planner import Planner
from recompviz.widgets.base.job import Job, JobProgress
from recompviz.widgets.explorer.runs import Runner
from recompviz.widgets.explorer.selection import Selection


class SizeAxis(Protocol):
    """The type of a size that can be changed."""

    @property
    def name(self) -> str:
        """``"batch"`` or ``"length"``."""
        ...

    @property
    def size(self) -> int:
        """The size at which the step was traced."""
        ...

    @property
    def most(self) -> int:
        """The largest size that can be chosen."""
        ...


@dataclass(frozen=True, eq=False)
class Subject:
    """The training step that an Explorer shows; frozen.

    Attributes
    ----------
    planner : Planner
        The planner of the training step.
    runner : Runner or None
        Runs the training step under a plan; None if only predictions are possible.
    cost_unit : str
        The unit of ``planner.graph.time``.
    """

    planner: Planner
    runner: Runner | None
    cost_unit: str


class Resizer(Protocol):
    """The type of an object that gives a training step other sizes."""

    @property
    def axes(self) -> Sequence[SizeAxis]:
        """The sizes that can be changed."""
        ...

    def at(self, sizes: Mapping[str, int], progress: JobProgress) -> Subject:
        """Return the training step at other sizes.

        Parameters
        ----------
        sizes : mapping of str to int
            The size of each axis.
        progress : callable (done, total, text)
            A function that the method should call often. The function raises :class:`recompviz.Cancelled` after the
            user has cancelled.
        """
        ...


class Resizing:
    """The requests of an Explorer for other sizes, one at a time, in the background.

    Parameters
    ----------
    resizer : Resizer or None
        None if no size can be changed.
    selection : Selection
        Its lock is held while the callables below are called.
    told : callable (message)
        Called when the state changes. The message is the new value of the Explorer's trait ``_sizes``.
    shown : callable (subject, budget)
        Called when the step at the new sizes is known. ``budget`` is the one that was given to :meth:`ask`.

    Attributes
    ----------
    sizes : dict of str to int
        The size of each axis that is shown.
    """

    def __init__(
        self,
        resizer: Resizer | None,
        selection: Selection,
        told: Callable[[dict[str, Any]], None],
        shown: Callable[[Subject, int | None], None],
    ) -> None:
        self._resizer, self._selection = resizer, selection
        self._told, self._shown = told, shown
        self._axes = () if resizer is None else tuple(resizer.axes)
        self.sizes = {axis.name: axis.size for axis in self._axes}
        self._job: Job[Subject] | None = None

    def message(self, state: str = "idle", fraction: float = 0.0, text: str = "") -> dict[str, Any]:
        """Return the value of the trait ``_sizes``. ``wire.md`` explains it."""
        return {
            "axes": [[axis.name, axis.size, steps_of(axis)] for axis in self._axes],
            "now": [self.sizes[axis.name] for axis in self._axes],
            "state": state,
            "fraction": fraction,
            "text": text,
        }

    def ask(self, sizes: Mapping[str, int], budget: int | None) -> None:
        """Show the step at other sizes.

        Parameters
        ----------
        sizes : mapping of str to int
            The new size of some axes, by name. The sizes of other axes stay.
        budget : int or None
            The budget to show, in total bytes. If None, the plan is shown that is best for a budget halfway between the
            least total peak and the total peak of the plan that recomputes least.

        Raises
        ------
        ValueError
            If the trace has no axis of this name, or if a size is not a whole number in the range of the axis.
        """
        for name, size in sizes.items():
            axis = next((axis for axis in self._axes if axis.name == name), None)
            if axis is None:
                known = ", ".join(axis.name for axis in self._axes) or "none"
                raise ValueError(f"{name} cannot be changed; sizes that can be: {known}")
            if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= axis.most:
                raise ValueError(f"{name} is {size!r}, expected a whole number from 1 to {axis.most}")
        wanted, resizer = self.sizes | dict(sizes), self._resizer
        assert resizer is not None
        with self._selection.changing():
            self._stop()
            job = Job(
                lambda progress: resizer.at(wanted, progress), lambda job: self._on_job(job, wanted, budget), "tracing"
            )
            self._job = job
            self._told(self.message("working", 0.0, "tracing"))
            job.start()

    @property
    def running(self) -> bool:
        """Whether the step at other sizes is being made."""
        return self._job is not None and self._job.running

    def stop(self) -> None:
        """Stop the request under way. The Explorer keeps its sizes."""
        with self._selection.changing():
            if self._stop():
                self._told(self.message("cancelled", 0.0, "cancelled"))

    def _stop(self) -> bool:
        under_way = self.running
        if self._job is not None:
            self._job.cancel()
        return under_way

    def wait(self, seconds: float | None = None) -> None:
        """Wait until the step at the new sizes is shown, or the request has failed or been cancelled.

        In a thread that holds the lock of the selection, the method returns without waiting, because the background
        thread may need the lock.

        Parameters
        ----------
        seconds : float, optional
            Time limit. The method also returns when the limit is reached. If None, there is no limit.
        """
        if self._job is not None and not (self._selection.held or self._job.is_here or self._job.cancelled):
            self._job.wait(seconds)

    def _on_job(self, job: Job[Subject], sizes: dict[str, int], budget: int | None) -> None:
        with self._selection.changing_for(job.state == "running") as free:
            if not free or job is not self._job or job.cancelled:
                return
            if job.state == "done" and job.result is not None:
                before, self.sizes = self.sizes, sizes
                try:
                    self._shown(job.result, budget)
                except BaseException:  # also an interrupt, or an error of the user's observer
                    self.sizes = before
                    raise
                self._told(self.message("done", 1.0, ""))
            else:
                state = "working" if job.state == "running" else job.state
                self._told(self.message(state, job.fraction, job.text))


def steps_of(axis: SizeAxis) -> list[int]:
    """Return the sizes that a slider offers, in rising order.

    These are all numbers 2ⁿ and 3·2ⁿ up to the largest size, and also the traced size and the largest size.

    Examples
    --------
    >>> class Axis:
    ...     name, size, most = "length", 20, 20
    >>> steps_of(Axis())
    [1, 2, 3, 4, 6, 8, 12, 16, 20]
    """
    steps, power = {axis.size, axis.most}, 1
    while power <= axis.most:
        steps |= {power, *((3 * power // 2,) if power > 1 and 3 * power // 2 <= axis.most else ())}
        power *= 2
    return sorted(steps)
