"""An Explorer is shown before its training step is traced; Python code and later cells wait for it."""

import re
import subprocess
import sys
import threading
import traceback

import pytest

from recompviz.core.base.errors import RecompvizError
from recompviz.core.base.tracebacks import without_library_frames
from recompviz.core.plans.plan import Plan
from recompviz.widgets.base.page_widget import PageWidget
from recompviz.widgets.explorer.explorer import Explorer
from recompviz.widgets.explorer.explorer_arguments import ExplorerArguments
from recompviz.widgets.explorer.opening import _PARTS, OpeningExplorer, later_cells_wait, short_text


class Work:
    """The work of an opening: reports a phase, waits for ``go``, and returns the lab's step."""

    def __init__(self, lab, error=None):
        self.lab, self.error, self.go, self.begun = lab, error, threading.Event(), threading.Event()

    def __call__(self, progress):
        while not self.go.wait(0.002):
            progress(1, 4, "tracing the training step")
            self.begun.set()
        if self.error:
            raise self.error
        options = {"objectives": ["time"], "baselines": ["chen"], "background": False, "title": "Residual net"}
        return ExplorerArguments(planner=self.lab.planner, runner=self.lab, theory=True, **options)


@pytest.fixture
def work(lab):
    return Work(lab)


@pytest.fixture
def explorer(work):
    explorer = OpeningExplorer(work, "Residual net")
    yield explorer
    work.go.set()
    explorer.close()


def test_the_shell_shows_phase_and_progress_before_anything_is_traced(explorer, work):
    assert work.begun.wait(20)
    assert explorer._opening["state"] == "working"
    assert "text/html" not in explorer._repr_mimebundle_()[0]
    assert repr(explorer).startswith("Explorer(Residual net: ")
    assert explorer._graph == {}
    explorer._on_message(explorer, {"type": "run"}, [])  # nothing to run yet, and no wait
    explorer.set_state({"_theory": False})


def test_every_attribute_that_an_explorer_makes_is_awaited(lab):
    usual = Explorer(lab.planner, lab, objectives=["time"], background=False)
    made = {name for name in vars(usual) if name.isidentifier()} - set(vars(PageWidget()))
    usual.close()
    assert made == _PARTS


def test_python_code_waits_and_then_finds_what_a_usual_explorer_has(explorer, work, lab):
    sent = []
    explorer.send_state = lambda key=None: sent.append({key} if isinstance(key, str) else set(key or ()))
    found = []
    reader = threading.Thread(target=lambda: found.append((explorer.planner, explorer.plan, len(explorer.tables))))
    reader.start()
    reader.join(0.05)
    assert reader.is_alive()
    work.go.set()
    reader.join(20)
    assert found[0][0] is lab.planner
    assert isinstance(found[0][1], Plan)
    assert explorer.opened
    assert explorer._theory
    whole = [keys for keys in sent if "_tables" in keys]
    assert len(whole) == 1  # the page gets the step as one message
    assert {"_graph", "_joint", "_opening", "_layout", "_reply"} <= whole[0]
    usual = lab.explorer(runner=lab, objectives=["time"], title="Residual net", theory=True)
    assert explorer._reply == usual._reply
    pictures = [re.sub(r"-hatch-\d+", "", shown.to_svg()) for shown in (explorer, usual)]  # names of patterns differ
    assert pictures[0] == pictures[1]


def test_an_error_of_the_work_is_a_short_text_in_the_page_and_is_raised_where_python_reads(lab):
    work = Work(lab, ValueError("Expected input batch_size (4) to match target batch_size (5)."))
    explorer = OpeningExplorer(work, "Residual net")
    work.go.set()
    with pytest.raises(ValueError, match="batch_size"):
        _ = explorer.plan
    assert explorer._opening["state"] == "failed"
    assert len(explorer._opening["text"]) < 150
    assert explorer.error is work.error
    for _ in range(3):
        with pytest.raises(ValueError, match="batch_size") as raised:
            explorer.budget = "60%"
    assert len(traceback.format_exception(raised.value)) < 12


def test_code_that_waits_for_a_closed_explorer_gets_an_error(explorer, work):
    found = []

    def read() -> None:
        try:
            found.append(explorer.plan)
        except RecompvizError as error:
            found.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    assert work.begun.wait(20)
    explorer.close()
    reader.join(20)
    assert isinstance(found[0], RecompvizError)
    with pytest.raises(RecompvizError, match="closed"):
        _ = explorer.planner


def test_a_cancelled_opening_says_what_to_do(explorer, work):
    assert work.begun.wait(20)
    explorer._on_message(explorer, {"type": "stop"}, [])
    assert explorer._opening["state"] == "cancelled"
    with pytest.raises(RecompvizError, match=r"call rv\.explore again"):
        _ = explorer.plan
    work.go.set()
    explorer._job.wait(20)
    assert explorer._opening["state"] == "cancelled"
    assert explorer._graph == {}


class Shown:
    """What a notebook displays, and the picture that replaces the first one."""

    def __init__(self, monkeypatch):
        self.bundles, self.pictures, self.final = [], [], threading.Event()
        monkeypatch.setattr("IPython.display.display", self.display)

    def display(self, value, **options):
        if options.get("raw"):
            self.bundles.append(value)
            return None
        self.pictures.append(value.data)
        return self

    def update(self, value):
        self.pictures.append(value.data)
        self.final.set()


def test_a_notebook_shows_the_shell_at_once_and_keeps_the_final_plan_as_a_picture(explorer, work, monkeypatch):
    shown = Shown(monkeypatch)
    explorer._ipython_display_()
    assert "application/vnd.jupyter.widget-view+json" in shown.bundles[0]
    assert shown.bundles[0]["text/plain"] == "Residual net: run this cell to use the Explorer"
    assert "Residual net" in shown.pictures[0]
    assert "<img" not in shown.pictures[0]
    work.go.set()
    assert shown.final.wait(20)
    assert "<img" in shown.pictures[1]


def test_a_notebook_keeps_the_text_of_an_error(lab, monkeypatch):
    shown, work = Shown(monkeypatch), Work(lab, ValueError("5 targets < 16"))
    explorer = OpeningExplorer(work, "Residual net")
    explorer._ipython_display_()
    work.go.set()
    assert shown.final.wait(20)
    assert "5 targets &lt; 16" in shown.pictures[1]


def test_names_that_notebooks_look_for_do_not_wait(explorer):
    assert not hasattr(explorer, "_ipython_canary_method_should_not_exist_")
    assert not hasattr(explorer, "_repr_png_")


def raises():
    raise KeyError("of the user")


def test_a_traceback_keeps_the_frames_of_the_user_only():
    from recompviz.core.base.units import parse_bytes

    try:
        try:
            parse_bytes("much")
        except ValueError as error:
            raise RuntimeError("explained") from error
    except RuntimeError as error:
        shown = without_library_frames(error)
    assert "The above exception" not in "".join(traceback.format_exception(shown))
    try:
        raises()
    except KeyError as error:
        lines = traceback.format_exception(without_library_frames(error))
    assert "in raises" in "".join(lines)
    with pytest.raises(ValueError, match="much") as found:
        parse_bytes("much")
    assert "units.py" not in "".join(traceback.format_exception(without_library_frames(found.value)))


def test_a_long_report_becomes_a_few_lines():
    advice = "a trace is one graph: " + "move it out of forward() " * 15 + "or use rv.compile"
    assert short_text(RecompvizError(f"cannot be traced\n{advice}")).endswith("or use rv.compile")  # whole
    text = short_text(RecompvizError("cannot be traced\n\n" + "\n".join(f"line {i}" for i in range(270))))
    assert text.splitlines() == ["cannot be traced", "line 0", "line 1", "line 2"]


class Events:
    def __init__(self):
        self.callbacks = []

    def register(self, _event, callback):
        self.callbacks.append(callback)

    def unregister(self, _event, callback):
        self.callbacks.remove(callback)


def test_the_next_cell_waits_and_an_interrupt_cancels(monkeypatch):
    shell = type("Shell", (), {"events": Events()})()
    monkeypatch.setattr("recompviz.widgets.explorer.opening.running_shell", lambda: shell)
    done, cancelled = threading.Event(), []
    later_cells_wait(done, lambda: cancelled.append(True))
    threading.Timer(0.05, done.set).start()
    shell.events.callbacks[0]()
    assert done.is_set()
    assert shell.events.callbacks == []
    assert not cancelled

    class Interrupted:
        is_set = staticmethod(lambda: False)

        @staticmethod
        def wait():
            raise KeyboardInterrupt

    later_cells_wait(Interrupted, lambda: cancelled.append(True))
    with pytest.raises(KeyboardInterrupt):
        shell.events.callbacks[0]()
    assert cancelled


def test_the_shell_of_a_cell_loads_nothing_that_only_tracing_and_searching_need():
    code = (
        "import sys, recompviz as rv; rv.explore; from recompviz.widgets.explorer.opening import OpeningExplorer; "
        "print(sorted({'torch', 'numba', 'scipy', 'plotly', 'networkx', 'pandas'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=100)
    assert done.stdout.strip() == "[]"
