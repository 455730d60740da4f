"""Check whether numba is installed and whether its kernels are already compiled on this machine.

*Kernels* are functions that numba compiles. numba caches the compiled code on disk. The first compilation takes up to
a minute, so small problems are solved in NumPy as long as there is no compiled code.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path


def has_numba() -> bool:
    """Return whether numba is installed."""
    return importlib.util.find_spec("numba") is not None


def has_compiled_code(kernels: str) -> bool:
    """Return whether the folder ``__pycache__`` of a module in ``recompviz/core`` has a file of numba's cache for it.

    Parameters
    ----------
    kernels : str
        Folder and file name of the module without suffix, for example ``"live/kernels"``.

    Returns
    -------
    bool
        Whether there is a file. It may be of an older version of the module. If the environment variable
        ``NUMBA_CACHE_DIR`` is set, the cache is in another folder. The result is then True, without a search.

    Examples
    --------
    >>> has_compiled_code("live/no_such_kernels")
    False
    """
    if os.environ.get("NUMBA_CACHE_DIR"):  # the cache is elsewhere, under names that numba chooses
        return True
    room, _, name = kernels.partition("/")
    return any((Path(__file__).parent.parent / room / "__pycache__").glob(f"{name}.*.nbi"))
