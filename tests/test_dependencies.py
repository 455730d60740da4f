"""pyproject.toml declares what is imported, and only that."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

import anywidget
import ipywidgets

from tests.rooms import HOME, imports

ROOT = HOME.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
# run as commands by .ci/run
COMMANDS = {"ruff", "mypy"}
# its classes are used under another name, see the test below
INHERITED = {"ipywidgets"}
# the benchmarks of training loops and of engines try these where they are installed, and say which are missing
TRIED_WHERE_INSTALLED = {"accelerate", "lightning", "peft", "timm", "transformers"}


def declared(requirements: Iterable[str]) -> set[str]:
    """Names of the distributions; each one here is also the name to import."""
    names = {re.match(r"[\w-]+", requirement)[0] for requirement in requirements}  # type: ignore[index]
    return names - {"recompviz"}


def imported(files: Iterable[Path]) -> set[str]:
    """Top-level packages that the files import, apart from the standard library and this project."""
    names = {found.module.split(".")[0] for path in files for found in imports(path)}
    return names - set(sys.stdlib_module_names) - {"recompviz", "tests"}


BENCHMARKS = set((HOME / "benchmarks").rglob("*.py"))
PACKAGE = set(HOME.rglob("*.py")) - BENCHMARKS
DEVELOPMENT = BENCHMARKS | {path for folder in ("tests", "notebooks") for path in (ROOT / folder).rglob("*.py")}
LOOPS = {*(HOME / "benchmarks" / "loops").rglob("*.py"), HOME / "benchmarks" / "ranks" / "engines.py"}
AT_RUN_TIME = declared([*PROJECT["dependencies"], *EXTRAS["fast"], *EXTRAS["lab"]])


def test_the_package_imports_only_what_a_user_gets() -> None:
    assert imported(PACKAGE) <= AT_RUN_TIME


def test_everything_a_user_gets_is_imported() -> None:
    assert imported(PACKAGE) | INHERITED >= AT_RUN_TIME


def test_benchmarks_tests_and_notebooks_import_only_what_the_test_extra_brings() -> None:
    assert imported(DEVELOPMENT - LOOPS) <= AT_RUN_TIME | declared(EXTRAS["test"])
    assert imported(LOOPS) <= AT_RUN_TIME | declared(EXTRAS["test"]) | TRIED_WHERE_INSTALLED


def test_everything_in_the_test_extra_is_imported_or_run() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    run = {name for name in COMMANDS if re.search(rf"^{name}\b", script, re.MULTILINE)}
    if "pytest -n auto" in (ROOT / "README.md").read_text(encoding="utf-8"):  # which .ci/run executes
        run.add("pytest-xdist")
    assert declared(EXTRAS["test"]) <= imported(DEVELOPMENT) | run


def test_ipywidgets_is_what_anywidget_builds_on() -> None:
    assert issubclass(anywidget.AnyWidget, ipywidgets.DOMWidget)


def test_every_dependency_has_a_reason() -> None:
    lines = (ROOT / "pyproject.toml").read_text(encoding="utf-8").splitlines()
    requirements = [*PROJECT["dependencies"], *(name for extra in EXTRAS.values() for name in extra)]
    for requirement in requirements:
        assert any(re.search(rf'"{re.escape(requirement)}".*# \w', line) for line in lines), requirement
