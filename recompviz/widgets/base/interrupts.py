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

    The block should be short. A second interrupt is not delayed if it comes more than one second after the first. It
    can stop a block that takes long, for example because the block calls code of the user.

    In other threads nothing changes, because Python interrupts only the main thread.
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
