"""When a rank of a pipeline receives tensors, and drops those that it has sent, in the installed version of PyTorch.

Until PyTorch 2.14, buffers for all micro-batches exist during the whole batch. From PyTorch 2.15 on, they are allocated
when they are needed. With interleaved stages, this depends on the passes of all ranks, and PyTorch computes the order.

Private PyTorch used here: the module ``torch.distributed.pipelining._recv_buffers``, and in
``torch.distributed.pipelining.schedules`` the functions ``_add_unshard_reshard``, ``_add_reduce_grad``,
``_add_send_recv`` and ``_add_wait_send``, ``_resolve_unshard_lookahead`` and the class ``_Action``. Tried on torch
2.13.0, 2.14.1 and 2.15.0, on the CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import torch

from recompviz.core.ranks.batch_actions import Action, ActionKind
from recompviz.core.ranks.rank_layers import Pass

__all__ = ["buffers_on_demand", "interleaved_transfers"]

# the argument ``max_active_stages`` of PyTorch's schedules, if it is left out
ACTIVE_STAGES = 3
_KINDS: dict[str, ActionKind] = {
    "FORWARD": "forward",
    "FULL_BACKWARD": "backward",
    "RECV_F": "receive values",
    "RECV_B": "receive gradients",
    "WAIT_SEND_F": "free outputs",
    "WAIT_SEND_B": "free sent gradients",
}


def buffers_on_demand() -> bool:
    """Return whether pipelines allocate the buffer of a tensor when it is received, as from PyTorch 2.15 on."""
    if not torch.distributed.is_available():
        return False
    return find_spec("torch.distributed.pipelining._recv_buffers") is not None


def interleaved_transfers(
    orders: Sequence[Sequence[Pass]], stages: int, micro_batches: int
) -> list[tuple[Action, ...]]:
    """Return for each rank its passes with the actions that receive tensors, and that free what was sent.

    Only for versions of PyTorch with :func:`buffers_on_demand`.

    Parameters
    ----------
    orders : sequence of sequence of Pass
        The passes of each rank, in the order in which they run.
    stages, micro_batches : int
        The number of stages of the pipeline, and of micro-batches in a batch. Stage i is on rank ``i % len(orders)``.
    """
    from torch.distributed.pipelining import schedules

    private: Any = schedules
    types = private._ComputationType
    ranks = len(orders)
    ahead = private._resolve_unshard_lookahead("full", num_pp_ranks=ranks, max_active_stages=ACTIVE_STAGES)
    lowered = {}
    for rank, order in enumerate(orders):
        passes = [
            private._Action(p.stage, types.FORWARD if p.kind == "forward" else types.FULL_BACKWARD, p.micro_batch)
            for p in order
        ]
        passes = private._add_unshard_reshard(passes, max_active_stages=ACTIVE_STAGES, unshard_lookahead=ahead[rank])
        lowered[rank] = private._add_reduce_grad(passes, micro_batches, defer_reduce_grad_wait=False)
    lowered = private._add_send_recv(lowered, stage_to_rank=lambda stage: stage % ranks, num_stages=stages)
    lowered = private._add_wait_send(lowered)
    return [
        tuple(
            Action(_KINDS[one.computation_type.name], one.stage_index, one.microbatch_index)
            for one in lowered[rank]
            if one.computation_type.name in _KINDS
        )
        for rank in range(ranks)
    ]
