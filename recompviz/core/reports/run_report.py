"""The result of one real run of a plan: measured timeline, device, time, and whether the gradients are correct."""

from __future__ import annotations

from dataclasses import dataclass

from recompviz.core.base.units import format_bytes
from recompviz.core.plans.gap import Gap
from recompviz.core.plans.plan import Plan
from recompviz.core.steps.timeline import Timeline


@dataclass(frozen=True, eq=False)
class RunReport:
    """The result of a run; frozen.

    Attributes
    ----------
    plan : Plan
    measured : Timeline
        Allocations and frees of the device, total bytes.
    device : str
        ``"CUDA (NVIDIA H100)"`` or ``"CPU"``.
    seconds : float
        Wall-clock time of the whole run, preparation included.
    certified : bool
        Whether gradients and buffers were bitwise equal to the unplanned step's.
    certificate : str
        What was compared, and the result.
    keep_all_peak : int or None
        Measured peak of the same step without recomputation, total bytes.
    gap : Gap or None
        The difference between the formula's peak and the measured one, in parts that add up.
    """

    plan: Plan
    measured: Timeline
    device: str
    seconds: float
    certified: bool
    certificate: str
    keep_all_peak: int | None = None
    gap: Gap | None = None

    def deviation(self, predicted: Timeline) -> float:
        """How far the measured peak lies above the predicted one, as a fraction of the measured one."""
        return (self.measured.peak - predicted.peak) / self.measured.peak if self.measured.peak else 0.0

    def __repr__(self) -> str:
        badge = "certified" if self.certified else "NOT certified"
        return (
            f"RunReport({format_bytes(self.measured.peak)} total bytes on {self.device}, {badge}, {self.seconds:.1f} s)"
        )
