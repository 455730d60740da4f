"""Budgets of the Explorer: the bytes that a budget means, and the row of a plan table that a budget selects."""

from __future__ import annotations

import math
from typing import Any

from recompviz.core.base.errors import InfeasibleBudget
from recompviz.core.base.units import parse_bytes
from recompviz.core.plans.plan_table import PlanTable


def budget_bytes(value: Any, keep_all: int) -> int:
    """Return a budget in bytes.

    Parameters
    ----------
    value : int, float or str
        A size that :func:`~recompviz.core.base.units.parse_bytes` reads, or a percentage of ``keep_all`` such as
        ``"60%"``.
    keep_all : int
        The number of bytes that 100 % stands for: the total peak of the plan that recomputes least.

    Raises
    ------
    TypeError
        If ``value`` is neither a number nor a string.
    ValueError
        If ``value`` is neither a size nor a percentage.
    """
    if isinstance(value, str) and value.strip().endswith("%"):
        try:
            share = float(value.strip()[:-1]) / 100
        except ValueError:
            share = math.nan
        if not 0 <= share < math.inf:
            raise ValueError(f"budget is {value!r}, expected a size such as '500 MiB' or '60%'")
        return int(share * keep_all)
    return parse_bytes(value)


def first_choice(table: PlanTable, budget: int | float | str | None) -> tuple[int, int]:
    """Return the row of a table to select first, and the budget to show, in total bytes.

    If ``budget`` is None, the row is the best one for a budget halfway between the least total peak of the table and
    the total peak of the plan that recomputes least. The returned budget is then the total peak of the row.

    Raises
    ------
    InfeasibleBudget
        If ``budget`` is less than the least total peak of the table.
    TypeError
        If ``budget`` is neither a number nor a string.
    ValueError
        If ``budget`` is neither a size nor a percentage.
    """
    if budget is not None:
        total = budget_bytes(budget, int(table.total_peaks[0]))
        return table.row(total), total
    row = table.row((table.least_total + int(table.total_peaks[0])) // 2)
    return row, int(table.total_peaks[row])


def fits(table: PlanTable, budget: int | float | str) -> bool:
    """Return whether a plan of a table fits a budget.

    The budget is a size or a percentage, as for :func:`budget_bytes`, which also says what errors are raised.
    """
    return budget_bytes(budget, int(table.total_peaks[0])) >= table.least_total


def affordable_row(table: PlanTable, budget: int) -> tuple[int, int]:
    """Return the row of a table for a budget in total bytes, and this budget.

    If no plan fits the budget, return the row for the least total peak of the table, and this peak as the budget.
    """
    try:
        return table.row(budget), budget
    except InfeasibleBudget as error:
        return table.row(error.least), error.least
