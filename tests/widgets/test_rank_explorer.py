"""The view of several ranks: the page computes what the board says, and shows what the kernel has."""

import re
import threading
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest

from recompviz.core.base.units import format_bytes
from recompviz.widgets.base import assets
from recompviz.widgets.ranks.rank_explorer import RankExplorer
from recompviz.widgets.ranks.rank_picture import lane_columns
from tests.core.rank_boards import pipeline_board, sharded_board
from tests.widgets.test_javascript import run

BOARD = """m.readBoard({...v.board, lanes: v.board.lanes.map((lane) => ({
  ...lane,
  overheads: new DataView(Float64Array.from(lane.overheads).buffer),
  peaks: new DataView(Float64Array.from(lane.peaks).buffer),
  layers: new DataView(Uint16Array.from(lane.layers).buffer),
}))})"""
KINDS = {"overheads": "<f8", "peaks": "<f8", "layers": "<u2"}


def plain(explorer):
    """The message with lists for buffers."""
    lanes = [
        {k: np.frombuffer(v, KINDS[k]).tolist() if k in KINDS else v for k, v in lane.items()}
        for lane in explorer._board["lanes"]
    ]
    return {**explorer._board, "lanes": lanes}


@pytest.mark.node
@pytest.mark.parametrize("board", [pipeline_board(3), pipeline_board(5, kind="gpipe"), sharded_board(4)])
def test_the_page_chooses_plans_and_times_as_the_board_does(board):
    explorer = RankExplorer(board)
    budgets = np.linspace(0.7 * board.least, 1.1 * board.most, 12).tolist()
    expression = f"""((board) => v.budgets.map((budget) => {{
      const rows = m.rowsFor(board, budget);
      const times = m.timesOf(board, rows);
      const length = m.lengthOf(times);
      const count = board.layers.length;
      const lanes = board.lanes.map((lane, i) => {{
        const pieces = m.piecesOf(lane, times[i], length);
        const sums = pieces.map((p) => board.layers.map((_, k) => m.bytesAt(lane, count, rows[i], p[2], p[3], k)));
        return {{ edges: pieces.map((p) => p[0]), sums, peak: m.peakPiece(lane, count, rows[i], pieces) }};
      }});
      return {{ rows, times, order: m.orderOf(board, rows), peaks: m.peaksOf(board, rows), lanes }};
    }}))({BOARD})"""
    for budget, page in zip(
        budgets, run("ranks/board.js", expression, board=plain(explorer), budgets=budgets), strict=True
    ):
        rows = board.rows(budget)
        assert (tuple(page["rows"]), tuple(page["order"])) == (rows, board.order(rows))
        assert tuple(page["peaks"]) == board.peaks(rows)
        for mine, theirs in zip(board.times(rows), page["times"], strict=True):
            np.testing.assert_allclose(mine, theirs)
        for i, shown in enumerate(page["lanes"]):
            edges, columns = lane_columns(board.lanes[i], rows[i], board.times(rows)[i], board.length(rows))
            np.testing.assert_allclose(shown["edges"], edges[:-1], atol=1e-9)
            np.testing.assert_allclose(shown["sums"], columns, atol=board.lanes[i].layers.max() / 65535)
            most = columns.sum(axis=1)
            assert most[shown["peak"]] == pytest.approx(most.max(), abs=len(columns[0]) * columns.max() / 65535)


@pytest.mark.node
def test_the_curve_has_the_added_time_of_each_budget():
    board = pipeline_board(6)
    points = run("ranks/board.js", f"m.curveOf({BOARD})", board=plain(RankExplorer(board)))
    without = board.length((0,) * len(board.lanes))
    assert len(points) > 3
    for budget, extra in points:
        assert extra == pytest.approx(board.length(board.rows(budget)) / without - 1)
    assert points[-1][0] == board.least
    assert points[0] == [board.most, 0]


@pytest.mark.node
def test_the_page_tells_whether_the_kernels_simulation_agrees():
    confirmed = {"rows": [0, 1], "peaks": [10, 20]}
    expression = """v.peaks.map((peaks) => m.confirmedText(
      {lanes: peaks.map((peak, i) => ({name: `rank ${i}`, peaks: [peak, peak]}))}, v.rows, v.confirmed))"""
    values = {"confirmed": confirmed, "peaks": [[10, 20], [10, 21]]}
    same, other = run("ranks/rank_view.js", expression, rows=[0, 1], **values)
    assert same.startswith("✓")
    assert other == "the kernel's simulation of rank 1 has a peak of 20 B"
    assert run("ranks/rank_view.js", expression, rows=[1, 1], **values) == ["", ""]


@pytest.mark.node
def test_times_of_the_axis_are_round():
    assert run("ranks/rank_chart.js", "[m.timeTicks(9, 5), m.timeTicks(0.4, 2), m.timeTicks(0, 4)]") == [
        [0, 2, 4, 6, 8],
        [0, 0.2, 0.4],
        [0],
    ]


def test_every_field_is_written_down():
    explorer = RankExplorer(pipeline_board(1))
    text = (assets.HERE / "rank_wire.md").read_text()
    written = set(re.findall(r"^\| `(\w+)` \| `(\w+)` \|", text, re.MULTILINE))
    assert written == {(t, f) for t in ("_board", "_chosen", "_confirmed", "_search") for f in getattr(explorer, t)}
    prose = text.partition("A lane has")[2]
    assert set(re.findall(r"`(\w+)`", prose)) == set(explorer._board["lanes"][0])


def test_a_choice_of_the_page_is_simulated_again_and_wrong_ones_are_refused():
    board = pipeline_board(2)
    explorer = RankExplorer(board)
    explorer.set_state({"_chosen": {"budget": float(board.least), "request": 1}})
    assert explorer.budget == board.least
    assert explorer._confirmed == {"request": 1, "rows": list(explorer.rows), "peaks": list(explorer.peaks)}
    assert [len(explorer.plans), max(explorer.peaks) <= board.least] == [3, True]
    for wrong in ({"budget": -1, "request": 2}, {"budget": "1", "request": 2}, {"request": 2}, 5):
        explorer.set_state({"_chosen": wrong})
    assert explorer.budget == board.least
    explorer.budget = "50%"
    assert explorer.budget == board.most // 2
    assert explorer._confirmed["request"] == 2
    with pytest.raises(ValueError, match="'lots'"):
        explorer.budget = "lots"


@pytest.mark.parametrize("board", [pipeline_board(3, stages=14), sharded_board(2)])
def test_the_saved_picture_shows_every_rank_up_to_a_dozen_and_says_who_is_short(board):
    explorer = RankExplorer(board, board.least - 1)
    ET.fromstring(explorer.to_svg())
    words = re.findall(r">([^<]+)</text>", explorer.to_svg())
    order = board.order(explorer.rows)[:12]
    names = [lane.name for lane in board.lanes]
    assert [word for word in words if word in names][-len(order) :] == [names[i] for i in order]
    assert "short by 1 B" in words
    bundle, _ = explorer._repr_mimebundle_()
    assert bundle["text/plain"] == board.table(board.least - 1)
    assert bundle["text/html"].startswith("<div")


def test_the_exported_page_has_the_data_and_no_address_outside(tmp_path):
    board = sharded_board(3)
    page = RankExplorer(board, board.least).to_html(tmp_path / "ranks.html")
    assert (tmp_path / "ranks.html").read_text() == page
    assert f"{format_bytes(board.least)} for each rank" in page
    assert not re.findall(r"(?:src|href)=\"(?!data:)", page)


def two_boards(gate):
    """A search with a first board, and after the gate a better one."""

    def search(progress):
        progress(0, 1, "first plans")
        yield first
        assert gate.wait(60)
        progress(0.5, 1, "searching")
        yield better

    better = pipeline_board(4)
    lanes = [
        replace(lane, plans=lane.plans[:2], peaks=lane.peaks[:2], overheads=lane.overheads[:2]) for lane in better.lanes
    ]
    lanes = [replace(lane, layers=lane.layers[:2]) for lane in lanes]
    first = replace(better, lanes=tuple(lanes))
    return search, first, better


def test_first_plans_are_shown_until_the_search_ends_and_python_waits_for_it():
    gate = threading.Event()
    search, first, better = two_boards(gate)
    explorer = RankExplorer(search=search, budget="60%", title="Net")
    assert explorer.budget == int(0.6 * better.most)  # waits for the first board only
    assert [lane["rows"] for lane in explorer._board["lanes"]] == [2, 2, 2]
    assert explorer._search["state"] == "working"
    assert explorer._confirmed["rows"] == list(first.rows(explorer.budget))
    assert "plans so far; " in repr(explorer)
    explorer.set_state({"_chosen": {"budget": float(better.least), "request": 1}})  # a choice before the end stays
    threading.Timer(0.05, gate.set).start()
    assert explorer.peaks == better.peaks(better.rows(better.least))
    assert (explorer.board, explorer.budget) == (better, better.least)
    assert explorer._confirmed == {"request": 1, "rows": list(explorer.rows), "peaks": list(explorer.peaks)}
    assert explorer._search == {"state": "done", "fraction": 1.0, "text": ""}
    assert repr(explorer) == better.table(better.least)


def test_a_stopped_search_keeps_the_plans_so_far():
    gate = threading.Event()
    search, first, _ = two_boards(gate)
    explorer = RankExplorer(search=search)
    assert explorer.budget == first.most
    explorer._on_message(explorer, {"type": "stop"}, [])
    gate.set()
    assert explorer.board is first
    assert explorer._search["text"] == "the search was stopped"
    explorer._job.wait(60)
    assert explorer.board is first
    assert repr(explorer).endswith("plans so far; the search was stopped")


@pytest.mark.parametrize("boards", [0, 1])
def test_a_failed_search_says_why(boards):
    def search(_progress):
        yield from [pipeline_board(1)][:boards]
        raise ValueError("no plans today")

    explorer = RankExplorer(search=search, title="Net")
    explorer.wait_for_plans()
    assert explorer._search["state"] == "failed"
    assert "the search failed: ValueError: no plans today" in repr(explorer)
    if boards:
        assert len(explorer.peaks) == 3
    else:
        assert explorer._image().startswith("<div")
        with pytest.raises(ValueError, match="no plans today"):
            explorer.plans  # noqa: B018


def test_a_wrong_budget_is_refused_before_the_search():
    with pytest.raises(ValueError, match="'lots'"):
        RankExplorer(search=lambda _progress: pytest.fail("searched"), budget="lots")


@pytest.mark.node
def test_the_line_of_the_search_says_what_is_shown():
    states = [{"state": state, "text": "why"} for state in ("working", "stopped", "done")]
    expression = "v.states.map((search) => [m.searchText(search, true), m.searchText(search, false)])"
    assert run("ranks/rank_search.js", expression, states=states) == [
        ["plans so far; why", "why"],
        ["plans so far; why", "why; run the cell again to search"],
        ["", ""],
    ]
