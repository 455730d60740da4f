"""``explore_ranks``: the predicted memory of several ranks under one budget, and the plans with which they fit.

The page has the plans of every rank, so the budget slider also works without a kernel. If there is a kernel, it
simulates the chosen plans again after each choice, and the page compares the peaks with its own.

In a notebook, the search for plans runs in the background. The page first shows plans that need no search, and gets
better ones while the search goes on. Python code that reads the plans waits for the search, so that a script gets the
same answer on every run.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import traitlets

from recompviz.core.base.errors import RecompvizError
from recompviz.core.base.files import write_file
from recompviz.core.ranks.rank_board import RankBoard
from recompviz.widgets.base import assets
from recompviz.widgets.base.interactive import is_interactive
from recompviz.widgets.base.job import Job, JobProgress
from recompviz.widgets.base.offline_page import offline_page
from recompviz.widgets.base.page_widget import PageWidget, amount, whole_number
from recompviz.widgets.base.static_output import CLASS, SavedPicture, display_with_picture, image
from recompviz.widgets.explorer.budgets import budget_bytes
from recompviz.widgets.ranks.rank_picture import rank_svg
from recompviz.widgets.ranks.rank_wire import board_message

if TYPE_CHECKING:
    from recompviz.core.plans.plan import Plan


# of the trait ``_search``
DONE: dict[str, Any] = {"state": "done", "fraction": 1.0, "text": ""}
STOPPED = "the search was stopped"


class RankExplorer(PageWidget):
    """A widget that shows several ranks under one budget; :func:`explore_ranks` makes it.

    Parameters
    ----------
    board : RankBoard, optional
        The ranks with their plans. If None, ``search`` makes it.
    budget : int, float or str, optional
        The first budget, in the forms that the attribute ``budget`` takes. If None, the largest peak of all ranks
        without recomputation.
    search : callable (progress) → iterable of RankBoard, optional
        Makes boards in the background, each with better plans than the board before. It should often call
        ``progress(done, total, text)``. This call raises :class:`recompviz.Cancelled` after the user has stopped the
        search. If None, nothing is searched.
    title : str
        The title that is shown until there is a board.

    Attributes
    ----------
    board : RankBoard
        The ranks with their plans. Reading ``board``, ``plans``, ``rows`` or ``peaks`` waits for the search.
    budget : int
        The budget of each single rank, in total bytes, which include parameters and gradients. It can be set to a
        number, to a string such as ``"10 GiB"``, or to a percentage of the largest peak of all ranks without
        recomputation.

    Raises
    ------
    TypeError
        If ``budget`` is neither a number nor a string.
    ValueError
        If ``budget`` is neither a size nor a percentage.
    Exception
        If the search fails before there is a board, reading ``board``, ``plans`` and other attributes raises the error
        of the search. If the user stops the search before there is a board, RecompvizError is raised.
    """

    _esm = assets.esm("ranks/rank_view.js")
    _css = assets.css()
    page_traits = ("_chosen",)

    _title = traitlets.Unicode().tag(sync=True)
    _board = traitlets.Dict().tag(sync=True)
    _chosen = traitlets.Dict().tag(sync=True, echo_update=False)
    _confirmed = traitlets.Dict().tag(sync=True)
    _search = traitlets.Dict(DONE).tag(sync=True)

    def __init__(
        self,
        board: RankBoard | None = None,
        budget: int | float | str | None = None,
        *,
        search: Callable[[JobProgress], Iterable[RankBoard]] | None = None,
        title: str = "",
    ) -> None:
        if budget is not None:
            budget_bytes(budget, 1)  # a wrong one is refused before the search
        self._first_budget = budget
        self._saved: tuple[SavedPicture, ...] = ()
        self._shown: RankBoard | None = None
        self._lock = threading.RLock()  # the board and what is computed from it
        self._first, self._ended = threading.Event(), threading.Event()
        self._job: Job[None] | None = None
        super().__init__(_title=board.title if board else title, _chosen={"budget": 0.0, "request": 0})
        self.observe(self._on_chosen, "_chosen")
        self.on_msg(self._on_message)
        if board is not None:
            self._show(board)
        if search is None:
            return
        self._search = {"state": "working", "fraction": 0.0, "text": "starting"}

        def work(progress: JobProgress) -> None:
            for better in search(progress):
                progress(0, 1)  # a board of a stopped search is not shown
                self._show(better)

        self._job = Job(work, self._on_job)
        self._job.start()

    def from_page(self, _name: str, value: Any, _state: Mapping[str, Any]) -> Any:
        """Check the choice that the page has sent; see :meth:`PageWidget.from_page`."""
        return {"budget": amount(value["budget"]), "request": whole_number(value["request"])}

    # ---------------------------------------------------------------- the search

    def wait_for_plans(self, seconds: float | None = None) -> None:
        """Wait until the search for plans has ended or was stopped.

        Parameters
        ----------
        seconds : float, optional
            Time limit. The method also returns when the limit is reached. If None, there is no limit.
        """
        self._wait(self._ended, seconds)

    def stop(self) -> None:
        """Stop the search. The view keeps the plans found so far."""
        if self._job is not None and self._search["state"] == "working":
            self._job.cancel()
            self._search = {"state": "stopped", "fraction": 0.0, "text": STOPPED}
            self._end()

    def close(self) -> None:
        """Close the widget. Its views disappear, and the search stops."""
        job = vars(self).get("_job")  # ipywidgets also closes a widget whose constructor failed
        if job is not None:
            job.cancel()
            self._end()
        for saved in vars(self).get("_saved", ()):
            saved.stop()
        super().close()

    def _wait(self, event: threading.Event, seconds: float | None = None) -> None:
        if self._job is not None and not self._job.is_here:
            event.wait(seconds)

    def _end(self) -> None:
        self._first.set()
        self._ended.set()

    def _on_job(self, job: Job[None]) -> None:
        if self._search["state"] != "working":
            return  # it was stopped
        if job.state == "running":
            self._search = {"state": "working", "fraction": job.fraction, "text": job.text}
            return
        if job.state == "done":
            self._search = DONE
        else:
            why = STOPPED if job.state == "cancelled" else f"the search failed: {job.text}"
            self._search = {"state": "stopped" if job.state == "cancelled" else "failed", "fraction": 0.0, "text": why}
        self._end()
        self._picture_changed()

    def _on_message(self, _widget: Any, content: Any, _buffers: Any) -> None:
        if isinstance(content, dict) and content.get("type") == "stop":
            self.stop()

    def _show(self, board: RankBoard) -> None:
        """Show a board at the budget that is chosen."""
        with self._lock, self.hold_sync():
            if self._shown is None:
                first = self._first_budget
                size = board.most if first is None else budget_bytes(first, board.most)
                self._chosen = {"budget": float(size), "request": self._chosen["request"]}
            self._shown = board
            self._board = board_message(board)
            self._confirmed = self._simulated(self._chosen)
        self._first.set()
        self._picture_changed()

    @property
    def _now(self) -> RankBoard:
        """The board that is shown now. Waits for the first one."""
        self._wait(self._first)
        if self._shown is None:
            error = None if self._job is None else self._job.error
            raise error or RecompvizError(f"{STOPPED} before there were plans; call rv.explore_ranks again")
        return self._shown

    # ---------------------------------------------------------------- choices

    @property
    def board(self) -> RankBoard:
        """The ranks with their plans."""
        self.wait_for_plans()
        return self._now

    @property
    def budget(self) -> int:
        """The budget of each single rank, in total bytes, which include parameters and gradients."""
        self._wait(self._first)
        return int(self._chosen["budget"])

    @budget.setter
    def budget(self, value: int | float | str) -> None:
        size = budget_bytes(value, self._now.most)
        self._chosen = {"budget": float(size), "request": self._chosen["request"] + 1}

    @property
    def rows(self) -> tuple[int, ...]:
        """For each element of ``board.lanes``, the row of its plans at the budget.

        Row 0 recomputes least. If no row of an element fits the budget, the result has its last row, which has the
        lowest peak.
        """
        return self.board.rows(self.budget)

    @property
    def plans(self) -> tuple[Plan, ...]:
        """The plans at the budget, in the order of ``board.lanes``.

        There is one plan for each element of ``board.lanes``, or several if its rank runs several stages of a pipeline.
        """
        return tuple(plan for lane, row in zip(self.board.lanes, self.rows, strict=True) for plan in lane.plans[row])

    @property
    def peaks(self) -> tuple[int, ...]:
        """The peak of each element of ``board.lanes`` at the budget, in total bytes."""
        return self.board.peaks(self.rows)

    def to_svg(self) -> str:
        """Return the schedule and the memory of the ranks at the budget as one static SVG picture."""
        return rank_svg(self.board, self.budget)

    def to_html(self, path: str | Path | None = None) -> str:
        """Return the view as one HTML page, which needs neither a kernel nor a network.

        This method waits for the search for plans.

        Parameters
        ----------
        path : str or Path, optional
            A file to which the page is also written.

        Raises
        ------
        FileError
            If the file cannot be written.
        TypeError
            If ``path`` is not a path.
        """
        self.wait_for_plans()
        traits = {name: getattr(self, name) for name in ("_title", "_board", "_chosen", "_confirmed", "_search")}
        page = offline_page("ranks/rank_page.js", traits, f"{self.board.title}: ranks", self.to_svg())
        if path is not None:
            write_file(path, page)
        return page

    def __repr__(self) -> str:
        search = self._search
        waiting = "" if search["state"] == "done" else search["text"]
        if self._shown is None:
            return f"{self._title}: ranks; {waiting}"
        return "\n".join([self._shown.table(self.budget), *([f"plans so far; {waiting}"] if waiting else [])])

    def _simulated(self, chosen: Mapping[str, Any]) -> dict[str, Any]:
        """Simulate the plans of a budget on the board shown, and return the result for the page."""
        board = self._shown
        assert board is not None
        rows = board.rows(chosen["budget"])
        peaks = [lane.simulate(row) for lane, row in zip(board.lanes, rows, strict=True)]
        return {"request": chosen["request"], "rows": list(rows), "peaks": peaks}

    def _on_chosen(self, change: Any) -> None:
        with self._lock:
            if self._shown is not None:
                self._confirmed = self._simulated(change["new"])
        self._picture_changed()

    def _picture_changed(self) -> None:
        for saved in self._saved:
            saved.changed()

    def _image(self) -> str:
        if self._shown is None:
            return f'<div class="{CLASS}">{escape(repr(self))}</div>'
        return image(rank_svg(self._shown, self.budget), repr(self))

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        found = super()._repr_mimebundle_(**kwargs)
        data, metadata = found if isinstance(found, tuple) else (found or {}, {})
        return {**data, "text/plain": repr(self), "text/html": self._image()}, metadata

    def _ipython_display_(self) -> None:
        data, metadata = self._repr_mimebundle_()
        del data["text/html"]  # the picture has an output of its own, which can be replaced
        searching = self._search["state"] == "working"
        saved = display_with_picture(data, metadata, self._image, self.wait_for_plans if searching else None)
        if saved is not None:
            self._saved = (*self._saved, saved)


def explore_ranks(
    ranks: Any,
    *,
    budget: int | float | str | None = None,
    title: str | None = None,
    background: bool | None = None,
) -> RankExplorer:
    """Open a view of the predicted memory of several ranks over the training step, under one budget.

    The rank with the highest peak comes first. The budget slider chooses one plan for all ranks, or a plan for each
    stage of a pipeline. The schedule of a pipeline is above the memory, on the same time axis. At most 48 plans of each
    rank are shown; if more were found, the view says so.

    Parameters
    ----------
    ranks : RankStep, RankKind, StageStep, PipelineRank, or an iterable of these
        What :func:`recompviz.rank_kinds`, :func:`recompviz.shard_step` or :func:`recompviz.replicate_step` returns, or
        the stages of one pipeline from :func:`recompviz.stage_step`, or its ranks from :func:`recompviz.pipeline_rank`.
    budget : int, float or str, optional
        The first budget of each rank: total bytes, a string such as ``"10 GiB"``, or a percentage such as ``"60%"``.
        The percentage is of the largest peak of all ranks without recomputation. If None, this largest peak, so that
        nothing is recomputed.
    title : str, optional
        The title of the view. If None, the name of the model's class.
    background : bool, optional
        Whether the search for plans runs in the background. The view then first shows plans that need no search, and
        has a button to stop. Python code that reads ``plans`` or ``peaks`` waits. If None, True in a notebook that a
        person has open, and False in a script.

    Returns
    -------
    RankExplorer
        ``.plans`` has the plans at the budget, and ``.budget`` can be set. ``.to_html("ranks.html")`` writes a page.

    Raises
    ------
    TypeError
        If ``ranks`` has an object of another type, or parts of a pipeline together with other ranks. Also if ``budget``
        is neither a number nor a string.
    ValueError
        If ``ranks`` is empty, its steps do not belong together, or ``budget`` is neither a size nor a percentage.

    Examples
    --------
    >>> import torch, recompviz as rv
    >>> model = torch.nn.Sequential(torch.nn.Linear(8, 6), torch.nn.ReLU(), torch.nn.Linear(6, 1))
    >>> t = rv.trace(model, torch.zeros(4, 8), targets=(torch.zeros(4, 1),), loss=torch.nn.functional.mse_loss,
    ...              optimizer=torch.optim.Adam(model.parameters()))
    >>> rv.explore_ranks(rv.rank_kinds(t, 4, ["0"]), budget="1250 B")
    Sequential: 1.22 KiB for each rank
      rank 0       peak  1.26 KiB  short by 42 B; recomputes nothing
      ranks 1, 2   peak  1.21 KiB  14 B free; recomputes nothing
      rank 3       peak  1.07 KiB  158 B free; recomputes nothing
    times are estimated, without collectives; a backward pass counts twice its forward pass
    """
    from recompviz.pytorch.ranks.boards import RankBoards

    boards = RankBoards(ranks, title)
    if is_interactive() if background is None else background:
        return RankExplorer(budget=budget, search=boards.made, title=boards.title)
    *_, board = boards.made()
    return RankExplorer(board, budget)
