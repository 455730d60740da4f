"""Causes that lie with what a step computes without use: gradients that nothing steps, and twice the precision."""

from __future__ import annotations

from collections.abc import Iterator

from recompviz.core.reports.memory_report import Finding
from recompviz.pytorch.debugging.causes.parts import Live, finding
from recompviz.pytorch.debugging.peak.peak_state import PeakState, times
from recompviz.pytorch.debugging.recorder.watched import Operator


def unstepped_gradients(peak: PeakState, live: Live) -> Iterator[Finding]:
    """Gradients of parameters that no optimiser of the step updates: of a teacher, or of a frozen part."""
    stepped = peak.recording.watcher.stepped
    if not stepped or not peak.has_backward:
        return
    rows = [
        (i, one)
        for i, one in live
        if one.block is not None and one.block.role == "gradient" and one.block.gradient_of not in {-1, *stepped}
    ]
    if rows:
        largest = max(rows, key=lambda row: row[1].size)[1]
        size = sum(one.size for _, one in rows)
        forward = peak.forward_of(largest.operator)
        yield finding(
            peak,
            "gradients that nothing steps",
            rows,
            f"{times(len(rows), size)} are gradients of parameters that no optimiser of this step has; what was saved "
            "for them comes on top",
            "run that part under `torch.no_grad()`, or `requires_grad_(False)` its parameters",
            forward.line if forward is not None else None,
        )


def double_precision(peak: PeakState, live: Live) -> Iterator[Finding]:
    """Values in float64, which training hardly ever needs: most come from an array of NumPy's."""
    rows = [
        (i, one)
        for i, one in live
        if one.block is not None and one.block.operand.dtype == "float64" and one.block.role != "input"
    ]
    if not rows:
        return
    first = next((op for op in peak.operators if _turns_double(op)), None)
    size = sum(one.size for _, one in rows)
    yield finding(
        peak,
        "values in float64",
        rows,
        f"{times(len(rows), size)} are in float64, twice the bytes of float32"
        + (f"; `{first.short}` is the first to make one" if first is not None else ""),
        "`.float()` what comes from NumPy, the model's parameters too; or `torch.set_default_dtype(torch.float32)`",
        first.line if first is not None else None,
        avoidable=size // 2,
    )


def _turns_double(op: Operator) -> bool:
    """Whether an operator makes a float64 value of operands that are not all float64."""
    made = any(o.dtype == "float64" for o in op.makes)
    return made and not (op.reads and all(o.dtype == "float64" for o in op.reads))
