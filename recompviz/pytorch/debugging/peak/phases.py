"""Cut the training step of the peak into its phases."""

from __future__ import annotations

from itertools import groupby

from recompviz.core.reports.step_phases import StepPhase, folded
from recompviz.core.steps.schedule import Phase
from recompviz.pytorch.debugging.peak.peak_state import PeakState
from recompviz.pytorch.debugging.recorder.watched import Operator

# shorter stretches without gradients between other phases are part of them, such as a clip or a metric
SHORT = 8


def phases_of(peak: PeakState, static: int) -> tuple[StepPhase, ...]:
    """Return the phases of the training step that contains the peak. A cycle of phases that repeats is one entry.

    A short stretch of operators without gradients counts as part of the phase beside it.

    Parameters
    ----------
    peak : PeakState
    static : int
        Bytes that are alive during the whole step.
    """
    own = peak.operators[peak.start : peak.end]
    runs = [(name, [*members]) for name, members in groupby(own, _kind)]
    joined: list[tuple[str, list[Operator]]] = []
    for name, members in runs:
        makes_nothing = not any(op.makes for op in members)  # such as `loss.detach()`
        if joined and (name == joined[-1][0] or makes_nothing or (name == _PLAIN and len(members) < SHORT)):
            joined[-1][1].extend(members)
        elif joined and joined[-1][0] == _PLAIN and len(joined[-1][1]) < SHORT:
            joined[-1] = name, [*joined[-1][1], *members]
        else:
            joined.append((name, members))
    return folded(
        [
            StepPhase(
                name,
                members[0].number,
                members[-1].number,
                static + _most_alive(peak, members[0].number, members[-1].number + 1),
                peak.recording.peak_operator is not None and members[0].number <= peak.at <= members[-1].number,
            )
            for name, members in joined
        ]
    )


_PLAIN = "no gradients"


def _kind(op: Operator) -> str:
    if op.optimizer:
        return f"{op.optimizer}.step"
    if op.phase in (Phase.BACKWARD, Phase.RECOMPUTE):
        return "backward"
    makes_graph = op.grad_enabled and any(operand.needs_grad for operand in op.reads)
    return "forward" if makes_graph else _PLAIN


def _most_alive(peak: PeakState, first: int, end: int) -> int:
    """Return the largest number of transient bytes alive while the operators ``first`` to ``end − 1`` run."""
    allocations = peak.recording.allocations
    a, b = allocations.at.searchsorted([first, end], side="left").tolist()
    before = int(allocations.live[a - 1]) if a else 0
    return max(before, int(allocations.live[a:b].max(initial=0)))
