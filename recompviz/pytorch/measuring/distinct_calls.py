"""Run only the first of equal operator calls in a training step. Later ones get the result of the first.

A network repeats its blocks, so that most calls of a long step equal an earlier one: the same operator on tensors of
the same shapes. For the calibration, one run of each is enough. The values of such a step are wrong, but every tensor
has its shape, and holds numbers that an operator of this kind gave.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils import _pytree as pytree

from recompviz.core.steps.schedule import Schedule
from recompviz.pytorch.internals.operators import is_foreign, is_in_place
from recompviz.pytorch.tracing.call_list import ARRIVE
from recompviz.pytorch.tracing.folding import Folded

# A call as short as this, in seconds, runs up to so many times, because its first time may be disturbed.
SHORT, MOST_RUNS = 0.02, 3


class DistinctCalls:
    """Runs the operator calls of one training step, but equal ones only up to three times, or once if they are long.

    Parameters
    ----------
    folded : Folded
    schedule : Schedule
    keys : sequence of str
        One for each call of the joint graph. Calls with the same key are equal.
    seconds : callable (step) → float
        Returns the seconds of a step of the schedule that has run.

    Attributes
    ----------
    ran : dict of str to list of int
        The steps of the schedule whose calls ran, by key.
    """

    def __init__(
        self, folded: Folded, schedule: Schedule, keys: Sequence[str], seconds: Callable[[int], float]
    ) -> None:
        self._keys = [keys[c] for c in schedule.calls]
        self._left = Counter(self._keys)
        self._seconds = seconds
        self._results: dict[str, Any] = {}
        self._always = {keys[c] for c, node in enumerate(folded.call_node) if _must_run(folded, c, node)}
        self.ran: dict[str, list[int]] = {}

    def __call__(self, step: int, function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        """Run the call of a step, or return the result of an equal call."""
        key = self._keys[step]
        self._left[key] -= 1
        if key in self._results and self._is_known(key):
            result = self._results[key] if self._left[key] else self._results.pop(key)
            return pytree.tree_map_only(torch.Tensor, torch.Tensor.detach, result)
        result = function(*arguments, **keywords)
        self.ran.setdefault(key, []).append(step)
        if self._left[key] and key not in self._always:
            self._results[key] = result
        return result

    def _is_known(self, key: str) -> bool:
        ran = self.ran[key]
        return len(ran) >= MOST_RUNS or self._seconds(ran[0]) > SHORT


def _must_run(folded: Folded, c: int, node: torch.fx.Node) -> bool:
    """Return whether a call must run each time: it writes to a tensor, or another call cannot take its result."""
    call = folded.joint.calls[c]
    if call.info.op == ARRIVE or not call.makes or is_foreign(node.target) or is_in_place(node.target):
        return True
    values = pytree.tree_leaves(node.meta.get("val"))
    return any(value is not None and not _is_plain(value) for value in values)


def _is_plain(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.layout == torch.strided
