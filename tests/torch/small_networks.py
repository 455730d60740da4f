"""The small example of each network, traced once for the tests of a process that only read the trace."""

from __future__ import annotations

import functools

import torch

import recompviz as rv
from recompviz import networks
from tests.torch.steps import Case


@functools.cache
def small_case(name: str) -> Case:
    """The training step of a name in ``networks.NAMES``."""
    torch.manual_seed(0)
    step = networks.example(name, small=True)
    return Case(step.model, step.inputs, step.targets, loss=step.loss)


@functools.cache
def small_trace(name: str) -> rv.Trace:
    """The trace of :func:`small_case`. A test that changes it or its model makes its own."""
    return small_case(name).trace()
