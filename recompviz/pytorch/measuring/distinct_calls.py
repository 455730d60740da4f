"""Run only the first of equal operator calls in a training step. Later equal calls get the result of the first.

A network repeats its blocks. Most calls of a long step therefore equal an earlier call: they run the same operator on
tensors of the same shapes. For the calibration, one of these calls is enough. The values in such a step are wrong, but
every tensor has the right shape, and has numbers that an equal call computed. Calls that write to an argument, and
calls whose result an equal call cannot take, run each time.

The first run of a kernel in a process is slower than later runs: the kernel is prepared for these shapes, and its
memory is touched for the first time. A short call therefore runs again, in the memory that its first result has freed,
and the time of the first run does not count. The first run of a long call is only about 5 % slower, which is less than
the noise. If other programs disturbed all runs that count, a short call runs a few more times.
"""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch.utils import _pytree as pytree

from recompviz.core.steps.schedule import Schedule
from recompviz.pytorch.internals.devices.base import Stopwatch, typical_seconds
from recompviz.pytorch.internals.operators import is_foreign, is_in_place
from recompviz.pytorch.tracing.call_list import ARRIVE
from recompviz.pytorch.tracing.folding import Folded

# The number of times that a call runs again, by the most seconds of its first run.
AGAIN = {0.005: 2, 0.05: 1}
# No further run of a call that other programs disturb begins after this many seconds.
DISTURBED_SECONDS = 0.06


class DistinctCalls:
    """Runs the operator calls of one training step. Of equal calls, usually only the first runs.

    Calls that write to an argument, and calls whose result an equal call cannot take, run each time.

    Parameters
    ----------
    folded : Folded
        The operator calls of the training step.
    schedule : Schedule
        The schedule that runs.
    keys : sequence of str
        A key for each call of the joint graph. Calls with the same key are equal.
    again : callable () → context manager
        If a short call runs again to be timed, the further runs are inside ``with again():``. The caller can then leave
        out the allocations of these runs.
    stopwatch : callable () → Stopwatch
        Returns a new stopwatch of the device.

    Attributes
    ----------
    ran : dict of str to int
        For each key, the number of the step of the schedule in which the first call with this key ran.
    """

    def __init__(
        self,
        folded: Folded,
        schedule: Schedule,
        keys: Sequence[str],
        again: Callable[[], AbstractContextManager[None]],
        stopwatch: Callable[[], Stopwatch],
    ) -> None:
        self._keys = [keys[c] for c in schedule.calls]
        self._left = Counter(self._keys)
        self._again, self._stopwatch = again, stopwatch
        self._times: dict[str, list[float]] = {}
        self._results: dict[str, Any] = {}
        self._always = {keys[c] for c, node in enumerate(folded.call_node) if _must_run(folded, c, node)}
        self.ran: dict[str, int] = {}

    def __call__(self, step: int, function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        """Run the call of a step of the schedule, or return the result of an equal call that ran before.

        Parameters
        ----------
        step : int
            The number of the step.
        function : callable
            The operator of the call. It is called with ``arguments`` and ``keywords``.
        """
        key = self._keys[step]
        self._left[key] -= 1
        if key in self._results:
            result = self._results[key] if self._left[key] else self._results.pop(key)
            return pytree.tree_map_only(torch.Tensor, torch.Tensor.detach, result)
        began = time.perf_counter()
        watches, result = [self._stopwatch()], None

        def run() -> None:
            nonlocal result
            result = None  # free the memory first
            watches[-1].start()
            result = function(*arguments, **keywords)
            watches[-1].stop()

        run()
        self.ran.setdefault(key, step)
        if key not in self._always:
            first = watches[0].seconds()
            further = next((count for most, count in AGAIN.items() if first < most), 0)
            while further and (
                len(watches) <= further
                or (all(w.preempted for w in watches[1:]) and time.perf_counter() - began < DISTURBED_SECONDS)
            ):
                watches.append(self._stopwatch())
                with self._again():
                    run()
            if self._left[key]:
                self._results[key] = result
        self._times.setdefault(key, []).append(typical_seconds(watches[1:] or watches))
        return result

    def seconds(self, key: str) -> float:
        """Return the time of one call with this key, in seconds: the median over the calls with this key that ran.

        Raises
        ------
        KeyError
            If no call with this key has run.
        """
        return statistics.median_low(self._times[key])


def _must_run(folded: Folded, c: int, node: torch.fx.Node) -> bool:
    """Return whether a call must run each time: it writes to a tensor, or another call cannot take its result."""
    call = folded.joint.calls[c]
    if call.info.op == ARRIVE or not call.makes or is_foreign(node.target) or is_in_place(node.target):
        return True
    values = pytree.tree_leaves(node.meta.get("val"))
    return any(value is not None and not _is_plain(value) for value in values)


def _is_plain(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.layout == torch.strided
