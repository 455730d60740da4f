"""Call drawing functions by name, so that data classes need not import them.

The drawing code imports the data classes, so an import in the other direction would be a cycle. The ``figure()`` and
HTML methods of data classes therefore call :func:`render`, which imports the drawing function when it is called.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

# drawing function → the module that defines it
_DEFINED_IN = {
    "timeline_figure": "recompviz.core.reports.plotly_figures",
    "tradeoff_figure": "recompviz.core.reports.plotly_figures",
    "gap_figure": "recompviz.core.reports.plotly_figures",
    "peak_figure": "recompviz.core.reports.peak_figure",
    "first_sentence": "recompviz.core.reports.first_sentence",
    "report_text": "recompviz.core.reports.memory_report_text",
    "report_html": "recompviz.core.reports.html",
    "recording_figure": "recompviz.core.snapshots.recording_figures",
    "overlay_figure": "recompviz.core.snapshots.recording_figures",
    "race_svg": "recompviz.core.reports.race_picture",
    "race_page": "recompviz.core.reports.race_picture",
    "step_text": "recompviz.core.reports.training_step_text",
}


def render(function: str, *values: Any) -> Any:
    """Call a drawing function by name and return its result.

    Parameters
    ----------
    function : str
        The name of the drawing function, for example ``"timeline_figure"``.
    *values
        The arguments of the drawing function.

    Returns
    -------
    plotly.graph_objects.Figure or str
        A figure, text or HTML, depending on the function.

    Raises
    ------
    KeyError
        If there is no drawing function of this name.
    """
    return getattr(import_module(_DEFINED_IN[function]), function)(*values)
