"""The bound of the planner beside the plans of the Explorer."""

import threading
import time

import numpy as np
import pytest

from recompviz.core.base.errors import Cancelled
from recompviz.core.bounds.step_bounds import gap_text
from recompviz.core.planning.planner import Planner
from recompviz.widgets.explorer.bound import TableBounds
from tests.widgets.test_javascript import run


def test_each_plan_has_the_bound_of_its_total_and_none_is_below_it(lab):
    explorer = lab.explorer(objectives=["live"])
    explorer._bounds.wait(60)
    table, curve = explorer.tables[0], explorer.planner.bounds()
    sent = np.frombuffer(explorer._bound["overheads"], "<f8")
    assert explorer._bound["rows"] == len(table) == len(sent)
    overheads = np.array([plan.overhead for plan in table.plans])
    assert (sent <= overheads).all()
    assert (sent <= [curve.overhead(int(total)) for total in table.total_peaks]).all()
    assert sent.max() > 0


def test_plans_without_a_search_or_of_the_formula_have_no_bound(lab):
    for explorer in (lab.explorer(objectives=[]), lab.explorer(objectives=["time"])):
        explorer._bounds.wait(5)
        assert explorer._bound["rows"] == 0


def test_a_cancelled_computation_tells_nothing(lab):
    told = []
    bound = TableBounds(told.append)
    bound.start(lab.planner, lab.time)
    bound.stop()
    bound.wait(60)
    assert told == []


class Bounds:
    """Bounds that take until they are cancelled, or until ``ready`` is set. It notes when it computes."""

    def __init__(self, lab):
        self.curve, self.ready = lab.planner.bounds(), threading.Event()
        self.begun, self.computing = threading.Event(), False

    def __call__(self, progress):
        self.begun.set()
        self.computing = True
        try:
            while not self.ready.wait(0.01):
                progress(0, 1)  # raises Cancelled when the run starts
                time.sleep(0.2)  # a linear program
        finally:
            self.computing = False
        return self.curve


class Measures:
    """A runner that notes whether bounds are computed while it measures."""

    def __init__(self, lab, bounds, meanwhile=lambda: None):
        self.lab, self.bounds, self.meanwhile, self.disturbed = lab, bounds, meanwhile, []

    def run(self, plan, progress):
        self.meanwhile()
        for _ in range(20):
            self.disturbed.append(self.bounds.computing)
            time.sleep(0.01)
        self.bounds.ready.set()
        return self.lab.run(plan, progress)


def test_no_bound_is_computed_beside_a_run_and_it_comes_afterwards(lab):
    bounds = Bounds(lab)
    runner = Measures(lab, bounds)
    explorer = lab.explorer(lab.planner_with(bounds=bounds), runner, objectives=["live"])
    assert bounds.begun.wait(20)
    explorer.run()
    explorer.wait(20)
    explorer._bounds.wait(20)
    assert runner.disturbed == [False] * 20
    assert explorer._bound["rows"] == len(explorer.tables[0])


def test_a_search_that_ends_during_a_run_begins_no_bounds_before_the_end_of_the_run(lab):
    found, bounds = threading.Event(), Bounds(lab)

    def plans(objective="time", progress=None):
        while not found.wait(0.01):
            if progress is not None:
                progress(0, 1)
        return lab.planner.plans(objective, progress)

    def search_ends():
        found.set()
        explorer._search.wait(20)

    planner = lab.planner_with(plans=plans, bounds=bounds)
    runner = Measures(lab, bounds, search_ends)
    explorer = lab.explorer(planner, runner, objectives=["live"], background=True)
    explorer._on_message(explorer, {"type": "run"}, [])  # the button: Python code waits for the search
    explorer.wait(20)
    assert not explorer._searching
    explorer._bounds.wait(20)
    assert runner.disturbed == [False] * 20
    assert explorer._bound["rows"] == len(explorer.tables[0])


@pytest.mark.parametrize("calls", [1, 3])
def test_a_computation_of_bounds_can_be_stopped_and_begun_again(lab, calls):
    planner, left = Planner(lab.graph, lab.joint), [calls]

    def stopped(done, total):
        assert done < total
        left[0] -= 1
        if not left[0]:
            raise Cancelled("stopped by the test")

    with pytest.raises(Cancelled):
        planner.bounds(progress=stopped)
    assert planner.bounds().overhead("100 MiB") == lab.planner.bounds().overhead("100 MiB")


@pytest.mark.node
def test_the_gap_is_written_as_in_python():
    gaps = [0, 1e-9, 0.0361, 0.0999, 0.1, 0.25, 1.5]
    assert run("explorer/fit.js", "v.gaps.map((gap) => m.gapText(gap))", gaps=gaps) == [gap_text(gap) for gap in gaps]
    assert run("explorer/fit.js", "m.gapText(null)") == gap_text(None) == ""


@pytest.mark.node
def test_a_swatch_has_the_colour_of_its_bar():
    swatch = "v.bars.map(([layer, category]) => m.swatchOf(layer, category, 5))"
    colours = run("explorer/landscape_pixels.js", swatch, bars=[[0, 0], [1, 9], [7, 8], [2, 5], [6, 5], [4, 7]])
    assert colours[:3] == ["var(--rv-land-parameters)", "var(--rv-land-gradients)", "var(--rv-land-flight)"]
    assert "ramp-0)" in colours[3]
    assert "ramp-4) 100.0%" in colours[4]
    assert "land-hatch" in colours[5]


@pytest.mark.node
def test_a_long_label_of_the_graph_is_narrowed_a_little_or_cut_and_never_smaller():
    label = "m.fittedLabel(v.text, 40, (text) => 7 * text.length)"
    assert run("graph/svg_boxes.js", label, text="conv") == ["conv", 0]
    assert run("graph/svg_boxes.js", label, text="softmax") == ["softmax", 40]
    text, width = run("graph/svg_boxes.js", label, text="cosine_similarity")
    assert text == "cosine_…"
    assert 0.68 * 7 * len(text) <= width == 40
