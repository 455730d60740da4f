"""numba's cache never ends a call: it may be damaged, full, or absent."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
from numba.core.caching import CacheImpl, IndexDataCacheFile

from recompviz.core.base import cached_kernels
from recompviz.core.live.model import LiveModel
from recompviz.core.steps.examples import residual_step

SOURCE = """
from recompviz.core.base.cached_kernels import kernel

@kernel
def twice(x):
    return 2 * x
"""


@pytest.fixture(autouse=True)
def _warns_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cached_kernels, "_warned", set())


@pytest.fixture(autouse=True, scope="module")
def _cached_beside_the_source() -> Iterator[None]:
    """Put the cache beside the source, also where ``NUMBA_CACHE_DIR`` names another folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(numba.config, "CACHE_DIR", "")
        yield


def twice(folder: Path) -> Any:
    """The kernel as a new process would import it."""
    spec = importlib.util.spec_from_file_location("doubling", folder / "doubling.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.twice


@pytest.fixture(scope="module")
def cached(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cached")
    (folder / "doubling.py").write_text(SOURCE, encoding="utf-8")
    assert twice(folder)(3) == 6
    return folder


@pytest.fixture
def folder(cached: Path, tmp_path: Path) -> Iterator[Path]:
    shutil.copytree(cached / "__pycache__", tmp_path / "__pycache__")
    shutil.copy2(cached / "doubling.py", tmp_path / "doubling.py")
    return tmp_path


def hits(function: Any) -> int:
    return sum(function.stats.cache_hits.values())


def test_a_whole_cache_is_used(folder: Path) -> None:
    function = twice(folder)
    assert (function(3), hits(function)) == (6, 1)


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "cut": lambda data: data[: len(data) // 2],
    "a bit in the middle": lambda data: (
        data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 4]) + data[len(data) // 2 + 1 :]
    ),
    "other": lambda _: b"\x80\x04not a cache",
}


@pytest.mark.parametrize("suffix", ["nbi", "nbc"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_counts_as_missing_and_is_replaced(folder: Path, suffix: str, damage: str) -> None:
    (file,) = folder.glob(f"__pycache__/*.{suffix}")
    file.write_bytes(DAMAGES[damage](file.read_bytes()))
    function = twice(folder)
    assert (function(3), hits(function)) == (6, 0)
    again = twice(folder)
    assert (again(3), hits(again)) == (6, 1)


def test_a_full_disk_means_no_cache_and_one_warning(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    shutil.rmtree(folder / "__pycache__")
    monkeypatch.setattr(IndexDataCacheFile, "_open_for_write", full)
    with pytest.warns(RuntimeWarning, match="No space left on device") as warned:
        assert (twice(folder)(3), twice(folder)(4)) == (6, 8)
    assert len(warned) == 1


def test_no_folder_that_can_be_written_means_no_cache_and_one_warning(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CacheImpl, "_locator_classes", [])
    with pytest.warns(RuntimeWarning, match="NUMBA_CACHE_DIR") as warned:
        assert (twice(folder)(3), twice(folder)(4)) == (6, 8)
    assert len(warned) == 1


WITHOUT = """
import sys

sys.modules["numba"] = None
import numpy as np
from recompviz.core.live.model import LiveModel
from recompviz.core.steps.examples import residual_step

graph, joint = residual_step(blocks=(1, 1), batch=2, pixels=64)
run = LiveModel(graph, joint).simulate(np.arange(len(graph)) % 3 > 0)
print(run.peak, run.overhead, run.step_peaks.sum())
"""


def test_without_numba_a_simulation_runs_in_python() -> None:
    """A planned training step simulates plans of other sizes: it must not end with an ImportError."""
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    graph, joint = residual_step(blocks=(1, 1), batch=2, pixels=64)
    run = LiveModel(graph, joint).simulate(np.arange(len(graph)) % 3 > 0)
    assert done.stdout.split() == [str(run.peak), str(run.overhead), str(run.step_peaks.sum())]
