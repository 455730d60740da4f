"""Several ranks in a real JupyterLab: the slider needs no kernel, the kernel confirms, the keyboard reaches all."""

import re
from pathlib import Path

import pytest

from recompviz.core.base.units import format_bytes
from tests.core import rank_boards

pytestmark = pytest.mark.browser
CELL = """
from rank_boards import pipeline_board
from recompviz.widgets.ranks.rank_explorer import RankExplorer
ranks = RankExplorer(pipeline_board(5))
ranks
"""


def test_one_slider_moves_all_ranks_and_the_kernel_confirms(open_notebook, jupyter):
    (jupyter.folder / "rank_boards.py").write_text(Path(rank_boards.__file__).read_text())
    board = rank_boards.pipeline_board(5)
    page = open_notebook("ranks.ipynb", CELL)
    view = page.get_by_role("group", name="Ranks of Net", exact=True)
    view.wait_for(timeout=120_000)
    lanes = view.locator(".rv-rank-lane")
    assert lanes.count() == 3
    view.get_by_text("✓ the kernel simulated").wait_for()
    # the label at the top of the axis is not the value at the marker
    assert re.fullmatch(r"at most \+[\d.]+\s?% step time", view.locator(".rv-rank-slide text").last.text_content())
    entry = view.get_by_label(re.compile("^Budget for each rank, typed"))
    entry.fill("lots")
    entry.press("Enter")
    view.get_by_text("“lots” is not a size").wait_for()
    entry.fill(f"{board.least - 2000} B")
    entry.press("Enter")
    rows = board.rows(board.least - 2000)
    peaks, order = board.peaks(rows), board.order(rows)
    page.wait_for_function("document.querySelector('.rv-rank-fit').textContent.startsWith('short by')")
    shown = [text.splitlines()[0] for text in lanes.all_inner_texts()]
    assert shown == [board.lanes[i].name for i in order]  # the worst first
    view.locator(".rv-tile-total .rv-tile-value", has_text=format_bytes(max(peaks))).wait_for()
    view.get_by_text("✓ the kernel simulated").wait_for()
    slider = view.get_by_label("Budget for each rank in total bytes")
    slider.focus()
    page.keyboard.press("ArrowRight")  # the next budget at which a plan changes
    view.locator(".rv-tile-total .rv-tile-value", has_text=format_bytes(board.least)).wait_for()
    page.wait_for_function("!document.querySelector('.rv-rank-lane.rv-rank-short')")
    lanes.first.focus()
    page.keyboard.press("p")
    readout = view.locator(".rv-rank-readout")
    assert re.search(rf"pass of micro-batch \d: {re.escape(format_bytes(board.least))} = ", readout.inner_text())
    page.keyboard.press("Home")
    assert readout.inner_text().startswith(f"{board.lanes[order[0]].name}, ")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement === document.querySelectorAll('.rv-rank-lane')[1]")
    # what is read at the pointer is that of the plans shown
    slider.focus()
    page.keyboard.press("End")
    lanes.first.locator(".rv-rank-peak").hover()
    box = lanes.first.locator("svg").bounding_box()
    held = "document.querySelector('.rv-rank-readout').textContent"
    page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + 20)
    before = page.evaluate(held)
    page.keyboard.press("Home")
    page.wait_for_function(f"before => {held} !== before && {held} !== ''", arg=before)
    now = page.evaluate(held)
    page.mouse.move(box["x"] + box["width"] * 0.3 + 1, box["y"] + 20)
    page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + 20)
    assert page.evaluate(held) == now
    assert page.errors == []


SEARCH = """
import time
from dataclasses import replace
from pathlib import Path
from rank_boards import pipeline_board
from recompviz.widgets.ranks.rank_explorer import RankExplorer

better = pipeline_board(5)
cut = ("plans", "peaks", "overheads", "layers")
lanes = [replace(one, **{name: getattr(one, name)[:1] for name in cut}) for one in better.lanes]
first = replace(better, lanes=tuple(lanes))

def search(progress):
    for board, name in ((first, "first"), (better, "better")):
        while not Path(name).exists():
            progress(1, 2, f"waiting for {name}")
            time.sleep(0.02)
        yield board

ranks = RankExplorer(search=search, title="Net")
ranks
"""


def test_the_search_goes_on_while_the_first_plans_are_shown_and_a_choice_stays(open_notebook, jupyter):
    (jupyter.folder / "rank_boards.py").write_text(Path(rank_boards.__file__).read_text())
    board = rank_boards.pipeline_board(5)
    page = open_notebook("search.ipynb", SEARCH)
    view = page.get_by_role("group", name="Ranks of Net", exact=True)
    view.get_by_text("Net on several ranks: waiting for first").wait_for()  # before there is any plan
    (jupyter.folder / "first").touch()
    view.get_by_text("plans so far; waiting for better").wait_for()
    fits = view.locator(".rv-tile-fits .rv-tile-value")
    grey = fits.evaluate("(tile) => getComputedStyle(tile).color")
    entry = view.get_by_label(re.compile("^Budget for each rank, typed"))
    entry.fill(f"{board.least} B")
    entry.press("Enter")
    page.wait_for_function("document.querySelector('.rv-rank-fit').textContent.startsWith('short by')")
    slider = view.get_by_label("Budget for each rank in total bytes")
    slider.focus()
    (jupyter.folder / "better").touch()
    view.get_by_text("all fit").wait_for()  # at the budget chosen before
    assert entry.input_value() == format_bytes(board.least)
    assert slider.evaluate("(element) => element === element.getRootNode().activeElement")
    assert fits.evaluate("(tile) => getComputedStyle(tile).color") != grey
    assert not view.get_by_role("button", name="Stop", exact=True).is_visible()
    view.get_by_text("✓ the kernel simulated").wait_for()
    for name in ("first", "better"):
        (jupyter.folder / name).unlink()
    assert page.errors == []


def test_the_search_can_be_stopped_and_its_plans_stay(open_notebook, jupyter):
    (jupyter.folder / "rank_boards.py").write_text(Path(rank_boards.__file__).read_text())
    (jupyter.folder / "first").touch()
    page = open_notebook("stopped.ipynb", SEARCH)
    view = page.get_by_role("group", name="Ranks of Net", exact=True)
    view.get_by_text("plans so far; waiting for better").wait_for()
    view.get_by_role("button", name="Stop", exact=True).click()
    view.get_by_text("plans so far; the search was stopped").wait_for()
    assert view.locator(".rv-rank-lane").count() == 3
    (jupyter.folder / "first").unlink()
    assert page.errors == []
