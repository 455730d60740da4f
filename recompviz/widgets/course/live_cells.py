"""Run the cells of a notebook that make lessons, and the cells that these need, without a kernel.

To make a lesson, the cell of the lesson runs. A cell needs the earlier cells that assign the names that it reads, and
these run before it. Other cells do not run; their saved outputs are used. Therefore a page of the course needs PyTorch
only if a lesson depends on it.
"""

from __future__ import annotations

import ast
import contextlib
import io
from collections.abc import Sequence
from typing import Any

from recompviz.widgets.lessons.lesson import Lesson


def names_in_cell(source: str) -> tuple[set[str], set[str]]:
    """Return the names that a cell reads, and the names that it assigns.

    If the cell assigns an attribute or an item of an object, the name of the object counts as assigned. Both sets are
    empty if the cell is not plain Python, for example because of a line ``%time``.

    Examples
    --------
    >>> reads, writes = names_in_cell("diamond.chosen = wanted\\nx = 1")
    >>> sorted(reads), sorted(writes)
    (['diamond', 'wanted'], ['diamond', 'x'])
    """
    reads: set[str] = set()
    writes: set[str] = set()
    try:
        tree = ast.parse(source)
    except SyntaxError:  # a line of IPython, such as %time
        return reads, writes
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            (reads if isinstance(node.ctx, ast.Load) else writes).add(node.id)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            writes.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            writes |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        elif isinstance(node, (ast.Attribute, ast.Subscript)) and isinstance(node.ctx, ast.Store):
            base: ast.expr = node
            while isinstance(base, (ast.Attribute, ast.Subscript)):
                base = base.value
            if isinstance(base, ast.Name):
                writes.add(base.id)
    return reads, writes


def needed(sources: Sequence[str], wanted: Sequence[int]) -> list[int]:
    """Return the positions of the wanted cells and of all cells that these need, in rising order.

    Parameters
    ----------
    sources : sequence of str
        The code of each cell.
    wanted : sequence of int
        Positions of the wanted cells.

    Examples
    --------
    >>> needed(["import recompviz as rv", "slow = 1", "g = rv.Graph", "g"], [3])
    [0, 2, 3]
    """
    names = [names_in_cell(source) for source in sources]
    chosen, open_ = set(wanted), list(wanted)
    while open_:
        cell = open_.pop()
        for earlier in range(cell):
            if earlier not in chosen and names[earlier][1] & names[cell][0]:
                chosen.add(earlier)
                open_.append(earlier)
    return sorted(chosen)


def run_cells(sources: Sequence[str], wanted: Sequence[int]) -> tuple[dict[int, list[str]], str]:
    """Run cells and return the lessons that they show.

    Parameters
    ----------
    sources : sequence of str
        The code of each cell.
    wanted : sequence of int
        Positions of the cells whose lessons are asked for. The cells that they need run as well.

    Returns
    -------
    dict of int to list of str
        Position of a wanted cell → the HTML of each lesson that it shows, in the state right after the cell.
    str
        The error of the first cell that could not run; empty if all ran. The cells after it did not run.
    """
    shown: list[Any] = []
    scope: dict[str, Any] = {"__name__": "__main__", "display": lambda *values: shown.extend(values)}
    found: dict[int, list[str]] = {}
    for position in needed(sources, wanted):
        shown.clear()
        try:
            tree = ast.parse(sources[position])
            last = tree.body[-1] if tree.body else None
            value = ast.Expression(last.value) if isinstance(last, ast.Expr) else None
            tree.body = tree.body[:-1] if value else tree.body
            with contextlib.redirect_stdout(io.StringIO()):
                exec(compile(tree, f"cell {position}", "exec"), scope)
                if value is not None:
                    shown.append(eval(compile(value, f"cell {position}", "eval"), scope))
        except Exception as error:  # the page shows the saved pictures instead
            return found, f"{type(error).__name__}: {error}"
        if position in wanted:
            found[position] = [value.lesson_html() for value in shown if isinstance(value, Lesson)]
    return found, ""
