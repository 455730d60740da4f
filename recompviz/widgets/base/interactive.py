"""What is known about the notebook in which the code runs: whether a person has it open, and its cell numbers."""

from __future__ import annotations

import os
import sys
from typing import Any


def is_interactive() -> bool:
    """Return whether the code runs in a notebook that a person has open, and not in a script or an exporter."""
    kernel = getattr(running_shell(), "kernel", None)
    return bool(getattr(kernel, "_allow_stdin", False))  # exporters, such as nbconvert, do not allow it


def is_exported() -> bool:
    """Return whether a program runs the notebook and then saves it, for example ``jupyter nbconvert --execute``.

    Voilà also runs notebooks without a person, but the page that it shows stays connected.
    """
    has_kernel = getattr(running_shell(), "kernel", None) is not None
    return has_kernel and not is_interactive() and not os.environ.get("SERVER_SOFTWARE", "").startswith("voila")


def running_shell() -> Any:
    """Return IPython's shell; None in a script."""
    ipython = sys.modules.get("IPython")
    return None if ipython is None else ipython.get_ipython()


def with_cell_name(place: str) -> str:
    """Return the place of code as text for the user. For a cell of a notebook, the cell's number replaces the path.

    Parameters
    ----------
    place : str
        A path, or a path and a line as ``"path:line"``.

    Examples
    --------
    >>> with_cell_name("model.py:12")  # in a notebook: "/tmp/ipykernel_7/123.py:4" → "Cell In[3]:4"
    'model.py:12'
    """
    names = getattr(getattr(running_shell(), "compile", None), "format_code_name", None)
    if names is None:
        return place
    path, colon, line = place.rpartition(":")
    if not line.isdigit():
        path, colon, line = place, "", ""
    found = names(path)
    return place if found is None else f"{' '.join(found)}{colon}{line}"
