"""Check whether numba is installed and whether its kernels are already compiled on this machine.

numba caches compiled code on disk. The first compilation takes most of a minute, so the NumPy code solves small
problems while there is no compiled code.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path


def has_numba() -> bool:
    """Whether numba is installed, so that the compiled solvers can run."""
    return importlib.util.find_spec("numba") is not None


def is_compiled(kernels: str) -> bool:
    """Whether a module of kernels in the core was compiled on this machine before.

    Parameters
    ----------
    kernels : str
        Room and file, for example ``"live/kernels"``.

    Examples
    --------
    >>> is_compiled("live/no_such_kernels")
    False
    """
    if os.environ.get("NUMBA_CACHE_DIR"):  # the cache is elsewhere, under names that numba chooses
        return True
    room, _, name = kernels.partition("/")
    return any((Path(__file__).parent.parent / room / "__pycache__").glob(f"{name}.*.nbi"))
