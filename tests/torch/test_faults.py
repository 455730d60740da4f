"""Public functions leave the user's objects and the process as they were, also if an exception ends them."""

from __future__ import annotations

import random
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.fx import _symbolic_trace

import recompviz as rv
from recompviz.benchmarks.faults import injection
from recompviz.benchmarks.faults.fingerprint import differences, fingerprint
from recompviz.benchmarks.faults.subjects import SUBJECTS, Subject, made
from recompviz.benchmarks.faults.verbs import KINDS, VERBS, Prepared, inject, own_folders, prepared
from recompviz.pytorch.budgeting.planned_budget import PlanWarning
from recompviz.pytorch.internals.aot import EndOfCapture
from recompviz.pytorch.internals.process_state import process_state
from recompviz.pytorch.internals.profiler import profiler_runs
from recompviz.pytorch.internals.state import own_random_numbers, state_restored
from recompviz.pytorch.internals.undone import undone
from recompviz.pytorch.measuring.compared_steps import TwoSteps
from recompviz.pytorch.tracing.user_errors import must_come_through


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with own_folders() as found:
        yield found


@pytest.fixture(scope="module")
def subject() -> Prepared:
    with own_folders():
        return prepared("hooks")


@pytest.mark.parametrize("name", SUBJECTS)
def test_measure_leaves_every_kind_of_model_as_it_was(name: str) -> None:
    found = Prepared(made(name))
    before = found.fingerprint()
    VERBS["measure"](found)
    assert differences(before, found.fingerprint()) == []


@pytest.mark.parametrize("verb", ["trace", "measure", "debug", "calibrate", "certify", "measure of a planned module"])
def test_functions_leave_a_model_with_hooks_as_it_was(verb: str, subject: Prepared) -> None:
    before = subject.fingerprint()
    VERBS[verb](subject)
    assert differences(before, subject.fingerprint()) == []


@pytest.mark.parametrize("error", [injection.Fault, KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if KINDS[kind] is not None])
def test_faults_in_certify_do_no_harm(kind: str, error: type[BaseException], subject: Prepared, folder: Path) -> None:
    chosen = random.Random(3)
    found = [inject("certify", subject, kind, error, chosen, folder) for _ in range(3)]
    assert [wrong for wrong in found if wrong] == []
    assert any(wrong is not None for wrong in found)


@pytest.mark.parametrize("error", [injection.Fault, KeyboardInterrupt, ValueError])
def test_an_exception_of_the_model_comes_through_a_trace(error: type[BaseException]) -> None:
    found = made("tied parameters")
    found.layers[1].error = error
    with pytest.raises(error, match="a layer of the user"):
        rv.trace(found.model, *found.inputs, targets=found.targets, loss=found.loss)


def test_the_harness_notices_what_is_left_changed() -> None:
    found = made("attributes")
    before = fingerprint(found.values())
    found.train(1)
    changed = {text.partition(":")[0] for text in differences(before, fingerprint(found.values()))}
    assert {"model.calls", "model.table", "model.shapes", "optimizer.state[0][momentum_buffer]"} <= changed


def test_lines_are_counted_and_the_chosen_one_raises() -> None:
    model, x = nn.Linear(2, 1), torch.ones(1, 2)
    with injection.Lines() as counter:
        rv.measure(model, x)
    assert counter.count > 100
    with injection.Lines(at=50) as counter, pytest.raises(injection.Fault):
        rv.measure(model, x)
    assert counter.where.endswith(".py:" + counter.where.rpartition(":")[2])


def test_changes_are_undone_again_after_an_interrupt_while_they_are_undone() -> None:
    calls = []

    def undo() -> None:
        calls.append(len(calls))
        if len(calls) == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), undone(undo):
        pass
    assert calls == [0, 1]


def test_an_interrupted_measurement_leaves_no_profiler_running(monkeypatch: pytest.MonkeyPatch) -> None:
    started = torch.profiler.profile.start

    def interrupted(self: torch.profiler.profile) -> None:
        started(self)
        raise KeyboardInterrupt

    model, x = nn.Linear(2, 1), torch.ones(1, 2)
    monkeypatch.setattr(torch.profiler.profile, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        rv.measure(model, x)
    monkeypatch.undo()
    assert not profiler_runs()
    assert rv.measure(model, x).peak


def test_two_traces_in_two_threads_leave_the_process_as_it_was() -> None:
    subjects = [made("tied parameters"), made("frozen layers")]
    before = fingerprint({})
    traces: list[rv.Trace] = []

    def trace(found: Subject) -> None:
        traces.append(rv.trace(found.model, *found.inputs, targets=found.targets, loss=found.loss))

    threads = [threading.Thread(target=trace, args=(found,)) for found in subjects]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(traces) == 2
    assert differences(before, fingerprint({})) == []


def test_a_background_run_rewinds_no_generator() -> None:
    model = nn.Dropout(0.5)
    torch.manual_seed(0)
    expected = torch.rand(4)
    torch.manual_seed(0)
    with own_random_numbers(draws=True), state_restored(model, ()):
        model(torch.ones(8))
    first = torch.rand(2)  # another cell, between two steps of the run
    with own_random_numbers(draws=True), state_restored(model, ()):
        model(torch.ones(8))
        drawn = torch.rand(2)  # another cell, while a step runs
    second = torch.rand(2)
    assert torch.equal(torch.cat([first, second]), expected)
    assert not set(drawn.tolist()) & set(expected.tolist())
    with own_random_numbers(draws=True), state_restored(model, ()):
        torch.manual_seed(7)  # another cell
    assert torch.initial_seed() == 7


def test_a_run_that_draws_nothing_writes_to_no_generator() -> None:
    model = nn.Linear(2, 1)
    with own_random_numbers(draws=False), state_restored(model, ()):
        torch.rand(1)  # another cell
        state = torch.get_rng_state()
    assert torch.equal(torch.get_rng_state(), state)


def test_a_graph_of_the_user_survives_a_measurement() -> None:
    found = made("momentum encoder")
    loss = found.loss(found.model(*found.inputs), *found.targets)
    rv.measure(found.model, *found.inputs, targets=found.targets, loss=found.loss)
    loss.backward()  # the versions of the parameters that the measurement overwrote are restored, too


def test_an_interrupt_in_the_live_search_is_an_exception(subject: Prepared) -> None:
    import _thread

    def search() -> None:
        end = time.monotonic() + 20
        while time.monotonic() < end:
            subject.trace.with_costs("paper").plans("live")

    # compiles: LLVM calls Python, and Python drops an interrupt that comes there
    subject.trace.with_costs("paper").plans("live")
    timer = threading.Timer(0.02, _thread.interrupt_main)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        search()


def test_an_interrupt_of_a_trace_leaves_no_method_of_modules_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    call = nn.Module.__call__

    def interrupted(_patcher: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        # the method by which torch.fx restores Module.__call__
        patched.setattr(_symbolic_trace._Patcher, "revert_all_patches", interrupted)
        patched.setattr(_symbolic_trace._Patcher, "__exit__", lambda patcher, *_: interrupted(patcher))
        with pytest.raises(KeyboardInterrupt):
            rv.trace(nn.Linear(2, 2), torch.ones(2, 2), loss=torch.sum)
    assert nn.Module.__call__ is call
    assert len(rv.trace(nn.Linear(2, 2), torch.ones(2, 2), loss=torch.sum).graph) > 0


def test_the_end_of_a_capture_is_not_an_error_of_the_user() -> None:
    error = RuntimeError("inside PyTorch")
    error.__context__ = EndOfCapture()
    assert must_come_through(error) is None


def test_certify_changes_warning_filters_under_the_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    trace = rv.trace(nn.Linear(2, 2), torch.ones(2, 2), loss=torch.sum)
    under, found = TwoSteps.under, []

    def watched(steps: TwoSteps, *arguments: object) -> object:
        if any(kind[2] is PlanWarning for kind in warnings.filters):
            found.append(process_state()["lock"])
        return under(steps, *arguments)

    monkeypatch.setattr(TwoSteps, "under", watched)
    assert rv.certify(trace, rv.Plan.keep_all(trace.graph)).ok
    assert found == [False], "no other thread changes the filters meanwhile"
