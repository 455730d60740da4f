"""Settings of all tests and doctests: a cache folder of their own, and what the markers mean."""

from __future__ import annotations

import gc
import os
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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every browser test is slow."""
    for item in items:
        if item.get_closest_marker("browser"):
            item.add_marker("slow")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """One worker runs all browser tests, because they share a JupyterLab and its pages.

    The mark ``xdist_group`` would do the same, but pytest-xdist 3.8 loses it with pytest 9.2.
    """
    if config.getoption("dist") != "loadgroup":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class ByJupyterLab(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "browser" if nodeid.startswith("tests/browser/") else nodeid

    return ByJupyterLab(config, log)


def pytest_collection_finish() -> None:
    """Take what was imported out of garbage collection: each measurement of a step starts with one."""
    _freeze()


def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """The same after each file, for what it imported and cached."""
    if nextitem is not None and nextitem.path != item.path:
        _freeze()


def _freeze() -> None:
    gc.collect()
    gc.freeze()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip the JavaScript tests without Node; fail them where ``RECOMPVIZ_REQUIRE_NODE=1`` promises it."""
    if item.get_closest_marker("node") and shutil.which("node") is None:
        stop = pytest.fail if os.environ.get("RECOMPVIZ_REQUIRE_NODE") == "1" else pytest.skip
        stop("no Node on PATH; install nodejs")
