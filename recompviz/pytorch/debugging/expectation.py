"""Expected against measured: the simulated step and the eager one aligned operator by operator.

Both are sequences of the same operators, the traced one functional, the eager one as it ran. They are aligned by
operator and pass; what each aligned stretch adds to live memory is compared, and what differs is named, largest first.
"""

from __future__ import annotations

from difflib import SequenceMatcher
from typing import Any

import numpy as np

from recompviz.core.reports.memory_report import Difference
from recompviz.core.steps.schedule import Phase
from recompviz.pytorch.debugging.recorder.recording import Recording, operator_label
from recompviz.pytorch.tracing.traced_step import Trace, simulate

# longer steps are not aligned: it would take minutes
MOST_OPERATORS = 6000


def differences(traced: Trace, recording: Recording) -> tuple[Difference, ...]:
    """Where the measured step's memory changes otherwise than the simulated one's, largest first."""
    peak = recording.peak_operator
    if peak is None:
        return ()
    starts = [*recording.watcher.step_starts, len(recording.watcher.operators)]
    first, last = starts[peak.step], starts[peak.step + 1]
    operators = [op for op in recording.watcher.operators[first:last] if op.makes and not op.optimizer]
    simulated = simulate(traced)
    schedule = traced.schedule(None)
    calls = [traced.joint.calls[c] for c in schedule.calls]
    if max(len(operators), len(calls)) > MOST_OPERATORS:
        return ()
    ours = [(op.short.rstrip("_"), op.phase is not Phase.FORWARD) for op in operators]
    theirs = [(call.info.op.removeprefix("aten.").rstrip("_"), call.backward) for call in calls]
    measured = _before(recording, [op.number for op in operators] + [last])
    expected = np.concatenate([[0], simulated.step_ends])
    matcher = SequenceMatcher(None, theirs, ours, autojunk=False)
    anchors = [(i + k, j + k) for i, j, size in matcher.get_matching_blocks() for k in range(size)]
    found = []
    i0 = j0 = 0
    for i, j in anchors:
        wanted = int(expected[min(i, len(expected) - 1)] - expected[min(i0, len(expected) - 1)])
        got = int(measured[j] - measured[j0])
        if wanted != got:
            op = operators[j0] if j0 < len(operators) else operators[-1]
            found.append(Difference(operator_label(op), wanted, got, op.line))
        i0, j0 = i, j
    return tuple(sorted(found, key=lambda d: -abs(d.change)))


def _before(recording: Recording, numbers: list[int]) -> Any:
    """Live transient bytes just before each operator."""
    at = np.array([row[0] for row in recording.rows], np.int64)
    live = np.concatenate([[0], recording.live])
    return live[np.searchsorted(at, np.array(numbers), side="left")]
