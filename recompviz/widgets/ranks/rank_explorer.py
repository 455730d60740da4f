"""``explore_ranks``: the predicted memory of several ranks under one budget, and the plans with which they fit.

The page has the plans of every rank, so the budget slider needs no kernel. After each choice, the kernel simulates the
chosen plans again, and the page compares the peaks.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import traitlets

from recompviz.core.base.files import write_file
from recompviz.core.ranks.rank_board import RankBoard
from recompviz.widgets.base import assets
from recompviz.widgets.base.offline_page import offline_page
from recompviz.widgets.base.page_widget import PageWidget, amount, whole_number
from recompviz.widgets.base.static_output import SavedPicture, display_with_picture, image
from recompviz.widgets.explorer.budgets import budget_bytes
from recompviz.widgets.ranks.rank_picture import rank_svg
from recompviz.widgets.ranks.rank_wire import board_message

if TYPE_CHECKING:
    from recompviz.core.plans.plan import Plan


class RankExplorer(PageWidget):
    """A widget that shows several ranks under one budget; :func:`explore_ranks` makes it.

    Parameters
    ----------
    board : RankBoard
        The ranks with their plans.
    budget : float, optional
        The budget at first, in bytes; by default the largest peak without recomputation.

    Attributes
    ----------
    board : RankBoard
    budget : int
        The budget of every rank, in total bytes. It can be set to a number, to a string such as ``"10 GiB"``, or to a
        percentage of the largest peak without recomputation.
    """

    _esm = assets.esm("ranks/rank_view.js")
    _css = assets.css()
    page_traits = ("_chosen",)

    _board = traitlets.Dict().tag(sync=True)
    _chosen = traitlets.Dict().tag(sync=True, echo_update=False)
    _confirmed = traitlets.Dict().tag(sync=True)

    def __init__(self, board: RankBoard, budget: float | None = None) -> None:
        self.board = board
        self._saved: tuple[SavedPicture, ...] = ()
        chosen = {"budget": float(board.most if budget is None else budget), "request": 0}
        super().__init__(_board=board_message(board), _chosen=chosen, _confirmed=self._simulated(chosen))
        self.observe(self._on_chosen, "_chosen")

    def from_page(self, _name: str, value: Any, _state: Mapping[str, Any]) -> Any:
        """Return the checked choice of the page; see :class:`PageWidget`."""
        return {"budget": amount(value["budget"]), "request": whole_number(value["request"])}

    @property
    def budget(self) -> int:
        """The budget of every rank, in total bytes."""
        return int(self._chosen["budget"])

    @budget.setter
    def budget(self, value: int | float | str) -> None:
        size = budget_bytes(value, self.board.most)
        self._chosen = {"budget": float(size), "request": self._chosen["request"] + 1}

    @property
    def rows(self) -> tuple[int, ...]:
        """For each rank or kind of rank, the number of its plan at the budget; 0 recomputes nothing."""
        return self.board.rows(self.budget)

    @property
    def plans(self) -> tuple[Plan, ...]:
        """The plan of each rank or kind of rank at the budget, in the order of ``board.lanes``."""
        return tuple(plan for lane, row in zip(self.board.lanes, self.rows, strict=True) for plan in lane.plans[row])

    @property
    def peaks(self) -> tuple[int, ...]:
        """The peak of each rank or kind of rank under its plan, in total bytes."""
        return self.board.peaks(self.rows)

    def to_svg(self) -> str:
        """Return the ranks at the budget as one static SVG picture."""
        return rank_svg(self.board, self.budget)

    def to_html(self, path: str | Path | None = None) -> str:
        """Return the view as one HTML page, which needs neither a kernel nor a network.

        Parameters
        ----------
        path : str or Path, optional
            A file to which the page is also written.

        Raises
        ------
        FileError
            If the file cannot be written.
        """
        traits = {name: getattr(self, name) for name in ("_board", "_chosen", "_confirmed")}
        page = offline_page("ranks/rank_page.js", traits, f"{self.board.title}: ranks", self.to_svg())
        if path is not None:
            write_file(path, page)
        return page

    def __repr__(self) -> str:
        return self.board.table(self.budget)

    def _simulated(self, chosen: Mapping[str, Any]) -> dict[str, Any]:
        """Simulate the plans of a budget, and return the result for the page."""
        rows = self.board.rows(chosen["budget"])
        peaks = [lane.simulate(row) for lane, row in zip(self.board.lanes, rows, strict=True)]
        return {"request": chosen["request"], "rows": list(rows), "peaks": peaks}

    def _on_chosen(self, change: Any) -> None:
        self._confirmed = self._simulated(change["new"])
        for saved in self._saved:
            saved.changed()

    def _image(self) -> str:
        return image(self.to_svg(), repr(self))

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        found = super()._repr_mimebundle_(**kwargs)
        data, metadata = found if isinstance(found, tuple) else (found or {}, {})
        return {**data, "text/plain": repr(self), "text/html": self._image()}, metadata

    def _ipython_display_(self) -> None:
        data, metadata = self._repr_mimebundle_()
        del data["text/html"]  # the picture has an output of its own, which can be replaced
        saved = display_with_picture(data, metadata, self._image)
        if saved is not None:
            self._saved = (*self._saved, saved)


def explore_ranks(ranks: Any, *, budget: int | float | str | None = None, title: str | None = None) -> RankExplorer:
    """Open a view of predicted ranks: the memory of each over the step, the highest peak first, under one budget.

    The budget slider chooses a plan for all ranks, or for each stage of a pipeline. A pipeline's schedule stands over
    the memory, on the same time axis. The search for plans runs before the view opens.

    Parameters
    ----------
    ranks : RankStep, RankKind, StageStep, PipelineRank, or several of one kind
        What :func:`recompviz.rank_kinds`, :func:`recompviz.shard_step` or :func:`recompviz.replicate_step` returns, or
        the stages of one pipeline from :func:`recompviz.stage_step`, or its ranks from :func:`recompviz.pipeline_rank`.
    budget : int, float or str, optional
        The budget of each rank at first: total bytes, a string such as ``"10 GiB"``, or a percentage of the largest
        peak without recomputation. By default, nothing is recomputed.
    title : str, optional
        By default the name of the model's class.

    Returns
    -------
    RankExplorer
        Its ``plans`` are those of the budget; ``to_html("ranks.html")`` writes a page.

    Raises
    ------
    TypeError
        If ``ranks`` has an object of another type.
    ValueError
        If ``ranks`` is empty, or its steps do not belong together.

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
    from recompviz.pytorch.ranks.boards import board_of

    board = board_of(ranks, title)
    return RankExplorer(board, None if budget is None else budget_bytes(budget, board.most))
