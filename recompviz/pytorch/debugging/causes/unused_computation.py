"""A cause of memory at the peak: values in float64."""

from __future__ import annotations

from collections.abc import Iterator

from recompviz.core.reports.findings import Finding
from recompviz.pytorch.debugging.causes.shared import LiveRows, bytes_of, finding
from recompviz.pytorch.debugging.peak.description import blocks_and_bytes
from recompviz.pytorch.debugging.peak.peak_state import PeakState
from recompviz.pytorch.debugging.recorder.watched import Operator


def double_precision(peak: PeakState, rows: LiveRows) -> Iterator[Finding]:
    """Yield a finding if live blocks other than inputs are in float64. Training rarely needs this dtype.

    Such blocks often come from NumPy arrays. Half of their bytes count as avoidable.
    """
    members = [
        (i, live)
        for i, live in rows
        if live.block is not None and live.block.operand.dtype == "float64" and live.block.role != "input"
    ]
    if not members:
        return
    first = next((op for op in peak.operators if _makes_double(op)), None)
    size = bytes_of(members)
    yield finding(
        peak,
        "values in float64",
        members,
        f"{blocks_and_bytes(len(members), size)} are in float64, which takes twice the bytes of float32"
        + (f"; `{first.short}` makes the first one" if first is not None else ""),
        "call `.float()` on what comes from NumPy and on the model, or use `torch.set_default_dtype(torch.float32)`",
        first.line if first is not None else None,
        avoidable=size // 2,
    )


def _makes_double(op: Operator) -> bool:
    """Return whether an operator makes a float64 value from inputs that are not all float64."""
    made = any(o.dtype == "float64" for o in op.makes)
    return made and not (op.reads and all(o.dtype == "float64" for o in op.reads))
