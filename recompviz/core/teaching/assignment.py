"""Write exercises as a notebook that nbgrader can hand out and grade.

nbgrader reads its instructions from the metadata of the cells: the cell of an answer may be changed by the student, the
cell of a grade is locked, and the number that it returns is the grade. This file writes plain JSON and needs neither
nbgrader nor Jupyter.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from recompviz.core.base.files import write_file
from recompviz.core.teaching.course import exercise, exercises
from recompviz.core.teaching.record import Seed


def write_assignment(
    path: str | os.PathLike[str], names: Iterable[str] | None = None, *, seed: Seed = None, points: int = 1
) -> Path:
    """Write a notebook with exercises that nbgrader can grade.

    For each exercise, the notebook has its question, a cell for the answer, and a locked cell. The locked cell returns
    the points, or 0 for a wrong answer.

    Parameters
    ----------
    path : str or Path
        The notebook to write. If writing fails, an old file stays as it was.
    names : iterable of str, optional
        The exercises, for example ``["1.1", "2.2"]``. Default: all exercises of the course.
    seed : int or str, optional
        As for :func:`recompviz.exercise`.
    points : int
        The points for a right answer.

    Returns
    -------
    Path
        The notebook that was written.

    Raises
    ------
    ValueError
        If one of the names is not the name of an exercise, or ``points`` is not a positive int.
    TypeError
        If ``path`` is not a path, ``names`` is not iterable, a name is not a str, or ``seed`` is neither an int nor a
        str.
    FileError
        If the file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     written = write_assignment(f"{folder}/homework.ipynb", ["1.1", "2.2"], seed=7)
    ...     len(json.loads(written.read_text(encoding="utf-8"))["cells"])
    8
    """
    if isinstance(points, bool) or not isinstance(points, int) or points < 1:
        raise ValueError(f"expected a positive int as points, got {points!r}")
    chosen = list(exercises(seed)) if names is None else [exercise(name, seed) for name in names]
    cells = [
        _cell("markdown", "# Exercises\n\nWrite your answers in the cells below the questions.", "title"),
        _cell("code", "import recompviz as rv", "setup"),
    ]
    given = "" if seed is None else f", seed={seed!r}"
    for asked in chosen:
        name, variable = f"rv.exercise({asked.name!r}{given})", f"answer_{asked.name.replace('.', '_')}"
        key = asked.name.replace(".", "-")
        cells.append(_cell("markdown", asked._repr_markdown_(), f"question-{key}"))
        answer = f"{variable} = None  # write your answer here\n\n{name}.check({variable})"
        cells.append(_cell("code", answer, f"answer-{key}", solution=True))
        grade = f"{points} if {name}.check({variable}) else 0"
        cells.append(_cell("code", grade, f"grade-{key}", points=points))
    notebook = {
        "cells": cells,
        "metadata": {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return write_file(path, json.dumps(notebook, ensure_ascii=False, indent=1) + "\n")


def _cell(kind: str, source: str, name: str, *, solution: bool = False, points: int | None = None) -> dict[str, Any]:
    """Return a notebook cell. It is locked, unless it is the cell of an answer."""
    graded: dict[str, Any] = {
        "schema_version": 3,
        "grade_id": name,
        "solution": solution,
        "grade": points is not None,
        "locked": not solution,
        "task": False,
    }
    if points is not None:
        graded["points"] = points
    cell: dict[str, Any] = {"cell_type": kind, "id": name, "metadata": {"nbgrader": graded}, "source": source}
    if kind == "code":
        cell |= {"execution_count": None, "outputs": []}
    return cell
