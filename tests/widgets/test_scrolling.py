"""What was selected is scrolled into view, by the least distance, and what was clicked stays in view."""

import pytest

from tests.widgets.test_javascript import run

pytestmark = pytest.mark.node


def distance(box, keep=None, view=(90, 690)):
    return run("shared/scrolling.js", "m.distanceTo(v.box, v.keep, v.view)", box=box, keep=keep, view=view)


def test_a_box_that_is_seen_scrolls_nothing():
    assert distance([300, 340]) == 0
    assert distance([300, 340], [110, 130]) == 0


def test_a_box_below_or_above_the_window_is_scrolled_in_by_the_least_distance():
    assert distance([700, 740]) == 740 - 678
    assert distance([20, 60]) == 20 - 102


def test_what_was_clicked_stays_in_view_if_both_fit():
    assert distance([800, 840], [300, 330]) == 840 - 678
    assert distance([20, 60], [600, 620]) == 20 - 102


def test_if_both_do_not_fit_the_box_is_shown():
    assert distance([900, 940], [150, 400]) == 940 - 678
