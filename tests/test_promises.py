"""The page of promises names tests and commands that exist."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "promises.md").read_text()
PATHS = sorted(set(re.findall(r"`(tests/[\w/.]+)`", PAGE)))
COMMANDS = sorted(set(re.findall(r"`python -m (recompviz[\w.]+)", PAGE)))


def test_the_page_names_tests_and_commands():
    assert len(PATHS) > 10
    assert len(COMMANDS) > 4


@pytest.mark.parametrize("path", PATHS)
def test_a_test_of_a_promise_exists(path):
    assert (ROOT / path).exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_a_promise_exists(command):
    found = importlib.util.find_spec(command)
    assert found is not None
    assert found.submodule_search_locations is None or importlib.util.find_spec(f"{command}.__main__") is not None


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_the_page_is_linked(page):
    assert "docs/promises.md" in (ROOT / page).read_text()
