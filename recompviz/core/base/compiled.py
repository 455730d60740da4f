"""Whether compiled loops can run here, and whether they have been compiled on this machine before.

numba keeps what it compiled on disk; the first time costs the better part of a minute. Where little is
asked for, the plain code answers sooner than that.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path


def has_numba() -> bool:
    """Whether the compiled solvers can run here."""
    return importlib.util.find_spec("numba") is not None


def is_compiled(kernels: str) -> bool:
    """Whether a module of kernels of the core was compiled on this machine before.

    Parameters
    ----------
    kernels : str
        Room and file, for example ``"live/kernels"``.

    Examples
    --------
    >>> is_compiled("live/no_such_kernels")
    False
    """
    if os.environ.get("NUMBA_CACHE_DIR"):  # somewhere else, and found by a name of numba's own
        return True
    room, _, name = kernels.partition("/")
    return any((Path(__file__).parent.parent / room / "__pycache__").glob(f"{name}.*.nbi"))
