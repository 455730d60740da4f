"""The result of one run of a plan on a device: measured memory, time, and whether the gradients are correct."""

from __future__ import annotations

from dataclasses import dataclass

from recompviz.core.base.units import format_bytes
from recompviz.core.plans.gap import Gap
from recompviz.core.plans.plan import Plan
from recompviz.core.reports.step_times import StepTimes
from recompviz.core.steps.timeline import Timeline


@dataclass(frozen=True, eq=False)
class RunReport:
    """The result of one run of a plan; frozen.

    Attributes
    ----------
    plan : Plan
        The plan that was run.
    measured : Timeline
        Measured allocations and frees; its peak includes parameters.
    device : str
        Name of the device, for example ``"CUDA (NVIDIA H100)"`` or ``"CPU"``.
    seconds : float
        Wall-clock time of the whole run: preparation, measured training step, and check of the gradients.
    certified : bool
        Whether the run passed the checks of :func:`recompviz.certify`. Gradients, loss and buffers must be the same as
        in eager PyTorch, and the values of the plan must be saved.
    certificate : str
        The result of each check, as text.
    gap : Gap or None
        The difference between the peak by the paper's formula and the measured peak, in parts that add up; None if it
        was not computed.
    times : StepTimes or None
        The times of eager and planned training steps in pairs; None if they were not measured.
    """

    plan: Plan
    measured: Timeline
    device: str
    seconds: float
    certified: bool
    certificate: str
    gap: Gap | None = None
    times: StepTimes | None = None

    def deviation(self, predicted: Timeline) -> float:
        """Return (measured peak − predicted peak) / measured peak; negative if the prediction is too high.

        Parameters
        ----------
        predicted : Timeline
            The simulated timeline of the same plan.

        Returns
        -------
        float
            For example 0.02 if the prediction is 2 % below the measured peak; 0 if the measured peak is 0.
        """
        return (self.measured.peak - predicted.peak) / self.measured.peak if self.measured.peak else 0.0

    def __repr__(self) -> str:
        badge = "certified" if self.certified else "NOT certified"
        times = "" if self.times is None else f"; {self.times}"
        figures = f"{format_bytes(self.measured.peak)} total bytes on {self.device}, {badge}, {self.seconds:.1f} s"
        return f"RunReport({figures}{times})"
