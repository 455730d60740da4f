"""Match the rows of two memory reports. A row is one block of memory.

Rows with the same value, category and text of the source line form a group. Groups of the same category are matched in
three rounds: by value and text of the source line; then by operator, module, shape, dtype and size; then by operator,
module and file. The later rounds find values whose name or line was edited between the runs. In a memory snapshot, the
function of the source line counts as the operator. Rows with neither operator nor module are matched only in the first
round.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from recompviz.core.reports.findings import PeakRow


@dataclass(frozen=True)
class Group:
    """Rows of one report that have the same value, category and text of the source line."""

    rows: tuple[PeakRow, ...]

    @property
    def first(self) -> PeakRow:
        """The first row of the group. Its name and source line are shown for the group."""
        return self.rows[0]

    @property
    def size(self) -> int:
        """Bytes of all rows together."""
        return sum(row.size for row in self.rows)


Pair = tuple[Group | None, Group | None]


def pairs(before: Sequence[PeakRow], after: Sequence[PeakRow]) -> list[Pair]:
    """Group the rows of each report and match the groups of the two reports.

    Parameters
    ----------
    before, after : sequence of PeakRow
        The rows of the two reports.

    Returns
    -------
    list of (Group or None, Group or None)
        Each pair has a group of ``before`` and the group of ``after`` that it is matched with. None stands for no
        matching group.

    Examples
    --------
    >>> from recompviz.core.steps.joint import Category
    >>> def row(value, size):
    ...     return PeakRow(value, size, Category.KEPT, operator="relu", shape=(size,), dtype="uint8")
    >>> [(a.first.value, b.first.value) for a, b in pairs([row("h", 7), row("x", 3)], [row("g", 7), row("x", 5)])]
    [('x', 'x'), ('h', 'g')]
    """
    found: list[Pair] = []
    left, right = _groups(before), _groups(after)
    for key in (_name, _made, _place):
        left, right = _match(left, right, key, found)
    return [*found, *((group, None) for group in left), *((None, group) for group in right)]


def line_text(row: PeakRow) -> str:
    """Return the text of the source line of a row; ``""`` if the row has no line.

    If the text is not known, file name and line number are returned.
    """
    return row.line.text.strip() or row.line.place if row.line else ""


def _groups(rows: Sequence[PeakRow]) -> list[Group]:
    members: dict[Hashable, list[PeakRow]] = {}
    for row in rows:
        members.setdefault((row.value, row.category, line_text(row)), []).append(row)
    groups = [Group(tuple(rows)) for rows in members.values()]
    return sorted(groups, key=lambda group: group.first.line.number if group.first.line else 0)


def _match(
    left: list[Group], right: list[Group], key: Callable[[Group], Hashable], found: list[Pair]
) -> tuple[list[Group], list[Group]]:
    """Add pairs of groups with equal keys to ``found``; return the groups that remain on both sides."""
    waiting: dict[Hashable, list[Group]] = {}
    for group in right:
        waiting.setdefault(key(group), []).append(group)
    rest = []
    for group in left:
        same = waiting.get(key(group))
        if same and key(group) is not None:
            found.append((group, same.pop(0)))
        else:
            rest.append(group)
    paired = {id(b) for _, b in found}
    return rest, [group for group in right if id(group) not in paired]


def _name(group: Group) -> Hashable:
    row = group.first
    return row.value, row.category, line_text(row)


def _made(group: Group) -> Hashable:
    """The operator, module, shape and size of a group: equal if only the name or the line was edited."""
    row = group.first
    return _place(group) and (row.category, _maker(row), row.shape, row.dtype, row.size, group.size)


def _place(group: Group) -> Hashable:
    """The operator, module and file of a group: equal also if the size changed. None if the operator is not known."""
    row = group.first
    file = os.path.basename(row.line.file) if row.line else ""
    return (row.category, *_maker(row), file) if any(_maker(row)) else None


def _maker(row: PeakRow) -> tuple[str, str]:
    """The operator and module of a row; in a snapshot, which has neither, the function and ``""``."""
    return row.operator or (row.line.function if row.line else ""), row.module
