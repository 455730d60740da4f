"""The workers of pytest-xdist: browser tests run in one of them, with the command of the README."""

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

@pytest.mark.parametrize("number", range(6))
def test_one(number):
    with open({log!r}, "a") as file:
        file.write(f"{{pathlib.Path(__file__).parent.name}} {{os.environ['PYTEST_XDIST_WORKER']}}\\n")
"""


@pytest.mark.slow
def test_one_worker_runs_the_tests_of_all_browser_files(tmp_path: pathlib.Path) -> None:
    """Otherwise each worker starts a JupyterLab and a Chromium, and opens each shared notebook."""
    pytest.importorskip("xdist")
    shutil.copy(CONFTEST, tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    log = tmp_path / "workers"
    for name in ("browser/test_first.py", "browser/test_second.py", "core/test_third.py"):
        file = tmp_path / "tests" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(TESTS.format(log=str(log)))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "2", "--dist", "loadgroup"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    rows = [line.split() for line in log.read_text().splitlines()]
    assert collections.Counter(room for room, _ in rows) == {"browser": 12, "core": 6}
    assert len({worker for room, worker in rows if room == "browser"}) == 1
