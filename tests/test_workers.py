"""The workers of pytest-xdist: which tests must run in one of them."""

from __future__ import annotations

import pathlib

import pytest


class Late:
    """A plugin that is registered after ``conftest.py``, as pytest-xdist's own is in a worker."""

    def __init__(self) -> None:
        self.groups: list[str] = []

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        self.groups += [mark.args[0] for item in items for mark in item.iter_markers("xdist_group")]


@pytest.mark.parametrize("marks", [["browser"], []], ids=["browser", "other"])
def test_the_group_of_a_browser_test_is_known_before_pytest_xdist_reads_the_groups(
    marks: list[str], request: pytest.FixtureRequest
) -> None:
    """pytest calls the hooks of later plugins first. Without the group, each worker starts a JupyterLab."""
    pytest.importorskip("xdist")
    manager = request.config.pluginmanager
    conftest = manager.get_plugin(str(pathlib.Path(__file__).parent.parent / "conftest.py"))
    assert conftest is not None
    item = pytest.Function.from_parent(request.node.parent, name="test_of_a_page", callobj=lambda: None)
    for mark in marks:
        item.add_marker(mark)
    late = Late()
    manager.register(late)
    try:
        others = [plugin for plugin in manager.get_plugins() if plugin not in (conftest, late)]
        hook = manager.subset_hook_caller("pytest_collection_modifyitems", others)
        hook(session=request.session, config=request.config, items=[item])
    finally:
        manager.unregister(late)
    assert late.groups == marks
    assert (item.get_closest_marker("slow") is not None) == bool(marks)
