"""Fixtures of the tests with torch."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def no_outputs_of_earlier_tests() -> Iterator[None]:
    """Forget the outputs of compiled models that earlier tests keep alive: they would count in the totals of a test.

    A failed test keeps its variables until the next failure, and parameters of tests live as long as the session.
    """
    yield
    from recompviz.pytorch.executing import live_outputs

    live_outputs.forget_outputs()
