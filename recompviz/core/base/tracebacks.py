"""Tracebacks without the frames of PyTorch and recompviz.

An error in the user's model passes through many of these frames, and they do not help to find the error.
"""

from __future__ import annotations

import types

# Modules whose frames are left out of tracebacks.
_LIBRARIES = ("torch", "recompviz", "contextlib")


def without_library_frames(error: BaseException) -> BaseException:
    """Remove the frames of torch, recompviz and ``contextlib`` from the traceback of an error.

    The error is changed in place and returned. Its ``__cause__`` becomes None, and Python does not show its
    ``__context__``.
    """
    frames: list[types.TracebackType] = []
    entry = error.__traceback__
    while entry is not None:
        module = str(entry.tb_frame.f_globals.get("__name__", ""))
        if module.partition(".")[0] not in _LIBRARIES:
            frames.append(entry)
        entry = entry.tb_next
    shown: types.TracebackType | None = None
    for frame in reversed(frames):
        shown = types.TracebackType(shown, frame.tb_frame, frame.tb_lasti, frame.tb_lineno)
    error.__cause__, error.__suppress_context__ = None, True
    return error.with_traceback(shown)
