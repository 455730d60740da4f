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
    """Return whether numba has kept compiled code of a module in ``recompviz/core`` on disk.

    Parameters
    ----------
    kernels : str
        The module as ``"folder/file"`` without suffix, for example ``"live/kernels"``.

    Returns
    -------
    bool
        Whether the folder ``__pycache__`` beside the module has a file of numba for this module. The file may belong to
        an older version of the module. If the environment variable ``NUMBA_CACHE_DIR`` is set, nothing is searched, and
        the result is True.

    Examples
    --------
    >>> has_compiled_code("live/no_such_kernels")
    False
    """
    if os.environ.get("NUMBA_CACHE_DIR"):  # the cache is elsewhere, under names that numba chooses
        return True
    room, _, name = kernels.partition("/")
    return any((Path(__file__).parent.parent / room / "__pycache__").glob(f"{name}.*.nbi"))
