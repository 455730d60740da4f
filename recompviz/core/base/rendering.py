"""Find the function that draws a data class, in a room above it.

Data classes have ``figure()`` and HTML methods but must not import the code that draws them. They name the drawing
function instead, which is imported when it is first called.
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
    "step_text": "recompviz.core.reports.training_step_text",
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
