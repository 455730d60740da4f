"""The workers of pytest-xdist: one runs all browser tests, and one each other file, with the command of the README."""

from __future__ import annotations

import collections
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

CONFTEST = pathlib.Path(__file__).parent.parent / "conftest.py"
TESTS = """
import os, pathlib, pytest

@pytest.mark.parametrize("number", range({count}))
def test_one(number):
    with open({log!r}, "a") as file:
        file.write(f"{{pathlib.Path(__file__).parent.name}} {{os.environ['PYTEST_XDIST_WORKER']}}\\n")
"""


@pytest.mark.slow
def test_one_worker_runs_the_tests_of_a_file_and_one_those_of_all_browser_files(tmp_path: pathlib.Path) -> None:
    """Otherwise each worker makes the fixtures of a module, and starts a JupyterLab and a Chromium."""
    pytest.importorskip("xdist")
    shutil.copy(CONFTEST, tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    log = tmp_path / "workers"
    counts = {
        "browser/test_first.py": 6,
        "browser/test_second.py": 6,
        "core/test_third.py": 30,
        "torch/test_last.py": 6,
    }
    for name, count in counts.items():
        file = tmp_path / "tests" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(TESTS.format(log=str(log), count=count))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "2", "--dist", "loadgroup"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    rows = [line.split() for line in log.read_text().splitlines()]
    assert collections.Counter(room for room, _ in rows) == {"browser": 12, "core": 30, "torch": 6}
    workers = {room: {worker for where, worker in rows if where == room} for room in ("browser", "core", "torch")}
    assert all(len(found) == 1 for found in workers.values())
    # tests of torch take longer, so they do not wait: the other worker begins with them
    assert workers["torch"] != workers["browser"]
