"""The exported page: the Explorer in one HTML file, which needs neither a kernel nor a network.

The file contains the values of the widget's traits, the layouts of all modes, and the joint graph: the operator calls
of the forward and the backward pass. From the joint graph, the page computes the schedule and the timeline of any plan
(``js/data/schedule.js``, ``js/data/simulation.js``). Therefore the file needs no stored timelines.
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
from recompviz.core.steps.joint import Category, JointGraph
from recompviz.core.steps.simulation import ARRIVAL, OPTIMIZER_SCRATCH, OPTIMIZER_STEP
from recompviz.widgets.base import assets
from recompviz.widgets.explorer.wire import layout_message
from recompviz.widgets.layout.layout import MODES, lay_out
from recompviz.widgets.layout.step_nodes import node_numbers, step_nodes

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
            **traits,
            "_run": {**traits["_run"], "state": "idle", "can": False},
            "_solving": {"state": "idle", "fraction": 0.0, "text": "", "families": {}},
        },
        "layouts": {mode: layout_message(lay_out(graph, mode)) for mode in MODES},
        "joint": joint_message(graph, joint),
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


def joint_message(graph: Graph, joint: JointGraph) -> dict[str, Any]:
    """Return the joint graph as ``js/explorer/offline.js`` reads it."""
    keys = [call.info.key for call in joint.calls]
    return {
        "calls": [
            [call.node, call.reads, call.makes, call.pinned, call.random, call.views, call.follows]
            for call in joint.calls
        ],
        "forwardCount": joint.forward_count,
        "makers": [storage.maker for storage in joint.storages],
        "sizes": joint.sizes,
        "categories": [int(storage.category) for storage in joint.storages],
        "results": sorted(joint.results),
        "clones": joint.clones,
        "tangentBytes": joint.tangent_bytes,
        "rngBytes": joint.rng_bytes,
        "alignment": joint.alignment,
        "workspace": joint.workspace,
        "optimizerScratch": joint.optimizer_scratch,
        "static": [[int(category), size] for category, size in joint.static.items()],
        "categoryLabels": [category.label for category in Category],
        "callNodes": step_nodes(graph, node_numbers(graph), keys),
        "labels": [
            *keys,
            *(storage.label for storage in joint.storages),
            *("generator state", "workspace", "gradient of the loss", OPTIMIZER_SCRATCH, ARRIVAL, OPTIMIZER_STEP),
        ],
    }


def _encoded(text: str) -> bytes:
    """Return a text in UTF-8. Lone surrogates, for example of a file name that is not UTF-8, are written as escapes."""
    return text.encode("utf-8", "backslashreplace")


def _buffer(value: Any) -> dict[str, str]:
    """Encode bytes for JSON, as ``{"$": base64 text}``."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {"$": base64.b64encode(bytes(value)).decode()}
    raise TypeError(f"{type(value).__name__} cannot be written to a page")
