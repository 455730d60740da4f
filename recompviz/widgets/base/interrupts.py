"""Delay the interrupt of a cell (Ctrl-C) until a change is complete."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType

# seconds; a second interrupt that comes later than this after the first is not delayed
PATIENCE = 1.0


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Delay an interrupt of the main thread until the ``with`` block ends.

    An interrupt that comes more than one second after the first one is not delayed. So the user can still stop a block
    that takes long. In other threads this function does nothing, because Python interrupts only the main thread.
    """
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    handler = before
    interrupted: list[float] = []

    def later(number: int, frame: FrameType | None) -> None:
        if interrupted and time.monotonic() > interrupted[0] + PATIENCE:
            handler(number, frame)
        interrupted.append(time.monotonic())

    signal.signal(signal.SIGINT, later)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGINT) is later:
            signal.signal(signal.SIGINT, handler)
        if interrupted:
            handler(signal.SIGINT, None)
