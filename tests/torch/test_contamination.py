"""A measurement beside other work in the same process: what that allocates is not the step's."""

import threading
from itertools import count

import pytest
import torch

import recompviz as rv
from recompviz.pytorch.internals.memory_window import ProfilerBusy
from recompviz.pytorch.internals.state import one_at_a_time
from recompviz.pytorch.measuring.certificate import UNSTEADY
from recompviz.pytorch.measuring.measurement_run import SLACK, TRAINED, contamination
from recompviz.pytorch.running.planned import PlannedModule
from recompviz.pytorch.tracing.twin import twin, undisturbed


def test_what_another_thread_allocates_meanwhile_is_not_counted():
    model = torch.nn.Sequential(*(torch.nn.Linear(64, 64) for _ in range(8)))
    x = torch.zeros(64, 64)
    alone = rv.measure(model, x, loss=torch.sum)
    done, busy = threading.Event(), threading.Event()

    def other_work():
        while not done.is_set():
            torch.empty(1_000_000).fill_(1.0)
            busy.set()

    thread = threading.Thread(target=other_work)
    thread.start()
    try:
        assert busy.wait(20)
        beside = rv.measure(model, x, loss=torch.sum)
    finally:
        done.set()
        thread.join()
    assert (beside.peak, len(beside.delta)) == (alone.peak, len(alone.delta))


def test_an_allocator_that_rose_further_than_the_step_is_told_of():
    step = [3 * SLACK, -SLACK, 2 * SLACK, -4 * SLACK]
    assert contamination(step, 4 * SLACK) == []
    assert contamination(step, 4 * SLACK + SLACK) == []
    assert contamination(step, None) == []
    (note,) = contamination(step, 9 * SLACK)
    assert "10.0 MiB" in note
    assert "run it alone" in note


def mlp(*more):
    return torch.nn.Sequential(torch.nn.Linear(16, 16), torch.nn.GELU(), *more, torch.nn.Linear(16, 1))


@torch.no_grad()
def trained(model):
    model[-1].bias.add_(1.0)


def test_two_measurements_in_one_process_wait_for_each_other():
    # PyTorch's profiler is one for the process: two that overlap end it
    done = threading.Event()
    thread = threading.Thread(target=lambda: (rv.measure(mlp(), torch.zeros(4, 16), loss=torch.sum), done.set()))
    with one_at_a_time:
        thread.start()
        assert not done.wait(1.0)
    assert done.wait(60)
    thread.join()


def test_a_measurement_beside_another_profiler_is_refused():
    with (
        torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], acc_events=True),
        pytest.raises(ProfilerBusy),
    ):
        rv.measure(mlp(), torch.zeros(4, 16), loss=torch.sum)
    assert rv.measure(mlp(), torch.zeros(4, 16), loss=torch.sum).peak > 0


def test_a_batch_that_other_work_uses_too_is_not_written_to():
    model, x = mlp(torch.nn.BatchNorm1d(16)), torch.zeros(4, 16)
    count = model[2].num_batches_tracked
    rv.measure(model, x, loss=torch.sum)
    assert x._version == 0
    assert int(count) == 0, "what the step did change is put back"


@pytest.mark.parametrize("optimized", [False, True])
def test_a_model_that_is_trained_meanwhile_is_told_of(optimized):
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters()) if optimized else None

    def measured(at):
        calls = []

        def other_training(*_):
            calls.append(0)
            if len(calls) in at:  # the third step is the recorded one
                thread = threading.Thread(target=trained, args=(model,))
                thread.start()
                thread.join()

        hook = model.register_forward_hook(other_training)
        timeline = rv.measure(model, torch.zeros(4, 16), loss=torch.sum, optimizer=optimizer)
        hook.remove()
        return timeline.notes

    assert measured([]) == ()
    assert measured([3]) == (TRAINED,)


def test_a_run_in_the_background_leaves_the_model_s_gradients_and_buffers_to_a_cell_that_trains_it():
    model, x = mlp(torch.nn.BatchNorm1d(16)), torch.randn(4, 16)
    trace = rv.trace(model, x, loss=torch.sum)
    plan = trace.plans("live").plans[-1]
    beside = twin(trace)
    alone = rv.measure(rv.apply(trace, plan), x)
    seen = []

    class Watched(PlannedModule):
        def forward(self, *arguments, **kwargs):
            loss = super().forward(*arguments, **kwargs)
            loss.register_hook(lambda _: seen.append([p.grad for p in model.parameters()]))
            return loss

    grads = [torch.ones_like(p) for p in model.parameters()]
    for p, grad in zip(model.parameters(), grads, strict=True):
        p.grad = grad
    timeline = rv.measure(Watched(beside, plan), x)
    assert seen
    assert all(a is b for row in seen for a, b in zip(row, grads, strict=True))
    assert (timeline.peak, timeline.static) == (alone.peak, alone.static)
    assert rv.certify(beside, plan).gradients == "bitwise"
    model.eval()
    with pytest.raises(rv.RecompvizError, match="trace it again"):
        twin(trace)


def test_a_run_that_another_training_broke_says_so():
    trace = rv.trace(mlp(), torch.zeros(4, 16), loss=torch.sum)

    def broken(meanwhile):
        with undisturbed(twin(trace)):
            meanwhile(trace.model)
            raise RuntimeError("modified by an inplace operation")

    with pytest.raises(RuntimeError, match="modified"):
        broken(lambda _: None)
    with pytest.raises(rv.RecompvizError, match="another cell trained this model"):
        broken(trained)


def test_a_certificate_that_other_work_spoilt_says_so():
    trace = rv.trace(mlp(torch.nn.Dropout(0.5)), torch.randn(4, 16), loss=torch.sum)
    plan = trace.plans("live").plans[-1]
    assert rv.certify(trace, plan).notes == ()
    calls = count(1)
    draws = trace.model.register_forward_pre_hook(lambda *_: torch.rand(next(calls)).sum().lt(0) or None)
    spoilt = rv.certify(trace, plan)
    draws.remove()
    assert not spoilt.ok
    assert spoilt.notes == (UNSTEADY,)
    assert "contaminated" in spoilt.text
    trace.model.register_forward_hook(lambda *_: trained(trace.model))
    assert TRAINED in rv.certify(trace, plan).notes
