"""When the passes of a pipeline run: the start and the end of each pass on each rank.

A rank runs its passes in a fixed order. A forward pass of a micro-batch waits for the forward pass of the same
micro-batch in the stage before. A backward pass waits for the backward pass of the same micro-batch in the stage after.
Sending takes no time here. The gaps between the passes of a rank are the *bubble* of the pipeline.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from recompviz.core.base.errors import GraphError
from recompviz.core.ranks.rank_layers import Pass


def pass_times(
    ranks: Sequence[Sequence[Pass]], durations: Sequence[Mapping[tuple[str, int], float]]
) -> list[list[tuple[float, float]]]:
    """Return for each rank the start and the end of each of its passes.

    Parameters
    ----------
    ranks : sequence of sequence of Pass
        For each rank, its passes in the order in which they run.
    durations : sequence of mapping
        For each rank, the time of a pass, by (kind of the pass, stage).

    Returns
    -------
    list of list of (float, float)
        For each rank and each of its passes, the start and the end, in the unit of ``durations``. The first pass starts
        at 0.

    Raises
    ------
    GraphError
        If passes wait for each other, so that none of them can run.
    KeyError
        If the time of a pass is not in ``durations``.

    Examples
    --------
    Two stages and one micro-batch: the second stage waits for the first one, then the first one for the second.

    >>> ranks = [[Pass("forward", s), Pass("backward", s)] for s in (0, 1)]
    >>> pass_times(ranks, [{("forward", s): 1, ("backward", s): 2} for s in (0, 1)])
    [[(0.0, 1.0), (4.0, 6.0)], [(1.0, 2.0), (2.0, 4.0)]]
    """
    known = {(p.kind, p.stage, p.micro_batch) for passes in ranks for p in passes}
    ended: dict[tuple[str, int, int], float] = {}
    found: list[list[tuple[float, float]]] = [[] for _ in ranks]
    moved = True
    while moved:
        moved = False
        for rank, passes in enumerate(ranks):
            while len(found[rank]) < len(passes):
                one = passes[len(found[rank])]
                needs = [need for need in _needs(one) if need in known]
                if any(need not in ended for need in needs):
                    break
                free = found[rank][-1][1] if found[rank] else 0.0
                start = max([free, *(ended[need] for need in needs)])
                stop = start + durations[rank][one.kind, one.stage]
                found[rank].append((start, stop))
                ended[one.kind, one.stage, one.micro_batch] = stop
                moved = True
    for rank, passes in enumerate(ranks):
        if len(found[rank]) < len(passes):
            raise GraphError(
                f"{passes[len(found[rank])]} waits for a pass that waits for it; check that all ranks have one schedule"
            )
    return found


def _needs(one: Pass) -> list[tuple[str, int, int]]:
    """Return the passes that must have ended before a pass, on whatever rank they run."""
    if one.kind == "forward":
        return [("forward", one.stage - 1, one.micro_batch)]
    if one.kind == "backward":
        return [("backward", one.stage + 1, one.micro_batch), ("forward", one.stage, one.micro_batch)]
    return []
