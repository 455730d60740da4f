"""The key-value store through which the processes of a group find each other, for messages with a time limit.

A collective does not tell which rank is missing. A reader of the store waits with a time limit, and then knows which
ranks have written no message.

Private PyTorch used here: ``torch.distributed.distributed_c10d._get_default_store``. Tried on torch 2.13.0, with gloo.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch.distributed as dist

__all__ = ["RankStore", "StoreGone"]

# seconds between two looks at the store
_PAUSE = 0.02


class StoreGone(RuntimeError):
    """The store does not answer, because the process that holds it (by default rank 0) has ended."""


class RankStore:
    """Messages of the ranks of the default process group.

    Parameters
    ----------
    prefix : str
        Keeps these messages apart from others.

    Raises
    ------
    RuntimeError
        If there is no default process group.

    Attributes
    ----------
    rank, world : int
        The rank of this process, and the number of processes.
    """

    def __init__(self, prefix: str) -> None:
        if not (dist.is_available() and dist.is_initialized()):
            raise RuntimeError(
                "this process belongs to no process group, and plans are agreed within the default one; call "
                "torch.distributed.init_process_group on every rank first, or leave this call out in a single process"
            )
        self.rank, self.world = dist.get_rank(), dist.get_world_size()
        store: Any = dist.distributed_c10d._get_default_store()
        self._store: Any = dist.distributed_c10d.PrefixStore(prefix, store)

    def write(self, name: str, text: str) -> None:
        """Write this rank's message. It replaces an earlier message of this rank with the same name.

        Raises
        ------
        StoreGone
            If the process that holds the store has ended.
        """
        self._try(lambda: self._store.set(f"{name}/{self.rank}", text))

    def read(self, name: str, ranks: Sequence[int], until: float) -> dict[int, str]:
        """Wait until all of the ranks have written, or until a time is reached; return the messages by rank.

        Parameters
        ----------
        name : str
            The name of the message.
        ranks : sequence of int
            The ranks whose messages are read.
        until : float
            The end of the wait, as a time of ``time.monotonic``. A message that is in the store already is read even if
            this time is over. Ranks without a message are left out of the result.

        Raises
        ------
        StoreGone
            If the process that holds the store has ended.
        """
        found: dict[int, str] = {}
        while True:
            for rank in ranks:
                if rank not in found and self._try(lambda key=f"{name}/{rank}": self._store.check([key])):
                    found[rank] = self._try(lambda key=f"{name}/{rank}": self._store.get(key)).decode()
            if len(found) == len(ranks) or time.monotonic() > until:
                return found
            time.sleep(_PAUSE)

    def _try(self, use: Any) -> Any:
        try:
            return use()
        except (dist.DistError, RuntimeError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise StoreGone(reason) from error
