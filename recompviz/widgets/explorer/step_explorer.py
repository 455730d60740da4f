"""The view of the recorded training step of a compiled model.

The view shows the regions (the graphs that the compiler captured) and the eager code between them. One budget is for
the whole step. A click on a region opens the Explorer of the region below the view. The page has the whole Pareto front
of plans, so the budget slider needs neither the kernel nor a new run.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

import ipywidgets
import traitlets

from recompviz.core.base.errors import InfeasibleBudget
from recompviz.core.planning.planner import Planner
from recompviz.core.plans.plan import Plan
from recompviz.core.reports.training_step import StepReport
from recompviz.widgets.base import assets
from recompviz.widgets.base.job import explain
from recompviz.widgets.base.page_widget import PageWidget, amount, whole_number
from recompviz.widgets.base.static_output import display_with_picture, image
from recompviz.widgets.explorer.budgets import budget_bytes
from recompviz.widgets.explorer.explorer import Explorer
from recompviz.widgets.explorer.explorer_arguments import BASELINES
from recompviz.widgets.explorer.step_picture import step_svg
from recompviz.widgets.explorer.step_wire import step_message

_NEXT = "set total (or budget) for the whole step, or use the Explorer of one region: open_region(1)"


class StepView(PageWidget):
    """The upper part of a :class:`StepExplorer`: a widget that shows the whole step."""

    _esm = assets.esm("explorer/step_view.js")
    _css = assets.css()
    page_traits = ("_chosen",)

    _step = traitlets.Dict().tag(sync=True)
    _chosen = traitlets.Dict().tag(sync=True, echo_update=False)
    _opened = traitlets.Dict().tag(sync=True)

    points = 0
    """The number of points of the front, for the check of what the page sends."""

    def from_page(self, _name: str, value: Any, _state: Mapping[str, Any]) -> Any:
        """Return the checked choice of the page; see :class:`PageWidget`."""
        return {"point": whole_number(value["point"], 0, self.points - 1), "budget": amount(value["budget"])}


class StepExplorer(ipywidgets.VBox):  # type: ignore[misc]  # ipywidgets has no types
    """A widget that shows the recorded training step of a compiled model, and its plans for other totals.

    Parameters
    ----------
    report : StepReport
        The report of the recorded step, from :func:`recompviz.step_report`.

    Attributes
    ----------
    total, budget : int
        Two names for the same number: the budget of the whole step that the view shows, in total bytes. It can be set.
    report : StepReport
    explorer : Explorer or None
        The Explorer of the region that was opened last; None if no region was opened yet.

    Examples
    --------
    >>> import torch, recompviz as rv
    >>> model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
    >>> compiled = rv.compile(model, total="1 MiB")
    >>> for _ in range(3):
    ...     torch.nn.functional.mse_loss(compiled(torch.ones(4, 8)), torch.zeros(4, 1)).backward()
    >>> steps = rv.explore(compiled)
    >>> steps.report.summary
    'one region: the compiler captured the whole model, without a graph break'
    >>> steps.open_region(1).graph is steps.report.regions[0].graph
    True
    """

    def __init__(self, report: StepReport) -> None:
        self.report = report
        self.explorer: Explorer | None = None
        self._opened: dict[int, Explorer] = {}
        self._region = -1
        self._view = StepView(
            _step=step_message(report),
            _chosen={"point": report.point, "budget": float(report.peak())},
            _opened={"region": -1, "text": ""},
        )
        self._view.points = len(report.front.peak)
        super().__init__([self._view])
        self._view.on_msg(self._on_message)
        self._view.observe(self._on_chosen, "_chosen")

    @property
    def point(self) -> int:
        """The index in ``report.front`` of the plans that are shown; 0 recomputes least and has the highest peak."""
        return int(self._view._chosen["point"])

    @property
    def total(self) -> int:
        """The total that is shown, in bytes.

        At first, this is the planned peak of the plans that the compiled model uses. The total can be set to a number,
        to a string such as ``"10 GiB"``, or to a percentage such as ``"60%"``. The percentage is of the peak of the
        plans that recompute least. The view then shows the plans of least recomputation that fit the total. The
        compiled model does not change.

        Raises
        ------
        InfeasibleBudget
            If the new total is less than the least total of the step.
        TypeError
            If the new total is neither a number nor a string.
        ValueError
            If the new total is neither a size nor a percentage.
        """
        return int(self._view._chosen["budget"])

    @total.setter
    def total(self, value: int | float | str) -> None:
        total = budget_bytes(value, self.report.peak(0))
        point = self.report.point_for(total)
        if point is None:
            raise InfeasibleBudget(total, self.report.least_total, "total")
        self._view._chosen = {"point": point, "budget": float(total)}

    @property
    def budget(self) -> int:
        """The same as :attr:`total`: one budget for the whole step."""
        return self.total

    @budget.setter
    def budget(self, value: int | float | str) -> None:
        self.total = value

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_") and name not in ("report", "explorer") and not hasattr(type(self), name):
            raise AttributeError(f"a StepExplorer has no attribute {name!r} to set; {_NEXT}")
        super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        then = f"; {_NEXT}" if hasattr(Explorer, name) else ""
        raise AttributeError(f"a StepExplorer has no attribute {name!r}{then}")

    def open_region(self, region: int) -> Explorer:
        """Show the Explorer of a region below the step.

        Parameters
        ----------
        region : int
            The number of the region in the view, from 1.

        Returns
        -------
        Explorer
            The Explorer of the region. It selects the region's plan at the total that is shown. The selection follows
            changes of the total until another region is opened.

        Raises
        ------
        IndexError
            If there is no such region.
        """
        count = len(self.report.regions)
        if not 1 <= region <= count:
            raise IndexError(f"region is {region}, expected a number from 1 to {count}")
        number = region - 1
        if number not in self._opened:
            self._opened[number] = self._explorer_of(number)
        self._region, self.explorer = number, self._opened[number]
        self._follow()
        self.children = [self._view, self.explorer]
        name = self.report.regions[number].name
        self._view._opened = {"region": number, "text": f"region {region}, {name}, is open below"}
        return self.explorer

    def _explorer_of(self, number: int) -> Explorer:
        region, report = self.report.regions[number], self.report
        planner = Planner(region.graph, region.joint, device=report.device)
        planner.use_plans([Plan.from_keep_mask(region.graph, mask, "region") for mask in region.masks])
        title = f"{region.name}: region {number + 1} of {len(report.regions)}, by itself"
        return Explorer(
            planner, objectives=("live",), baselines=BASELINES, background=False, title=title, cost_unit="ms"
        )

    def _follow(self) -> None:
        """Select the plan of the open region for the point that is shown."""
        if self.explorer is not None:
            region = self.report.regions[self._region]
            mask = region.masks[self.report.row(self._region, self.point)]
            self.explorer.load(Plan.from_keep_mask(region.graph, mask, "region"))

    def _on_chosen(self, change: Any) -> None:
        del change
        self._follow()

    def _on_message(self, _widget: Any, content: Any, _buffers: Any) -> None:
        if not isinstance(content, dict) or content.get("type") != "open":
            return
        try:
            self.open_region(whole_number(content["region"]) + 1)
        except Exception as error:  # whatever fails, the page gets an answer
            self._view._opened = {"region": self._region, "text": f"the region cannot be shown: {explain(error)}"}

    def __repr__(self) -> str:
        return self.report.text

    def to_svg(self) -> str:
        """Return a static SVG picture of the step under the plans that the view shows."""
        return step_svg(self.report, self.point)

    def _image(self) -> str:
        """Return the picture as an HTML image, and the report as text."""
        return f"{image(self.to_svg(), self.report.summary)}<pre>{escape(self.report.text)}</pre>"

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle = super()._repr_mimebundle_(**kwargs)
        return {**(bundle or {}), "text/plain": repr(self), "text/html": self._image()}

    def _ipython_display_(self) -> None:
        data = self._repr_mimebundle_()
        del data["text/html"]  # the picture has an output of its own, which the style sheet hides beside a live widget
        display_with_picture(data, {}, lambda: image(self.to_svg(), self.report.summary))
