"""The picture of two graphs: every difference is a box with its sign, an unchanged stretch is one box."""

import dataclasses
import xml.etree.ElementTree as ET

import pytest

import recompviz as rv
from recompviz.core.graphs.graph import Graph, NodeInfo
from recompviz.core.planning.planner import Planner
from recompviz.core.steps.examples import chain_step, residual_step
from recompviz.widgets.explorer.compared_traces import STRETCH, comparison_svg


def planner(*ops):
    graph, joint = chain_step([4] * len(ops))
    info = tuple(NodeInfo(key=f"m/{op}{v}", op=op, module=f"m{v}" if op == "x" else "m") for v, op in enumerate(ops))
    return Planner(dataclasses.replace(graph, info=info), joint)


def texts(svg):
    return [element.text for element in ET.fromstring(svg).iter() if element.tag.endswith("text")]


def test_new_and_gone_values_are_boxes_and_the_rest_is_one_box_each():
    before = planner("a", "b", "c", "d", "e", "gone1", "f", "g", "h", "i")
    after = planner("a", "b", "c", "d", "new1", "e", "f", "g", "h", "i")
    found = rv.compare_traces(before, after)
    assert [(row.state, row.key) for row in found.rows] == [("new", "m/new14"), ("gone", "m/gone15")]
    shown = texts(comparison_svg(found))
    assert shown[-7:] == ["⋯4", "new1", "+", "e", "gone1", "−", "⋯4"]
    assert STRETCH < 4


def test_equal_graphs_are_one_box_and_the_html_has_the_picture_as_an_image():
    step = Planner(*residual_step((1, 1)))
    found = rv.compare_traces(step, step)
    assert f"⋯{len(step.graph)}" in texts(comparison_svg(found))
    html = found._repr_html_()
    assert "no value differs" in html
    assert 'src="data:image/svg+xml;base64,' in html
    assert "<svg" not in html  # JupyterLab would remove it from a notebook that is not trusted


def test_what_is_no_step_is_refused():
    with pytest.raises(TypeError, match="before is Graph, expected a trace"):
        rv.compare_traces(Graph.from_edges([(0, 1)], memory=[1, 1]), Planner(*residual_step((1,))))
