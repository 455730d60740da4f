"""The rows and the table of the benchmark: how many inputs of each kind were tried, and which went wrong."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class FaultCount:
    """One row of the table that the benchmark prints.

    Attributes
    ----------
    subject : str
        What was tried, for example the name of a public function.
    kind : str
        The kind of fault, for example ``"KeyboardInterrupt at a line"``.
    tried : int
        Number of faults that were injected.
    wrong : tuple of str
        One text for each fault that did harm: how to repeat it, and what was expected.
    """

    subject: str
    kind: str
    tried: int
    wrong: tuple[str, ...] = ()


def table(part: str, rows: Iterable[FaultCount]) -> Iterator[str]:
    """Yield the lines of a table: the name of a part, its rows and their sum, then each fault that did harm.

    Examples
    --------
    >>> for line in table("files", [FaultCount("plan", "cut off", 40), FaultCount("plan", "one bit flipped", 60)]):
    ...     print(line.rstrip())
    files
      plan                         cut off                                     40 tried       0 wrong
      plan                         one bit flipped                             60 tried       0 wrong
      all                                                                     100 tried       0 wrong
    """
    rows = list(rows)
    yield part
    for row in rows:
        yield _line(row.subject, row.kind, row.tried, len(row.wrong))
    yield _line("all", "", sum(row.tried for row in rows), sum(len(row.wrong) for row in rows))
    for row in rows:
        for text in row.wrong:
            yield f"      {row.subject}, {row.kind}: {text}"


def _line(subject: str, kind: str, tried: int, wrong: int) -> str:
    return f"  {subject:28} {kind:36} {tried:9,} tried {wrong:7,} wrong"
