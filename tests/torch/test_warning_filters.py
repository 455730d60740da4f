"""Filters of warnings leave no trace, in whatever order the threads that need them end."""

from __future__ import annotations

import threading
import warnings

import pytest

from recompviz.pytorch.internals.warning_filters import warnings_filtered


@pytest.mark.parametrize("first_ends_first", [True, False])
def test_overlapping_threads_leave_the_filters_as_they_were(first_ends_first: bool) -> None:
    before = list(warnings.filters)
    entered, ends = [threading.Event(), threading.Event()], [threading.Event(), threading.Event()]

    def run(number: int) -> None:
        with warnings_filtered(("ignore", "one layer"), ("ignore", "another layer")):
            entered[number].set()
            ends[number].wait(10)

    threads = [threading.Thread(target=run, args=(number,)) for number in (0, 1)]
    for number, thread in enumerate(threads):
        thread.start()
        assert entered[number].wait(10)
    for number in (0, 1) if first_ends_first else (1, 0):
        warnings.warn("one layer is odd", stacklevel=1)  # suppressed until the last one ends
        ends[number].set()
        threads[number].join(10)
    assert list(warnings.filters) == before
    with pytest.warns(UserWarning, match="one layer"):
        warnings.warn("one layer is odd", stacklevel=1)


def test_a_filter_that_raises_has_precedence_over_one_that_suppresses() -> None:
    before = list(warnings.filters)
    both = [warnings_filtered(("error", "a buffer")), warnings_filtered(("ignore", "a buffer"))]
    with both[0], both[1], pytest.raises(UserWarning, match="a buffer"):
        warnings.warn("a buffer is omitted", stacklevel=1)
    assert list(warnings.filters) == before


def test_filters_go_after_an_exception_and_where_the_list_was_replaced() -> None:
    before = list(warnings.filters)
    with pytest.raises(KeyError), warnings_filtered(("ignore", "x")):
        raise KeyError
    with warnings.catch_warnings(), warnings_filtered(("ignore", "x")):
        warnings.resetwarnings()
    assert list(warnings.filters) == before
