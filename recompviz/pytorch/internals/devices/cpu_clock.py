"""A stopwatch for work on the CPU, which shares the cores with other programs.

On a busy machine, the operating system preempts the threads of a process: another program gets the core. The wall-clock
time of a short operator can then be a hundred times too long, because all threads of an operator wait for the slowest.
The operating system counts preemptions, so each timing knows whether it was disturbed. The time of a disturbed run is
estimated from processor times, in which waiting for a core does not count.
"""

from __future__ import annotations

import time

import torch

try:
    from resource import RUSAGE_SELF, getrusage
except ImportError:  # Windows

    def _preemptions() -> int:
        """Return the number of times that a thread of this process was preempted; 0 where that is not known."""
        return 0
else:

    def _preemptions() -> int:
        """Return the number of times that a thread of this process was preempted; 0 where that is not known."""
        return getrusage(RUSAGE_SELF).ru_nivcsw


# Work of fewer seconds than this is disturbed by any preemption: another program usually gets a core for 4 ms.
SHORT = 0.02
# Longer work is preempted now and then on every machine, mostly for a moment. It is disturbed if the calling thread was
# without a core for more than this share of the time.
MOST_LOST = 0.1


class CpuClock:
    """A stopwatch for work that is finished when a call returns.

    Attributes
    ----------
    preempted : bool
        Whether the wall-clock time is too long, because the operating system took a core from a thread of this process
        between the start and the stop. Work of 20 ms or more counts as preempted only if the calling thread was without
        a core for more than 10 % of the time. Always False on Windows, where preemptions are not known.
    """

    def __init__(self) -> None:
        self.preempted = False
        self._seconds = 0.0
        self._start = (0, 0.0, 0.0, 0.0)

    def start(self) -> None:
        """Note the start of the work."""
        self._start = (_preemptions(), time.process_time(), time.thread_time(), time.perf_counter())

    def stop(self) -> None:
        """Note the end of the work."""
        wall, own, all_threads = time.perf_counter(), time.thread_time(), time.process_time()
        preemptions, all_before, own_before, began = self._start
        self._seconds = wall - began
        without_core = self._seconds - (own - own_before)
        disturbed = self._seconds < SHORT or without_core > MOST_LOST * self._seconds
        self.preempted = disturbed and _preemptions() > preemptions
        if self.preempted:
            # This thread takes part in parallel work, and waits for the other threads without giving up its core.
            worked = max(own - own_before, (all_threads - all_before) / torch.get_num_threads())
            self._seconds = min(self._seconds, worked)

    def seconds(self) -> float:
        """Return the time of the work in seconds.

        It is the wall-clock time. If the work was preempted, it is the processor time of the calling thread, or the
        processor time of the process divided by PyTorch's number of threads, whichever is longer; but at most the
        wall-clock time.
        """
        return self._seconds
