"""The theory works without torch: package, core and teaching widgets, also on small graphs without compiled code."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import recompviz as rv
from recompviz.core.exact import solver
from recompviz.core.teaching.small_graphs import NAMES, small_graph

ROOT = Path(__file__).parent.parent.parent

LESSON = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torch":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
import recompviz as rv

graph = rv.playground("u-net").graph
shown = [rv.playground("inception"), rv.step_strategy("chain"), rv.step_programme("diamond")]
for widget in shown:
    bundle = widget._repr_mimebundle_()[0]
    assert bundle["image/svg+xml"].startswith("<svg")
assert rv.exercise("2.3").check(["abcd"])
assert rv.baseline(graph, "chen").peak >= rv.solve(graph).least_budget
assert "torch" not in sys.modules
try:
    rv.trace
except ModuleNotFoundError as error:
    print("refused:", error)
"""


def test_the_widgets_of_the_course_run_without_torch() -> None:
    done = subprocess.run([sys.executable, "-c", LESSON], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "refused: No module named 'torch'"


IN_A_BROWSER = """
import sys, threading

for name in ("torch", "numba", "scipy", "fcntl", "resource", "jupyterlab", "mistune"):
    sys.modules[name] = None  # Pyodide has none of these


def start(self):
    raise RuntimeError("can't start new thread")


threading.Thread.start = start
import recompviz as rv

for name in ("diamond", "u-net"):
    graph = rv.playground(name).graph
    for family in ("all", "paper", "prefixes", "auto"):
        assert rv.solve(graph, family).least_budget > 0
    for widget in (rv.playground(name), rv.step_strategy(name), rv.step_programme(name)):
        assert widget.to_html().endswith("</html>\\n")
rv.exercise("3.1").check(10)
print("done")
"""


def test_the_course_needs_neither_threads_nor_packages_that_pyodide_lacks() -> None:
    done = subprocess.run([sys.executable, "-c", IN_A_BROWSER], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("done", "")


def test_pip_in_a_browser_installs_no_torch() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    conditional = [requirement for requirement in project["dependencies"] if ";" in requirement]
    assert [re.sub(r">=[\d.]+", "", requirement) for requirement in conditional] == [
        "torch; sys_platform != 'emscripten'"
    ]


@pytest.mark.parametrize("family", ["all", "paper", "prefixes", "auto"])
def test_small_graphs_are_solved_without_compiling(monkeypatch: pytest.MonkeyPatch, family: str) -> None:
    compiled = {name: rv.solve(small_graph(name), family) for name in NAMES}  # type: ignore[arg-type]
    monkeypatch.setattr(solver, "has_compiled_code", lambda _: False)
    monkeypatch.setattr(solver, "_choose_compiled", None)
    for name, before in compiled.items():
        curve = rv.solve(small_graph(name), family)  # type: ignore[arg-type]
        assert (curve.family, curve.lower_set_count) == (before.family, before.lower_set_count)
        for objective in ("time", "memory"):
            assert curve.front(objective).overheads.tolist() == before.front(objective).overheads.tolist()
            assert curve.front(objective).peaks.tolist() == before.front(objective).peaks.tolist()


def test_binder_pins_everything_it_installs_and_opens_the_course() -> None:
    lines = (ROOT / "binder" / "requirements.txt").read_text().splitlines()
    pins = dict(re.findall(r"^([\w-]+)==(\S+)$", "\n".join(lines), re.MULTILINE))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = (
        project["dependencies"] + project["optional-dependencies"]["lab"] + project["optional-dependencies"]["fast"]
    )
    names = {re.split(r"[>=\[ ]", line)[0] for line in wanted} - {"recompviz"}
    assert names <= set(pins)
    assert pins["torch"].endswith("+cpu")
    opened = re.search(r"/lab/tree/([\w./-]+)", (ROOT / "binder" / "postBuild").read_text())
    assert opened
    assert (ROOT / opened[1]).is_file()
