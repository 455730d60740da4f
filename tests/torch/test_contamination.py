"""A measurement beside other work in the same process: what that allocates is not the step's."""

import threading

import torch

import recompviz as rv
from recompviz.pytorch.meter import SLACK, contamination


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
