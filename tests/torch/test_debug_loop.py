"""A loop that runs already is observed: in a ``with`` block, by callbacks of a trainer, and in a notebook cell."""

from __future__ import annotations

import importlib
import sys
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import recompviz as rv
from recompviz.pytorch.debugging.loop_session import LoopSession, NoReport
from recompviz.pytorch.internals.user_lines import lines_traced

X = torch.ones(256, 128)


def layers() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(*(one for _ in range(3) for one in (nn.Linear(128, 128), nn.Tanh())))


def trained(observed: LoopSession, net: nn.Module, keep: Callable[[torch.Tensor], Any], count: int = 6) -> list[Any]:
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    kept = []
    with observed:
        for _ in range(count):
            optimizer.zero_grad()
            out = net(X)
            loss = out.square().mean()
            loss.backward()
            optimizer.step()
            kept.append(keep(out))  # here
            observed.step()
    return kept


def test_a_healthy_loop_raises_no_alarm_and_trains_as_if_nobody_observed_it() -> None:
    net = layers()
    observed = rv.debug_steps(net)
    trained(observed, net, lambda out: out.mean().item())
    assert not any(finding.matters(observed.report.peak) for finding in observed.report.findings)
    assert observed.report.coverage == 1
    # pytest holds all tests of the run in a list, which may be long
    assert not [note for note in observed.report.notes if not note.startswith("`items` is long")]
    alone = layers()
    optimizer = torch.optim.SGD(alone.parameters(), 0.1)
    for _ in range(6):
        optimizer.zero_grad()
        alone(X).square().mean().backward()
        optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), alone.parameters(), strict=True))


def test_a_list_that_grows_is_named_with_its_line() -> None:
    observed = rv.debug_steps(steps=3)
    trained(observed, layers(), lambda out: out)
    top = observed.report.top
    assert top is not None
    assert (top.cause, top.retainer) == ("reference held across iterations", "`kept` (local of trained)")
    assert top.growth == X.nbytes
    assert top.line is not None
    assert top.line.text.endswith("# here")


def test_a_loop_that_ends_early_still_has_a_report_which_says_what_is_missing() -> None:
    observed = rv.debug_steps()
    trained(observed, layers(), lambda out: out, count=3)
    report = observed.report
    assert report.top is not None
    assert report.top.growth == X.nbytes
    assert any("two more steps" in note for note in report.notes)


def test_a_block_without_marks_is_one_step() -> None:
    net = layers()
    with rv.debug_steps() as observed:
        net(X).mean().backward()
    assert len(observed.report.growth) == 1
    assert observed.report.by_category[rv.Category.KEPT] == 3 * X.nbytes


def test_an_error_in_the_loop_is_raised_and_the_report_shows_the_peak_until_then() -> None:
    net, observed = layers(), rv.debug_steps()

    def failing(out: torch.Tensor) -> None:
        raise RuntimeError(f"memory is full, {out.nbytes} bytes were asked for")

    with pytest.raises(RuntimeError, match="memory is full"):
        trained(observed, net, failing)
    assert observed.done
    assert observed.report.by_category[rv.Category.KEPT] >= 3 * X.nbytes


def test_the_search_keeps_no_old_value_alive() -> None:
    net, alive = layers().requires_grad_(False), []
    with rv.debug_steps() as observed:
        for _ in range(3):
            out = net(X)
            before = weakref.ref(out)
            observed.step()
            out = None
            alive.append(before() is not None)
    assert alive == [False] * 3


def test_the_search_does_not_empty_the_result_of_locals() -> None:
    name = "kept for the log"
    settings = locals()
    with rv.debug_steps() as observed:
        layers()(X)
        observed.step()
    assert settings["name"] == name


class Trainer:
    """Calls back as trainers do, from functions that have returned when the next step runs."""

    def __init__(self, net: nn.Module, callback: Any) -> None:
        self.net, self.callback, self.log = net, callback, []

    def fit(self, count: int) -> None:
        self.callback.on_train_begin(self.net)
        for _ in range(count):
            self.net.zero_grad()
            out = self.net(X)
            out.mean().backward()
            self.log.append(out.detach())
            self.callback.on_step_end()
        self.callback.on_train_end()


class MemoryPeak:
    def on_train_begin(self, model: nn.Module) -> None:
        self.observed = rv.debug_steps(model)
        self.observed.start()

    def on_step_end(self) -> None:
        self.observed.step()

    def on_train_end(self) -> None:
        self.observed.stop()


def test_callbacks_of_a_trainer_observe_its_first_steps() -> None:
    callback = MemoryPeak()
    trainer = Trainer(layers(), callback)
    trainer.fit(8)
    top = callback.observed.report.top
    assert top is not None
    assert top.growth == X.nbytes
    assert top.retainer.startswith(("`self.log`", "`trainer.log`"))
    assert top.line is not None
    assert "self.log.append" in top.line.text


def test_wrong_arguments_and_wrong_orders_are_refused() -> None:
    with pytest.raises(TypeError, match=r"model is 5, expected a torch\.nn\.Module"):
        rv.debug_steps(5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="optimizer is 'adam'"):
        rv.debug_steps(optimizer="adam")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"steps is 2\.5"):
        rv.debug_steps(steps=2.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="steps = 0"):
        rv.debug_steps(steps=0)
    observed = rv.debug_steps()
    with pytest.raises(NoReport, match=r"expected start\(\)"):
        observed.step()
    with pytest.raises(NoReport, match="after it"):
        _ = observed.report
    observed.start()
    with pytest.raises(NoReport, match=r"call rv\.debug_steps again"):
        observed.start()
    observed.stop()


@pytest.fixture
def shell() -> Iterator[Any]:
    shells = importlib.import_module("IPython.core.interactiveshell")  # a part of JupyterLab
    made = shells.InteractiveShell()
    rv.load_ipython_extension(made)
    yield made
    made.history_manager.enabled = False


def test_the_magic_runs_a_cell_in_the_users_namespace_and_shows_what_grows(shell: Any) -> None:
    shell.user_ns.update(net=layers(), X=X, kept=[])
    cell = "out = net(X)\nout.mean().backward()\nkept.append(out)\n"
    once = shell.run_cell_magic("mempeak", "", cell)
    assert len(shell.user_ns["kept"]) == 1
    assert not any(finding.matters(once.peak) for finding in once.findings)
    report = shell.run_cell_magic("mempeak", "-n 3 report", cell)
    assert shell.user_ns["report"] is report
    assert len(shell.user_ns["kept"]) == 6
    assert report.top.retainer == "`kept` (global)"
    assert report.top.line.text == "kept.append(out)"


def test_the_magic_shows_the_peak_of_a_cell_that_fails(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    shell.user_ns.update(net=layers(), X=X)
    with pytest.raises(ZeroDivisionError):
        shell.run_cell_magic("mempeak", "", "out = net(X)\n1 / 0\n")
    assert "saved for backward" in capsys.readouterr().out
    with pytest.raises(ValueError, match="'-x' is not an option, expected %%mempeak"):
        shell.run_cell_magic("mempeak", "-x", "1")


def test_the_recipes_of_the_page_are_programs_and_the_first_one_runs() -> None:
    page = Path(rv.__file__).parent.parent / "docs" / "loops.md"
    blocks = [block.partition("```")[0] for block in page.read_text(encoding="utf-8").split("```python\n")[1:]]
    programs = [block for block in blocks if "%" not in block]
    assert len(programs) >= 8  # the loops of debugging, and one for each engine
    for program in programs:
        compile(program, str(page), "exec")
    net = layers()
    space = {
        "rv": rv,
        "model": net,
        "optimizer": torch.optim.SGD(net.parameters(), 0.1),
        "criterion": nn.functional.mse_loss,
        "loader": [(X, X)] * 9,
    }
    exec(programs[0], space)
    assert space["observed"].done  # type: ignore[attr-defined]


def test_the_tracer_that_a_debugger_has_set_for_a_running_function_is_put_back() -> None:
    frame = sys._getframe()

    def own(*_arguments: object) -> None:
        """The tracer of a debugger."""

    before = sys.gettrace()
    frame.f_trace = own
    try:
        with lines_traced(lambda _frame, _event: None, running=True):
            assert frame.f_trace is not own
        assert frame.f_trace is own
    finally:
        frame.f_trace = None
        sys.settrace(before)
