"""Settings of all tests and doctests: a cache folder of their own, and what the markers mean."""

from __future__ import annotations

import gc
import os
import pathlib
import shutil
import tempfile
from typing import Any

import pytest
from hypothesis import settings

# the same examples in every run; `pytest tests/core --hypothesis-profile=search` looks for new ones, for minutes
settings.register_profile("fixed", deadline=None, derandomize=True, max_examples=60, print_blob=True)
settings.register_profile("search", deadline=None, max_examples=2000)
settings.load_profile("fixed")

# calibration results of this machine, kept apart from the user's own
os.environ["RECOMPVIZ_CACHE"] = CACHE = tempfile.mkdtemp(prefix="recompviz-tests-")

if "PYTEST_XDIST_WORKER" in os.environ:  # each core has a worker, so torch's own threads would only compete
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_unconfigure() -> None:
    """Remove the cache folder."""
    shutil.rmtree(CACHE, ignore_errors=True)


# In several workers, files of these folders run first, in this order. Those that take long are then not the last ones,
# for which all other workers would wait. The kernels of the browser tests compile while tests without numba run.
FIRST = ("tests/browser/", "tests/networks/", "tests/test_", "tests/torch/")
# what one worker runs whole, besides each file: the tests that share a JupyterLab and its pages, and those that share
# the traces of tests/torch/small_networks.py
TOGETHER = {
    "tests/browser/": "browser",
    "tests/torch/test_baselines.py": "small networks",
    "tests/torch/test_breadth.py": "small networks",
    "tests/widgets/test_labels.py": "small networks",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every browser test is slow. Sort the tests for several workers."""
    for item in items:
        if item.get_closest_marker("browser"):
            item.add_marker("slow")
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: [not item.nodeid.startswith(folder) for folder in FIRST])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """One worker runs all tests of a file or group, so that fixtures of a module are made once.

    The mark ``xdist_group`` would do the same, but pytest-xdist 3.8 loses it with pytest 9.2.
    """
    if config.getoption("dist") != "loadgroup":
        return None
    from xdist.scheduler import LoadScopeScheduling

    config.option.loadscopereorder = False  # by the number of tests, which says nothing about their times

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            groups = (group for start, group in TOGETHER.items() if nodeid.startswith(start))
            return next(groups, nodeid.partition("::")[0])

    return ByFile(config, log)


_last_file: pathlib.Path | None = None


def pytest_collection_finish() -> None:
    """Take what was imported out of garbage collection: each measurement of a step starts with one."""
    _freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """The same before each file and where much is new, when nothing else of the last test is left.

    A test that imports Dynamo leaves so many objects that a collection takes longer than a step of most tests.

    Skip the JavaScript tests without Node; fail them where ``RECOMPVIZ_REQUIRE_NODE=1`` promises it.
    """
    global _last_file
    if item.path != _last_file or len(gc.get_objects()) > 100_000:
        _freeze()
        _last_file = item.path
    if item.get_closest_marker("node") and shutil.which("node") is None:
        stop = pytest.fail if os.environ.get("RECOMPVIZ_REQUIRE_NODE") == "1" else pytest.skip
        stop("no Node on PATH; install nodejs")


def _freeze() -> None:
    gc.collect()
    gc.freeze()
