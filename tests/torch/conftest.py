"""Fixtures of the tests with torch."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def no_profile_of_guards() -> Iterator[None]:
    """Leave out a measurement of Dynamo, which overwrites the processor's caches to time the guards of each new graph.

    It takes 20 ms, and its result is only written to a log.
    """
    from torch._dynamo import guards

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(guards, "profile_guard_manager", lambda *_: 0.0, raising=False)
        yield


@pytest.fixture(scope="session", autouse=True)
def no_collection_of_imported_objects() -> Iterator[None]:
    """Take the objects of imported modules out of garbage collection: each measurement begins with a collection.

    To visit the objects of Dynamo and of sympy takes longer than most steps that are measured.
    """
    import torch

    import recompviz as rv
    from recompviz.benchmarks.frozen_objects import freeze_objects

    with torch.random.fork_rng(devices=[]):
        rv.trace(torch.nn.Linear(1, 1), torch.ones(1, 1), loss=torch.sum)  # imports what a trace imports
    freeze_objects()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def no_outputs_of_earlier_tests() -> Iterator[None]:
    """Forget the outputs of compiled models that earlier tests keep alive: they would count in the totals of a test.

    A failed test keeps its variables until the next failure, and parameters of tests live as long as the session.
    """
    yield
    from recompviz.pytorch.executing import live_outputs

    live_outputs.forget_outputs()
