"""The exported page: the Explorer in one HTML file, which needs neither a kernel nor a network.

The file contains the values of the widget's traits, the layout of the graph in each layout mode, and the joint graph:
the operator calls of the forward and the backward pass. From the joint graph, the page computes the schedule and the
timeline of any plan (``js/data/schedule.js``, ``js/data/simulation.js``). Therefore the file needs no stored timelines.
"""

from __future__ import annotations

import base64
import gzip
import html
import json
from collections.abc import Mapping
from typing import Any

from recompviz.core.base import palette
from recompviz.core.graphs.graph import Graph
from recompviz.core.steps.joint import JointGraph
from recompviz.widgets.base import assets
from recompviz.widgets.explorer.joint_wire import joint_message
from recompviz.widgets.explorer.wire import layout_message
from recompviz.widgets.layout.layout import MODES, lay_out

_PAGE = """<!doctype html>
<html lang="en" data-jp-theme-light="true">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{css}
body {{ margin: 0; padding: 16px; background: {light[surface]}; }}
#recompviz {{ max-width: 1500px; margin: 0 auto; }}
html[data-jp-theme-light="false"] {{ color-scheme: dark; }}
html[data-jp-theme-light="false"] body {{ background: {dark[surface]}; }}
</style>
</head>
<body>
<div id="recompviz"></div>
<noscript>{fallback}</noscript>
<script id="recompviz-data" type="application/octet-stream">{data}</script>
<script type="module">
{script}
</script>
</body>
</html>
"""


def standalone_page(graph: Graph, joint: JointGraph, traits: Mapping[str, Any], title: str, fallback: str) -> str:
    """Return the HTML page of an Explorer in its present state.

    Parameters
    ----------
    graph : Graph
    joint : JointGraph
        The forward and backward pass of the step, on which the page simulates plans.
    traits : dict
        The value of each synchronised trait of the widget, by name.
    title : str
        The title of the page.
    fallback : str
        An SVG picture that the browser shows if scripts are disabled.
    """
    data = {
        "traits": {
            **{name: value for name, value in traits.items() if name != "_joint"},
            "_sizes": {**traits["_sizes"], "state": "idle", "text": ""},
            "_opening": {**traits["_opening"], "begun": 0.0},
            "_run": {**traits["_run"], "state": "idle", "can": False},
            "_solving": {"state": "idle", "fraction": 0.0, "text": "", "loaded": False, "families": {}},
        },
        "layouts": {mode: layout_message(lay_out(graph, mode)) for mode in MODES},
        "joint": joint_message(graph, joint),  # with labels, which the trait leaves to the kernel
    }
    text = json.dumps(data, default=_buffer, separators=(",", ":"), ensure_ascii=False)
    page = _PAGE.format(
        title=html.escape(f"{title}: recompviz"),
        css=assets.css(),
        light=palette.LIGHT,
        dark=palette.DARK,
        fallback=fallback,
        data=base64.b64encode(gzip.compress(_encoded(text), mtime=0)).decode(),
        script=assets.esm("explorer/standalone.js").replace("</script", "<\\/script"),
    )
    return _encoded(page).decode()


def _encoded(text: str) -> bytes:
    """Return a text in UTF-8. Lone surrogates, for example of a file name that is not UTF-8, are written as escapes."""
    return text.encode("utf-8", "backslashreplace")


def _buffer(value: Any) -> dict[str, str]:
    """Encode bytes for JSON, as ``{"$": base64 text}``."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {"$": base64.b64encode(bytes(value)).decode()}
    raise TypeError(f"{type(value).__name__} cannot be written to a page")
