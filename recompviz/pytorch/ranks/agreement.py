"""``shared_plans``: rank 0 plans for all ranks. All agree on the plans before the first step, or all raise an error.

Ranks that run different plans would start collectives at different times, and could wait for each other without end.
Therefore no rank goes on before all ranks have the same plans. If a rank fails or does not answer, the error of the
other ranks names it.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Sequence

from recompviz.core.base.arguments import expect, shown
from recompviz.core.base.errors import RecompvizError
from recompviz.core.base.units import format_bytes, parse_total
from recompviz.core.ranks.unit_plan import UnitPlan, expect_unit_plans, fingerprint, from_text, to_text
from recompviz.pytorch.internals.rank_store import RankStore, StoreGone
from recompviz.pytorch.ranks.rank_arguments import expect_amount
from recompviz.pytorch.ranks.rank_step import RankStep

_numbers = itertools.count()


class RanksDisagree(RecompvizError, RuntimeError):
    """The ranks have no common plan. Every rank that is alive raises an error; see :func:`shared_plans`.

    Attributes
    ----------
    ranks : tuple of int
        The ranks that failed, did not answer in time, have another plan than rank 0, or cannot run the plans of rank 0
        within their total.
    """

    def __init__(self, text: str, ranks: Sequence[int]) -> None:
        super().__init__(text)
        self.ranks = tuple(ranks)


def shared_plans(
    make: Callable[[int | None], Sequence[UnitPlan]] | None,
    *,
    total: int | float | str | None = None,
    seconds: float = 300.0,
    step: RankStep | None = None,
) -> tuple[UnitPlan, ...]:
    """Return the unit plans of rank 0 on every rank, after all ranks have confirmed them.

    Call it on every rank of the default process group, after ``torch.distributed.init_process_group``.

    Parameters
    ----------
    make : callable (total) → unit plans
        Makes the plans. It is called on rank 0 only, with the smallest total of all ranks in bytes, or with None if no
        rank gives a total. On other ranks, ``make`` may be None.
    total : int, float or str, optional
        The most bytes that a training step of this rank may take, or a text such as ``"10 GiB"``. Ranks may give
        different totals. None sets no limit for this rank.
    seconds : float
        The time limit for planning and for the answers of all ranks together, in seconds.
    step : RankStep, optional
        The predicted step of this rank, traced with the batch of this rank. Its peak under the plans is then compared
        with the ``total`` of this rank. Give it if this rank may have a larger batch than rank 0, because rank 0 plans
        for its own batch.

    Returns
    -------
    tuple of UnitPlan
        The plans of rank 0. Give them to :func:`recompviz.plan_units`.

    Raises
    ------
    RanksDisagree
        On every rank, if a rank fails or does not answer in time, or if a rank that gives ``step`` cannot run the plans
        within its total. If ``make`` fails on rank 0, all other ranks raise this error, and rank 0 raises the error of
        ``make``.
    RuntimeError
        If there is no default process group.
    TypeError, ValueError
        On a rank whose arguments are not valid, for example if ``step`` is given without ``total``. The other ranks
        then raise RanksDisagree, at the latest when the time is up.

    Examples
    --------
    With one rank:

    >>> import torch.distributed as dist
    >>> dist.init_process_group("gloo", rank=0, world_size=1, store=dist.HashStore())
    >>> unit = UnitPlan("layers.0", operators=("aten.mm", "aten.relu"), keep=(True, False))
    >>> [plan.name for plan in shared_plans(lambda total: [unit], total="10 GiB")]
    ['layers.0']
    >>> dist.destroy_process_group()
    """
    expect_amount(seconds, "seconds", "a number of seconds", positive=True)
    own = None if total is None else parse_total(total)
    if make is not None and not callable(make):
        raise TypeError(f"make is {shown(make)}, expected a function of the total that returns unit plans, or None")
    if step is not None:
        expect(step, RankStep, "step", "the step of this rank", "make it with rv.shard_step or rv.replicate_step")
        if own is None:
            raise ValueError("step is given without a total, expected both; write for example total='10 GiB'")
    store = RankStore(f"recompviz/plans/{next(_numbers)}")
    until = time.monotonic() + seconds
    ranks = range(store.world)
    try:
        store.write("total", json.dumps(own))
        if store.rank == 0:
            plans = _made(make, store, until, seconds)
        else:
            answer = store.read("plans", [0], until)
            if 0 not in answer:
                raise RanksDisagree(f"rank 0 sent no plans within {seconds:g} seconds; {_LOOK}", [0])
            message = json.loads(answer[0])
            if "error" in message:
                store.write("seen", "")
                raise RanksDisagree(f"rank 0 could not plan: {message['error']}", message["ranks"])
            plans = from_text(message["plans"])
        _confirm(store, plans, ranks, until, seconds, _over(step, plans, own))
    except StoreGone as error:
        raise RanksDisagree(f"rank 0 has ended ({error}); look at its log for the error", [0]) from error
    return plans


# seconds that rank 0 gives the others to read why it failed
_FAREWELL = 5.0
_LOOK = "look at its log, or allow more seconds"


def _made(
    make: Callable[[int | None], Sequence[UnitPlan]] | None, store: RankStore, until: float, seconds: float
) -> tuple[UnitPlan, ...]:
    """Plan on rank 0, and send the plans or the error to the other ranks."""
    try:
        given = store.read("total", range(store.world), until)
        if missing := [rank for rank in range(store.world) if rank not in given]:
            raise RanksDisagree(f"{_named(missing)} did not answer within {seconds:g} seconds; {_LOOK}", missing)
        totals = {rank: size for rank, text in given.items() if (size := json.loads(text)) is not None}
        least = min(totals, key=lambda rank: totals[rank]) if totals else None
        if make is None:
            raise TypeError("make is None on rank 0, expected a function of the total that returns unit plans")
        try:
            plans = expect_unit_plans(make(None if least is None else totals[least]))
        except RecompvizError as error:
            if least is not None and len(set(totals.values())) > 1:
                error.add_note(f"the least total is that of rank {least}: {format_bytes(totals[least])}")
            raise
    except BaseException as error:  # also an interrupt: the other ranks wait for an answer
        notes = " ".join(getattr(error, "__notes__", ()))
        text = f"{type(error).__name__}: {error} {notes}".strip()
        store.write("plans", json.dumps({"error": text, "ranks": list(getattr(error, "ranks", [0]))}))
        # this process may hold the store, and end with the error: let the others read it first
        store.read("seen", range(1, store.world), min(until, time.monotonic() + _FAREWELL))
        raise
    store.write("plans", json.dumps({"plans": to_text(plans)}))
    return plans


def confirm_plans(plans: Sequence[UnitPlan], *, seconds: float = 60.0) -> None:
    """Raise an error on every rank unless all ranks have the same unit plans.

    Use it if each rank makes or loads its plans itself. Call it on every rank of the default process group.

    Parameters
    ----------
    plans : sequence of UnitPlan
        The plans of this rank.
    seconds : float
        The time limit for the answers of all ranks together, in seconds.

    Raises
    ------
    RanksDisagree
        If plans differ, if a rank does not answer in time, or if rank 0 has ended.
    RuntimeError
        If there is no default process group.
    TypeError, ValueError
        If ``plans`` are not unit plans, or ``seconds`` is not a finite number above 0.

    Examples
    --------
    With one rank:

    >>> import torch.distributed as dist
    >>> dist.init_process_group("gloo", rank=0, world_size=1, store=dist.HashStore())
    >>> unit = UnitPlan("layers.0", operators=("aten.mm", "aten.relu"), keep=(True, False))
    >>> confirm_plans([unit])  # raises no error
    >>> dist.destroy_process_group()
    """
    expect_amount(seconds, "seconds", "a number of seconds", positive=True)
    plans = expect_unit_plans(plans)
    store = RankStore(f"recompviz/confirm/{next(_numbers)}")
    try:
        _confirm(store, plans, range(store.world), time.monotonic() + seconds, seconds)
    except StoreGone as error:
        raise RanksDisagree(f"rank 0 has ended ({error}); look at its log for the error", [0]) from error


def _over(step: RankStep | None, plans: Sequence[UnitPlan], total: int | None) -> str:
    """Return why the plans do not fit this rank; empty if they do, or if the rank gave no step."""
    if step is None or total is None:
        return ""
    try:
        peak = step.simulate(step.whole_plan(plans)).peak
    except RecompvizError as error:
        return f"cannot run the plans of rank 0: {error}"
    if peak <= total:
        return ""
    return f"takes {format_bytes(peak)} under the plans of rank 0, and its total is {format_bytes(total)}"


def _confirm(
    store: RankStore,
    plans: Sequence[UnitPlan],
    ranks: Sequence[int],
    until: float,
    seconds: float,
    over: str = "",
) -> None:
    """Raise an error on all ranks if plans differ, or if a rank says in ``over`` why it cannot run them."""
    store.write("print", json.dumps([fingerprint(plans), over]))
    answers = {rank: json.loads(text) for rank, text in store.read("print", ranks, until).items()}
    if missing := [rank for rank in ranks if rank not in answers]:
        raise RanksDisagree(f"{_named(missing)} did not confirm within {seconds:g} seconds; {_LOOK}", missing)
    # rank 0 may hold the store: it stays until all have read
    store.write("read", "")
    if store.rank == 0:
        store.read("read", ranks, until)
    if other := [rank for rank in ranks if answers[rank][0] != answers[0][0]]:
        raise RanksDisagree(
            f"{_named(other)} {'has' if len(other) == 1 else 'have'} another plan than rank 0; send the plans of "
            "rank 0 with rv.shared_plans",
            other,
        )
    if short := [rank for rank in ranks if answers[rank][1]]:
        raise RanksDisagree(
            f"{'; '.join(f'rank {rank} {answers[rank][1]}' for rank in short)}; let make plan for the largest batch of "
            "all ranks, or give a larger total",
            short,
        )


def _named(ranks: Sequence[int]) -> str:
    return f"rank{'s' if len(ranks) > 1 else ''} {', '.join(map(str, ranks))}"
