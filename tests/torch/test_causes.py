"""Causes by kind: the first finding is right, its advice lowers the peak as promised, healthy scripts are silent."""

from __future__ import annotations

import ctypes
import fractions
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import recompviz as rv
from recompviz.benchmarks.causes.healthy import HEALTHY
from recompviz.benchmarks.causes.programs.all_programs import PLANTED, REPORTED
from recompviz.benchmarks.causes.trial import run, tried
from recompviz.benchmarks.causes.unseen import UNSEEN
from recompviz.core.reports.source_line import SourceLine
from recompviz.pytorch.debugging.references.cycles import collected
from recompviz.pytorch.debugging.source_text import assignment_line, call_line, last_use
from recompviz.pytorch.internals.user_lines import source_line

# one of each kind; `python -m recompviz.benchmarks.causes` runs all
CHOSEN = (
    "retry: smaller batches inside except",
    "only the head is trained, the backbone requires gradients",
    "a custom Function stores its result on ctx",
    "gradients of a tuning phase are alive in evaluation",
    "adapters are trained, the base layers still require gradients",
    "the last error is stored, the retry comes after the except block",
    "hooks keep the layers' last outputs in a dict",
    "a mask in int64 is multiplied with hidden states",
    "Adam keeps the state of a trunk that is frozen later",
    "a memory of keys is carried from segment to segment",
    *(
        pytest.param(name, marks=pytest.mark.slow)
        for name in (
            "validation: a local sum of losses in a training epoch",
            "losses of six inputs summed",
            "a condition repeated over the time steps and added",
            "one-hot labels of a segmentation in a Dice loss",
            "log-probabilities of a vocabulary, one gathered",
        )
    ),
)


def test_a_hundred_scripts_are_planted_and_a_third_of_them_are_healthy() -> None:
    names = [script.name for script in (*PLANTED, *REPORTED, *UNSEEN, *HEALTHY)]
    assert len(names) == len(set(names)) >= 100
    assert len(HEALTHY) >= 35
    assert all(script.cause and script.line for script in (*PLANTED, *REPORTED, *UNSEEN))


@pytest.mark.parametrize("name", CHOSEN)
def test_the_advice_of_a_planted_script_lowers_the_peak_as_promised(name: str) -> None:
    trial = tried(next(script for script in (*PLANTED, *REPORTED, *UNSEEN) if script.name == name))
    assert trial.right, trial.text
    assert trial.after is not None
    assert trial.promised
    assert trial.kept, trial.text
    assert not trial.still, trial.text


@pytest.mark.parametrize(
    "name",
    [
        "an MLP with Adam",
        "an epoch that validates with numbers, one graph at a time",
        "Q-learning with a target network and a full replay buffer",
    ],
)
def test_a_healthy_script_raises_no_alarm(name: str) -> None:
    trial = tried(next(script for script in HEALTHY if script.name == name))
    assert trial.right, trial.text


def test_tensors_outside_the_step_are_counted_and_one_that_nothing_refers_to_lowers_the_coverage() -> None:
    net, x = nn.Linear(8, 8), torch.randn(4, 8)
    idle = torch.zeros(50_000)

    def step() -> None:
        net(x).sum().backward()

    before = rv.debug(step, steps=1, advise=False)
    assert any(row.size == idle.untyped_storage().nbytes() for row in before.outside)
    hidden = torch.zeros(100_000)
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(hidden))  # as an object of a C extension would hold it
    address = id(hidden)
    del hidden
    try:
        report = rv.debug(step, steps=1, advise=False)
    finally:
        ctypes.pythonapi.Py_DecRef(ctypes.cast(address, ctypes.py_object))
    assert report.coverage < before.coverage
    assert report.unattributed - before.unattributed == 400_000


def test_an_optimizer_with_a_closure_can_be_debugged_and_its_state_is_restored() -> None:
    torch.manual_seed(0)
    net, x, y = nn.Linear(16, 1), torch.randn(8, 16), torch.randn(8, 1)
    optimizer = torch.optim.LBFGS(net.parameters(), max_iter=2)
    weights = net.weight.detach().clone()
    report = rv.debug(net, x, targets=(y,), loss=nn.functional.mse_loss, optimizer=optimizer, steps=2, advise=False)
    assert any(row.value.startswith("old_dirs[") for row in report.rows)
    assert torch.equal(net.weight, weights)
    assert not optimizer.state


def test_no_cycle_is_reported_if_there_is_no_garbage_with_tensors() -> None:
    from recompviz.pytorch.debugging.recorder.watcher import Watcher

    assert collected(Watcher())[1] is None


SOURCE = """\
opt = LBFGS(w)
def once(a):
    h = f(a)
    g = f(h)
    return g

def loop(items):
    for one in items:
        h = f(one)
        use(h)
    return 1

def inner(a):
    h = f(a)
    return lambda: h
"""


@pytest.mark.parametrize(
    ("function", "number", "expected"),
    [("once", 3, 4), ("loop", 9, None), ("inner", 14, None), ("missing", 3, None)],
)
def test_a_name_may_be_deleted_only_where_nothing_reads_it_later(
    tmp_path: Path, function: str, number: int, expected: int | None
) -> None:
    file = tmp_path / "source.py"
    file.write_text(SOURCE)
    found = last_use(SourceLine(str(file), number, "", function), "h")
    assert (None if found is None else found.number) == expected


def test_the_lines_of_assignments_and_calls_are_found(tmp_path: Path) -> None:
    file = tmp_path / "source.py"
    file.write_text(SOURCE)
    made, called = assignment_line(str(file), "opt"), call_line(str(file), "LBFGS")
    assert made is not None
    assert called is not None
    assert (made.number, called.number) == (1, 1)
    assert assignment_line(str(file), "h") is None  # local
    assert call_line(str(file), "f") is None  # several


def test_del_is_not_advised_for_a_name_that_is_read_later(tmp_path: Path) -> None:
    source = """
import torch
from torch import nn
net, x = nn.Sequential(*[nn.Linear(256, 256) for _ in range(3)]), torch.randn(1024, 256)
def step():
    with torch.no_grad():
        first = net[0](x)
        second = net[1](first)
        third = net[2](second)
    return (third.sum() + first.shape[0]).item()
debug(step)
"""
    report = run(source, str(tmp_path))
    assert not [finding.fix for finding in report.findings if "del first" in finding.fix]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kept", "deleted"),
    [
        ("import fractions\nfractions.old_rows = nn.Linear(1500, 1500)", "fractions.old_rows"),
        ("old_rows = nn.Linear(1500, 1500)", "old_rows"),
        ("old_rows = {'a': [nn.Linear(1500, 1500)]}", "old_rows"),
        ("import itertools\nrows = itertools.repeat(nn.Linear(1500, 1500))", ""),
    ],
)
def test_the_advice_deletes_only_variables_that_reach_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: str, deleted: str
) -> None:
    monkeypatch.setattr(fractions, "old_rows", None, raising=False)  # removed again after the test
    source = f"""
import torch
from torch import nn
{kept}
net = nn.Linear(64, 64)
optimizer = torch.optim.SGD(net.parameters(), 0.1)
x = torch.randn(16, 64)
def step():
    net(x).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
debug(step)
"""
    report = run(source, str(tmp_path))
    fix = next(one.fix for one in report.findings if one.cause == "memory that the step does not touch")
    if deleted:
        assert f"`del {deleted}`" in fix
    else:
        assert "del " not in fix


def test_lines_of_cells_are_named_as_the_notebook_names_them(monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = SimpleNamespace(format_code_name=lambda file: ("Cell", "In[3]") if file == "/tmp/cell.py" else None)
    ipython = SimpleNamespace(get_ipython=lambda: SimpleNamespace(compile=compiler))
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    assert source_line("/tmp/cell.py", 4, "step").place == "In[3], line 4"
    assert source_line("/tmp/train.py", 4, "step").place == "train.py:4"
