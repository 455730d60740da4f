"""Order the findings of a memory report by importance, and drop findings about the same blocks."""

from __future__ import annotations

from collections.abc import Sequence

from recompviz.core.reports.findings import LEAST_GROWTH, LEAST_SHARE, Finding


def ranked(findings: Sequence[Finding], peak: int) -> tuple[Finding, ...]:
    """Order findings by importance and drop the redundant ones.

    First come the findings that matter (:meth:`Finding.matters`) and whose memory grows by at least 1 KiB in each
    training step. Then come the other findings that matter. In both groups, a finding whose fix saves more bytes comes
    first. At the end are the findings that do not matter, the largest first.

    A finding that matters is dropped if more than half of its blocks are also blocks of the findings before it. A
    surprising finding that does not matter is dropped if its fix saves less than 1 % of the peak.

    Parameters
    ----------
    findings : sequence of Finding
        In any order.
    peak : int
        Peak memory of the report, in bytes.

    Returns
    -------
    tuple of Finding

    Examples
    --------
    >>> a = Finding("leak", "h", None, 10, 10, "", rows=(0,), surprising=True, growth=2048)
    >>> b = Finding("saved for backward", "x", None, 90, 0, "", rows=(1,))
    >>> c = Finding("view keeps base alive", "y", None, 50, 45, "", rows=(2,), surprising=True)
    >>> [f.cause for f in ranked([b, c, a], 200)]
    ['leak', 'view keeps base alive', 'saved for backward']
    """

    def order(finding: Finding) -> tuple[bool, bool, int, int]:
        if not finding.matters(peak):
            return True, True, 0, -finding.size
        return False, finding.growth < LEAST_GROWTH, -finding.avoidable, -finding.size

    worth = [f for f in findings if not f.surprising or f.matters(peak) or f.avoidable >= LEAST_SHARE * peak / 3]
    taken: set[int] = set()
    chosen = []
    for finding in sorted(worth, key=order):
        mine = set(finding.rows)
        if finding.matters(peak) and mine and len(mine & taken) > len(mine) / 2:
            continue
        taken |= mine if finding.matters(peak) else set()
        chosen.append(finding)
    return tuple(chosen)
