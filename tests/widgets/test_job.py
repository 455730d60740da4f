"""A job: its progress, its end, and how it is cancelled."""

import subprocess
import sys
import threading
import time

import pytest

from recompviz.core.base.errors import Cancelled
from recompviz.widgets.base import job as job_module
from recompviz.widgets.base.job import INTERVAL, Job

SECONDS = 20


def started(work, changed=lambda _job: None, text=""):
    job = Job(work, changed, text)
    job.start()
    return job


def test_the_result_is_there_when_wait_returns_and_the_end_was_reported_before():
    states = []
    job = started(lambda _progress: 42, lambda job: states.append((job.state, job.result, job.ended)))
    assert job.wait(SECONDS)
    assert (job.state, job.result, job.error, job.fraction) == ("done", 42, None, 1.0)
    assert states == [("running", None, False), ("done", 42, False)]


def test_progress_is_a_fraction_with_a_text_and_is_reported_now_and_then():
    seen = []

    def work(progress):
        progress(1, 4, "first part")
        time.sleep(1.5 * INTERVAL)
        for _ in range(1000):
            progress(2, 4)
        progress(9, 4)

    job = started(work, lambda job: seen.append((job.state, job.fraction, job.text)), "starting")
    assert job.wait(SECONDS)
    assert seen[0] == ("running", 0.0, "starting")
    assert ("running", 0.5, "first part") in seen
    assert seen[-1] == ("done", 1.0, "first part")
    assert len(seen) < 10


def test_a_new_text_is_reported_even_shortly_after_another():
    seen = []

    def work(progress):
        for text in ("copying", "writing", "measuring"):
            progress(1, 4, text)

    assert started(work, lambda job: seen.append(job.text), "starting").wait(SECONDS)
    assert seen[:-1] == ["starting", "copying", "writing", "measuring"]


def test_a_cancelled_job_stops_at_its_next_report():
    begun = threading.Event()

    def endless(progress):
        while True:
            begun.set()
            progress(1, 2)
            time.sleep(0.002)

    job = started(endless)
    assert begun.wait(SECONDS)
    assert job.running
    job.cancel()
    assert not job.running
    assert job.wait(SECONDS)
    assert (job.state, job.result) == ("cancelled", None)


def test_the_result_of_a_cancelled_job_is_dropped():
    go, states = threading.Event(), []
    job = started(lambda _progress: go.wait(SECONDS), lambda job: states.append(job.state))
    job.cancel()
    go.set()
    assert job.wait(SECONDS)
    assert (job.state, job.result) == ("cancelled", None)
    assert "done" not in states


@pytest.mark.parametrize("error", [ValueError("bad"), MemoryError("3 GiB"), KeyboardInterrupt(), SystemExit(1)])
def test_an_error_is_a_state_with_a_text(error):
    def work(_progress):
        raise error

    job = started(work)
    assert job.wait(SECONDS)
    assert job.state == "failed"
    assert job.error is error
    assert str(error) in job.text


def test_work_that_gives_up_by_itself_is_cancelled():
    def work(_progress):
        raise Cancelled("no longer needed")

    job = started(work)
    assert job.wait(SECONDS)
    assert job.state == "cancelled"


def test_a_result_that_cannot_be_shown_is_a_failure():
    seen = []

    def changed(job):
        seen.append(job.state)
        if job.state == "done":
            raise ValueError("cannot show it")

    job = started(lambda _progress: 42, changed)
    assert job.wait(SECONDS)
    assert seen == ["running", "done", "failed"]
    assert (job.state, job.result) == ("failed", None)
    assert "cannot show it" in job.text


def test_a_job_does_not_wait_for_itself():
    waited = []
    job = Job(lambda _progress: waited.append(job.wait()), lambda _job: None)
    job.start()
    assert job.wait(SECONDS)
    assert waited == [False]


def test_jobs_use_the_threads_of_earlier_jobs():
    go = threading.Event()

    def here(_progress):
        return threading.current_thread()

    def there(_progress):
        go.wait(SECONDS)
        return threading.current_thread()

    first, second = started(there), started(there)
    go.set()
    assert first.wait(SECONDS)
    assert second.wait(SECONDS)
    assert first.result is not second.result  # jobs at the same time
    assert not first.is_here
    ran = set()
    for _ in range(20):
        job = started(here)
        assert job.wait(SECONDS)
        ran.add(job.result)
        end = time.monotonic() + SECONDS
        while not job_module._Worker.idle and time.monotonic() < end:
            time.sleep(0.001)  # the thread becomes free just after the job has ended
    assert len(ran) <= job_module.IDLE
    with pytest.raises(RuntimeError, match="started before"):
        job.start()


SCRIPT = """
import threading, torch
from recompviz.widgets.base.job import Job

a, inside = torch.randn(700, 700, requires_grad=True), threading.Event()
def work(progress):
    while True:
        progress(0, 1)
        inside.set()
        for _ in range(10):
            (a @ a).sum().backward()

Job(work, lambda job: None).start()
inside.wait()
print("the script ends", flush=True)
"""


@pytest.mark.slow  # it imports torch in a process of its own
def test_a_script_that_ends_while_a_job_is_inside_torch_exits_normally():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "the script ends\n"), done.stderr


def test_at_exit_jobs_are_cancelled_and_waited_for():
    def work(progress):
        while True:
            progress(0, 1)
            time.sleep(0.001)

    jobs = [Job(work, lambda _job: None) for _ in range(3)]
    for job in jobs:
        job.start()
    job_module._stop_at_exit()
    assert [(job.ended, job.state) for job in jobs] == [(True, "cancelled")] * 3
