"""Whether a person has the notebook open in which the code runs."""

from __future__ import annotations

import sys
from typing import Any


def is_interactive() -> bool:
    """Return whether the code runs in a notebook that a person has open, and not in a script or an exporter."""
    kernel = getattr(running_shell(), "kernel", None)
    return bool(getattr(kernel, "_allow_stdin", False))  # exporters, such as nbconvert, do not allow it


def running_shell() -> Any:
    """Return IPython's shell; None in a script."""
    ipython = sys.modules.get("IPython")
    return None if ipython is None else ipython.get_ipython()
