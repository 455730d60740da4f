"""Training loops in two processes connected by gloo: DistributedDataParallel and FSDP2.

:func:`run` starts the two processes. Each trains eagerly and compiled, and prints its result as one line of JSON. This
module is also the program of one process, which has its rank in environment variables:

    python -m recompviz.benchmarks.loops.distributed_loops ddp
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from recompviz.benchmarks.loops.plain_loops import STEPS, Compile, Network, data
from recompviz.pytorch.internals.dynamo import forget_graphs
from recompviz.pytorch.internals.tensors import same_bits

KINDS = ("ddp", "ddp with unused parameters", "ddp with no_sync", "fsdp2")
WORLD = 2


class Sometimes(Network):
    """A network that leaves out its last block if ``step`` is even."""

    step = 0

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks[: 4 if self.step % 2 else 3]:
            x = block(x)
        return self.head(self.norm(x))


def train(kind: str, compiled: Compile) -> list[Tensor]:
    """Train one rank; return the loss of each training step, and this rank's part of each parameter at the end."""
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


def run(kind: str) -> list[dict[str, Any]]:
    """Run a loop in two new processes, eagerly and compiled.

    Parameters
    ----------
    kind : str
        One of ``KINDS``.

    Returns
    -------
    list of dict
        One for each rank. ``equal``: whether losses and parameters are exactly those of eager PyTorch. ``regions``: the
        number of captured graphs that train. ``planned``: whether the last training step ran a plan. ``messages``:
        warnings. If a training step was recorded, also ``least``, ``total`` and ``keep_all``, in total bytes.

    Raises
    ------
    RuntimeError
        If a process fails.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with contextlib.ExitStack() as stack:
        started = [stack.enter_context(_rank(rank, port, kind)) for rank in range(WORLD)]
        return [_result(kind, process) for process in started]


@contextlib.contextmanager
def _rank(rank: int, port: int, kind: str) -> Iterator[subprocess.Popen[str]]:
    """Start a process of the group for a ``with`` block; kill it on an error, because it may wait for the other one."""
    environment = {
        **os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "RANK": str(rank),
        "WORLD_SIZE": str(WORLD), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo",
    }  # fmt: skip
    command = [sys.executable, "-W", "ignore", "-m", __spec__.name if __spec__ else __name__, kind]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            yield process
        except BaseException:  # also an interrupt: no process may be left
            process.kill()
            raise


def _result(kind: str, process: subprocess.Popen[str]) -> dict[str, Any]:
    """Wait for a process, and return the result that it printed as JSON."""
    output, errors = process.communicate(timeout=300)
    lines = [line for line in output.splitlines() if line.startswith("{")]
    if process.returncode or not lines:
        raise RuntimeError(f"{kind}: a process ended with {process.returncode}\n{errors[-3000:]}")
    found: dict[str, Any] = json.loads(lines[-1])
    return found


def worker() -> None:
    """Run one rank of the loop named on the command line, and print its result as a line of JSON."""
    from recompviz.pytorch.running.compiled import compile_within
    from recompviz.pytorch.running.step_budget import StepBudget

    kind = sys.argv[1]
    torch.set_num_threads(1)
    warnings.simplefilter("always")
    dist.init_process_group("gloo")
    eager = train(kind, lambda model: model)
    loose = StepBudget(1 << 40)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        first = train(kind, lambda model: compile_within(model, loose))
        rows: dict[str, Any] = {"equal": _equal(first, eager), "regions": len(loose.regions), "planned": False}
        if loose.models:
            least, keep_all = loose.range_of_totals
            total = torch.tensor(int(least + 0.4 * (keep_all - least)))
            dist.all_reduce(total, dist.ReduceOp.MAX)
            forget_graphs()
            # gloo's threads free the buffers of FSDP2 when they are done, so the recorded bytes differ between runs
            tight = StepBudget(int(total), strict=kind != "fsdp2")
            second = train(kind, lambda model: compile_within(model, tight))
            rows |= {
                "equal": rows["equal"] and _equal(second, eager), "planned": tight.planned is not None,
                "least": least, "total": int(total), "keep_all": keep_all,
            }  # fmt: skip
    rows["messages"] = sorted({str(w.message).splitlines()[0] for w in caught})
    print(json.dumps(rows), flush=True)
    dist.barrier()
    dist.destroy_process_group()


def _equal(mine: list[Tensor], theirs: list[Tensor]) -> bool:
    return len(mine) == len(theirs) and all(same_bits(a, b) for a, b in zip(mine, theirs, strict=True))


if __name__ == "__main__":
    worker()
