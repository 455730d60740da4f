"""Rows of a memory report in groups: a group has the blocks that one line allocated and one object keeps alive.

For example, thirty outputs in a list are one group, ``30 × out``. All parameters of a model are one group too.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from recompviz.core.reports.findings import PeakRow
from recompviz.core.reports.source_line import SourceLine
from recompviz.core.steps.joint import Category


@dataclass(frozen=True)
class RowGroup:
    """Blocks alive at the peak that one source line allocated and one object keeps alive.

    Attributes
    ----------
    rows : tuple of int
        Positions in :attr:`MemoryReport.rows`, largest block first.
    size : int
        Bytes of all blocks.
    value : str
        The name of the largest block. For several blocks of known origin without a line, the label of their category.
    category : Category
    why : str
        Why the blocks are alive.
    line : SourceLine or None
        The line that allocated the blocks; None if it is not known.
    """

    rows: tuple[int, ...]
    size: int
    value: str
    category: Category
    why: str
    line: SourceLine | None

    @property
    def label(self) -> str:
        """The name with the number of blocks, such as ``30 × out``."""
        return f"{len(self.rows):,} × {self.value}" if len(self.rows) > 1 else self.value


def grouped(rows: Sequence[PeakRow], apart: Collection[int] = ()) -> tuple[RowGroup, ...]:
    """Return the groups of rows, those with the most bytes first.

    The rows of a group have the same category, source line, operator and retainer. Rows without a source line have the
    same ``why`` in place of the retainer. A group does not mix blocks of this training step with older blocks, nor
    blocks of known origin with blocks of unknown origin.

    Parameters
    ----------
    rows : sequence of PeakRow
    apart : collection of int
        Positions of rows that get groups of their own, for example the rows of the most important finding.

    Examples
    --------
    >>> line = SourceLine("train.py", 3, "out = net(x)")
    >>> rows = [PeakRow("out", 8, Category.KEPT, line=line, retainer="log")] * 3 + [PeakRow("w", 9, Category.PARAMETER)]
    >>> [(group.label, group.size) for group in grouped(rows)]
    [('3 × out', 24), ('w', 9)]
    """
    members: dict[tuple[object, ...], list[int]] = {}
    separate = set(apart)
    for i, row in enumerate(rows):
        reason = row.retainer if row.line else row.why
        key = (row.category, row.line, row.operator, reason, row.age > 0, row.attributed, i in separate)
        members.setdefault(key, []).append(i)
    groups = []
    for numbers in members.values():
        largest = rows[numbers[0]]
        alone = len(numbers) == 1
        same = {rows[i].why for i in numbers}
        why = largest.why if len(same) == 1 else largest.retainer and f"held by {largest.retainer}"
        groups.append(
            RowGroup(
                tuple(numbers),
                sum(rows[i].size for i in numbers),
                largest.value if alone or largest.line or not largest.attributed else largest.category.label,
                largest.category,
                why or f"the largest: {largest.why}",
                largest.line,
            )
        )
    return tuple(sorted(groups, key=lambda group: -group.size))
