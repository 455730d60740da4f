"""Compare simulated with measured memory, operator by operator.

The simulated training step is a functional graph, and the measured step is eager Python. Both run nearly the same
operators. The two sequences of operators are aligned by operator name and by pass (forward or backward). From each
aligned operator to the next, the change of live memory is compared.
"""

from __future__ import annotations

from difflib import SequenceMatcher

import numpy as np

from recompviz.core.reports.findings import Difference
from recompviz.core.steps.schedule import Phase
from recompviz.pytorch.debugging.recorder.recording import Recording, operator_label
from recompviz.pytorch.tracing.traced_step import Trace, simulate

# longer steps are not aligned, because it would take minutes
MOST_OPERATORS = 6000


def differences(traced: Trace, recording: Recording) -> tuple[Difference, ...]:
    """Return where live memory changes by more or less than in the simulation.

    A difference begins at an aligned operator and ends before the next aligned operator. The largest difference comes
    first. The measured training step is the step that contains the peak, without its optimizer step. The simulated step
    has no recomputation. If nothing was recorded, or if one of the two steps has more than 6,000 operators, the result
    is empty. Operators of the measured step that return no new block are ignored.
    """
    if recording.peak_operator is None:
        return ()
    step = recording.peak_step
    first, last = recording.steps.start_of(step), recording.steps.start_of(step + 1)
    operators = [op for op in recording.operators[first:last] if op.makes and not op.optimizer]
    simulated = simulate(traced)
    calls = [traced.joint.calls[c] for c in traced.schedule(None).calls]
    if max(len(operators), len(calls)) > MOST_OPERATORS:
        return ()
    eager_keys = [(op.short.rstrip("_"), op.phase is not Phase.FORWARD) for op in operators]
    traced_keys = [(call.info.op.removeprefix("aten.").rstrip("_"), call.backward) for call in calls]
    measured = recording.live_before([op.number for op in operators] + [last])
    expected = np.concatenate([[0], simulated.step_ends])
    matcher = SequenceMatcher(None, traced_keys, eager_keys, autojunk=False)
    aligned = [(i + k, j + k) for i, j, size in matcher.get_matching_blocks() for k in range(size)]
    found = []
    i0 = j0 = 0
    for i, j in aligned:
        expected_change = int(expected[min(i, len(expected) - 1)] - expected[min(i0, len(expected) - 1)])
        measured_change = int(measured[j] - measured[j0])
        if expected_change != measured_change:
            op = operators[j0] if j0 < len(operators) else operators[-1]
            found.append(Difference(operator_label(op), expected_change, measured_change, op.line))
        i0, j0 = i, j
    return tuple(sorted(found, key=lambda difference: -abs(difference.change)))
