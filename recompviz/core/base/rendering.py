"""Data classes offer ``figure()`` and HTML. This file finds the function that draws them, in a room above theirs.

The data classes must not import the code that draws them. They name the drawing function instead, and it is
imported when it is first called.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

# drawing function → the module that defines it
_DEFINED_IN = {
    "timeline_figure": "recompviz.core.reports.figures",
    "tradeoff_figure": "recompviz.core.reports.figures",
    "gap_figure": "recompviz.core.reports.figures",
    "peak_figure": "recompviz.core.reports.peak_figure",
    "report_text": "recompviz.core.reports.text",
    "report_html": "recompviz.core.reports.html",
}


def render(function: str, *values: Any) -> Any:
    """Call a drawing function by name.

    Parameters
    ----------
    function : str
        For example ``"timeline_figure"``.
    *values
        What to draw.

    Raises
    ------
    KeyError
        If there is no drawing function of that name.
    """
    return getattr(import_module(_DEFINED_IN[function]), function)(*values)
