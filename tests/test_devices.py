"""What differs between devices is in ``pytorch/internals/devices``, in one file for each device."""

from __future__ import annotations

import ast

import pytest
import torch

from recompviz.pytorch.internals.devices.base import DeviceRuntime
from recompviz.pytorch.internals.devices.runtimes import RUNTIMES, runtime
from tests.rooms import HOME
from tests.test_layers import dotted

# the core imports no torch and knows the name of a device only; the benchmarks name the devices that they compare
ALLOWED = (HOME / "pytorch" / "internals" / "devices", HOME / "core", HOME / "benchmarks")


def test_no_other_file_asks_which_device_it_runs_on() -> None:
    found = set()
    for path in sorted(HOME.rglob("*.py")):
        if any(path.is_relative_to(folder) for folder in ALLOWED):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = (
                node.attr == "is_cuda" or dotted(node)[:2] == ["torch", "cuda"]
                if isinstance(node, ast.Attribute)
                else False
            )
            compares = isinstance(node, ast.Compare | ast.Call) and any(
                isinstance(part, ast.Constant) and part.value in ("cuda", "xpu", "mps")
                for part in (*getattr(node, "comparators", ()), *getattr(node, "args", ()))
            )
            if names or compares:
                found.add(f"{path.relative_to(HOME)}:{node.lineno}")
    assert found == set()


@pytest.mark.parametrize("kind", sorted(RUNTIMES))
def test_each_device_has_every_function_of_the_interface(kind: str) -> None:
    made = runtime(kind)
    assert isinstance(made, DeviceRuntime)
    assert made.device == torch.device(kind)
    assert made.label()
    assert made.rounded(1) == made.alignment


def test_the_cpu_restores_its_generator_and_measures_time() -> None:
    cpu = runtime("cpu")
    assert torch.equal(cpu.generator().get_state(), cpu.generator_state())
    state = cpu.generator_state()
    first = torch.rand(3)
    present = cpu.generator_state()
    with cpu.replay(state):
        assert torch.equal(torch.rand(3), first)
    assert torch.equal(cpu.generator_state(), present)
    watch = cpu.stopwatch()
    watch.start()
    sum(range(1000))
    watch.stop()
    assert 0 < watch.seconds() < 1
