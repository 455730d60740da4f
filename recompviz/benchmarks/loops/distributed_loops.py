"""Training loops in two processes connected by gloo: DistributedDataParallel and FSDP2.

:func:`run` starts the two processes. Each runs all loops, eagerly and compiled, and prints the result of each as a line
of JSON. This module is also the program of one process, which has its rank in environment variables:

    python -m recompviz.benchmarks.loops.distributed_loops ddp fsdp2
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from recompviz.benchmarks.frozen_objects import freeze_objects
from recompviz.benchmarks.loops.plain_loops import STEPS, Compile, Network, data
from recompviz.pytorch.internals.dynamo import forget_graphs
from recompviz.pytorch.internals.tensors import same_bits

KINDS = ("ddp", "ddp with unused parameters", "ddp with no_sync", "fsdp2")
WORLD = 2


class Sometimes(Network):
    """A network that leaves out its last block if its attribute ``step`` is even."""

    step = 0

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks[: 4 if self.step % 2 else 3]:
            x = block(x)
        return self.head(self.norm(x))


def train(kind: str, compiled: Compile) -> list[Tensor]:
    """Train one rank; return the losses, then this rank's part of each parameter at the end."""
    torch.manual_seed(0)
    model: Any = Sometimes() if "unused" in kind else Network()
    if kind == "fsdp2":
        from torch.distributed.fsdp import fully_shard

        for block in model.blocks:
            fully_shard(block)
        fully_shard(model)
        called = compiled(model)
    else:
        called = compiled(nn.parallel.DistributedDataParallel(model, find_unused_parameters="unused" in kind))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2, momentum=0.9)
    losses = []
    for step in range(STEPS):
        torch.manual_seed(100 * dist.get_rank() + step)
        model.step = step
        x, y = data(2 * step + dist.get_rank())
        if "no_sync" in kind and step % 2 == 0:
            wrapped: Any = next(m for m in called.modules() if hasattr(m, "no_sync"))
            with wrapped.no_sync():
                loss = F.cross_entropy(called(x), y)
                loss.backward()
        else:
            loss = F.cross_entropy(called(x), y)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        losses.append(loss.detach())
    return losses + [_local(p).detach().clone() for p in model.parameters()]


def _local(tensor: Any) -> Tensor:
    local: Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return local


def run(kinds: Sequence[str] = KINDS) -> dict[str, list[dict[str, Any]]]:
    """Run loops in two new processes, eagerly and compiled.

    Parameters
    ----------
    kinds : sequence of str
        Some of ``KINDS``.

    Returns
    -------
    dict of str to list of dict
        For each kind, one result for each rank. ``equal``: whether losses and parameters are exactly those of eager
        PyTorch. ``regions``: the number of captured graphs with a backward pass. ``planned``: whether the last training
        step ran a plan. ``messages``: warnings. If a training step was recorded, also ``least``, ``total`` and
        ``keep_all``, in total bytes.

    Raises
    ------
    RuntimeError
        If a process fails.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with contextlib.ExitStack() as stack:
        started = [stack.enter_context(_rank(rank, port, kinds)) for rank in range(WORLD)]
        results = [_results(kinds, process) for process in started]
    return {kind: [found[i] for found in results] for i, kind in enumerate(kinds)}


@contextlib.contextmanager
def _rank(rank: int, port: int, kinds: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    """Start a process of the group for a ``with`` block; kill it on an error, because it may wait for the other one."""
    environment = {
        **os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "RANK": str(rank),
        "WORLD_SIZE": str(WORLD), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo",
    }  # fmt: skip
    command = [sys.executable, "-W", "ignore", "-m", __spec__.name if __spec__ else __name__, *kinds]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            yield process
        except BaseException:  # also an interrupt: no process may be left
            process.kill()
            raise


def _results(kinds: Sequence[str], process: subprocess.Popen[str]) -> list[dict[str, Any]]:
    """Wait for a process, and return the results that it printed as JSON, one for each kind."""
    output, errors = process.communicate(timeout=600)
    found = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    if process.returncode or len(found) != len(kinds):
        failed = kinds[len(found)] if len(found) < len(kinds) else "the end"
        raise RuntimeError(f"{failed}: a process ended with {process.returncode}\n{errors[-3000:]}")
    return found


def worker() -> None:
    """Run one rank of the loops named on the command line, and print the results as JSON."""
    torch.set_num_threads(1)
    warnings.simplefilter("always")
    dist.init_process_group("gloo")
    for kind in sys.argv[1:]:
        freeze_objects()
        print(json.dumps(_compared(kind)), flush=True)
        forget_graphs()
    dist.barrier()
    dist.destroy_process_group()


def _compared(kind: str) -> dict[str, Any]:
    """Train one rank eagerly, under a loose and under a tight total; return its result."""
    from recompviz.pytorch.budgeting.step_budget import StepBudget
    from recompviz.pytorch.running.compiled import compile_within

    eager = train(kind, lambda model: model)
    loose = StepBudget(1 << 40)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        first = train(kind, lambda model: compile_within(model, loose))
        row: dict[str, Any] = {"equal": _equal(first, eager), "regions": len(loose.regions), "planned": False}
        if loose.models:
            least, keep_all = loose.range_of_totals
            total = torch.tensor(int(least + 0.4 * (keep_all - least)))
            dist.all_reduce(total, dist.ReduceOp.MAX)
            forget_graphs()
            # gloo's threads free the buffers of FSDP2 when they are done, so the recorded bytes differ between runs
            tight = StepBudget(int(total), strict=kind != "fsdp2")
            second = train(kind, lambda model: compile_within(model, tight))
            row |= {
                "equal": row["equal"] and _equal(second, eager), "planned": tight.planned is not None,
                "least": least, "total": int(total), "keep_all": keep_all,
            }  # fmt: skip
    return row | {"messages": sorted({str(w.message).splitlines()[0] for w in caught})}


def _equal(mine: list[Tensor], theirs: list[Tensor]) -> bool:
    return len(mine) == len(theirs) and all(same_bits(a, b) for a, b in zip(mine, theirs, strict=True))


if __name__ == "__main__":
    worker()
