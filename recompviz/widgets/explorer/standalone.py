"""The exported page: the Explorer in one HTML file, which needs neither a kernel nor a network.

The file contains the values of the widget's traits, the layout of the graph in each layout mode, and the joint graph:
the operator calls of the forward and the backward pass. From the joint graph, the page computes the schedule and the
timeline of any plan (``js/data/schedule.js``, ``js/data/simulation.js``). Therefore the file needs no stored timelines.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recompviz.core.graphs.graph import Graph
from recompviz.core.steps.joint import JointGraph
from recompviz.widgets.base.offline_page import offline_page
from recompviz.widgets.explorer.joint_wire import joint_message
from recompviz.widgets.explorer.questions import solving_state
from recompviz.widgets.explorer.wire import layout_message
from recompviz.widgets.layout.layout import MODES, lay_out


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
            "_solving": solving_state({}),
        },
        "layouts": {mode: layout_message(lay_out(graph, mode)) for mode in MODES},
        "joint": joint_message(graph, joint),  # with labels, which the trait leaves to the kernel
    }
    return offline_page("explorer/standalone.js", data, f"{title}: recompviz", fallback)
