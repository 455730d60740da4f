"""Every benchmark can be imported, and every one that is a command explains itself."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

import recompviz.benchmarks

HOME = Path(recompviz.benchmarks.__file__).parent
MODULES = sorted(
    ".".join(("recompviz.benchmarks", *path.relative_to(HOME).with_suffix("").parts))
    for path in HOME.rglob("*.py")
    if path.name != "__init__.py"
)
# as in ``python -m recompviz.benchmarks.accuracy``
COMMANDS = (
    "accuracy", "allocator", "baselines", "beside_pytorch", "bounds", "causes", "cuda", "debugging", "explorer",
    "faults", "freed", "fuzzed_recordings", "liveness", "loops", "neighbours", "optimality", "overhead", "paper",
    "planner", "ranks", "ranks.buckets", "ranks.engines", "ranks.faults", "ranks.large", "ranks.pipeline",
    "ranks.resharding", "sequences", "step_times",
)  # fmt: skip


@pytest.mark.parametrize("name", MODULES)
def test_a_benchmark_can_be_imported(name: str) -> None:
    assert importlib.import_module(name).__doc__


def test_every_benchmark_with_a_main_function_is_listed() -> None:
    commands = {
        name.removeprefix("recompviz.benchmarks.").removesuffix(".__main__") for name in MODULES if has_main(name)
    }
    assert commands == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_benchmark_names_its_command(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = f"recompviz.benchmarks.{name}"
    module = importlib.import_module(command if command in MODULES else f"{command}.__main__")
    with pytest.raises(SystemExit) as end:
        module.main(["--help"])
    assert end.value.code == 0
    assert f"python -m {command}" in capsys.readouterr().out


def has_main(name: str) -> bool:
    return hasattr(importlib.import_module(name), "main")


def test_a_row_of_the_sequences_has_overhead_bound_and_gap() -> None:
    from recompviz import Graph
    from recompviz.benchmarks.sequences import row

    edges = [("a", "b"), ("b", "c"), ("c", "d"), ("a", "d")]
    graph = Graph.from_edges(edges, memory={"a": 2, "b": 3, "c": 3, "d": 1}, time={"a": 1, "b": 1, "c": 1, "d": 1})
    assert row(graph, list("abcd"), 6, seconds=1).split()[:4] == ["25.000%", "25.000%", "0.000%", "1"]
    assert row(graph, list("abcd"), 5, seconds=1).startswith("needs more than 5 B".rjust(42))
