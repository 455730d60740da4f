"""Training loops of several engines in two processes, run eagerly and with ``backend="recompviz"``.

    python -m recompviz.benchmarks.ranks.engines                      # all engines that are installed
    python -m recompviz.benchmarks.ranks.engines "Lightning, DDP"     # some

The engines are a plain script for ``torchrun``, accelerate, Lightning, and Hugging Face's Trainer. Each loop runs three
times: eagerly, with every value kept, and under a total of 40 % of the range from the least total to the total without
recomputation. *equal*: whether the losses of all steps and the parameters at the end are bitwise those of the eager
loop. *total* is the limit of a rank. *peak* is the least measured peak of the last steps, which run under the plan. It
counts what existed before the step (parameters, gradients, state of the optimizer, inputs, buckets of
DistributedDataParallel), and each allocation and free during the step.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import gc
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from recompviz.core.base.units import format_bytes
from recompviz.pytorch.internals.dynamo import forget_graphs, register_name
from recompviz.pytorch.internals.memory_window import memory_window
from recompviz.pytorch.internals.profiler import allocation_events
from recompviz.pytorch.internals.sharded_parameters import local_part
from recompviz.pytorch.running import entry_point
from recompviz.pytorch.running.compiled import budget_for

STEPS, BATCH, WIDTH, BLOCKS = 8, 256, 32, 5
# the first step that is measured, after a recorded step and a plan
MEASURED = 4
POSITION = 0.4
UNLIMITED = 1 << 40
WORLD = 2
SECONDS = 400


class Block(nn.Module):
    """A residual block with dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, width] to a tensor of the same shape."""
        return x + F.dropout(self.down(F.gelu(self.up(self.norm(x)))), 0.1, self.training)


class Network(nn.Module):
    """Residual blocks and a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block() for _ in range(BLOCKS))
        self.head = nn.Linear(WIDTH, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, width] to logits [N, 10]."""
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.head(x)
        return logits


class Batches(torch.utils.data.Dataset[tuple[Tensor, Tensor]]):
    """A data set whose elements are whole batches, different on each rank."""

    def __len__(self) -> int:
        """Return the number of steps."""
        return STEPS

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        """Return inputs and targets of a step."""
        generator = torch.Generator().manual_seed(100 * int(os.environ.get("RANK", "0")) + step)
        return torch.randn(BATCH, WIDTH, generator=generator), torch.randint(0, 10, (BATCH,), generator=generator)


class Observed:
    """The losses of a loop, and the measured peaks of its last steps."""

    def __init__(self) -> None:
        self.losses: list[bytes] = []
        self.peaks: list[int] = []
        self._steps = 0
        self._open = contextlib.ExitStack()

    def begin(self) -> None:
        """Begin a step."""
        if self._steps >= MEASURED:
            self._open.enter_context(self._measured())

    def end(self, loss: Tensor) -> None:
        """End a step with the given loss."""
        self.losses.append(_bits(loss))
        del loss
        self._open.close()
        self._steps += 1

    @contextlib.contextmanager
    def _measured(self) -> Iterator[None]:
        gc.collect()
        live = [value for value in gc.get_objects() if issubclass(type(value), Tensor)]
        live += [value.grad for value in live if value.is_leaf and value.grad is not None]
        before = _bytes(live) + _buckets(live)
        del live
        with memory_window(torch.device("cpu")) as window:
            yield
        now = most = 0
        for event in allocation_events(window.profiled, "cpu"):
            now += event.size
            most = max(most, now)
        self.peaks.append(before + most)


def _bits(tensor: Tensor) -> bytes:
    """Return a tensor as bytes, which no measurement counts."""
    return local_part(tensor.detach()).contiguous().numpy().tobytes()


def _bytes(tensors: Sequence[Any]) -> int:
    sizes = {}
    for tensor in tensors:
        if type(tensor).__name__ in ("FakeTensor", "FunctionalTensor"):
            continue
        local = local_part(tensor)
        if local.device.type == "cpu":
            storage = local.untyped_storage()
            sizes[storage.data_ptr()] = storage.nbytes()
    return sum(sizes.values())


def _buckets(live: Sequence[Any]) -> int:
    """Return the bytes of DistributedDataParallel's buckets: those of all gradients. No Python tensor shows them."""
    own = {id(value) for value in live}
    replicas = [one for one in gc.get_objects() if isinstance(one, nn.parallel.DistributedDataParallel)]
    trained = [p for one in replicas for p in one.parameters() if p.requires_grad]
    return sum(p.nbytes for p in trained if id(p) in own)


Loop = Callable[[int | None, Observed], nn.Module]
ENGINES: dict[str, tuple[str, Loop]] = {}


def engine(name: str, library: str) -> Callable[[Loop], Loop]:
    """Return a decorator that registers a training loop under a name, with the library that it needs.

    The arguments of a loop are the total in bytes (None to run eagerly), and an :class:`Observed`. The loop returns the
    trained model.
    """

    def register(loop: Loop) -> Loop:
        ENGINES[name] = library, loop
        return loop

    return register


def _group() -> None:
    if not dist.is_initialized():
        dist.init_process_group("gloo")


def _fully_sharded(model: Any, mesh: Any = None) -> None:
    from torch.distributed.fsdp import fully_shard

    for block in model.blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)


def _plain(model: nn.Module, called: Any, observed: Observed) -> nn.Module:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for x, y in map(Batches().__getitem__, range(STEPS)):
        observed.begin()
        loss = F.cross_entropy(called(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        observed.end(loss)
    return model


@engine("torchrun, DDP", "torch")
def plain_ddp(total: int | None, observed: Observed) -> nn.Module:
    """Train in a plain script with DistributedDataParallel."""
    _group()
    model = Network()
    wrapped = nn.parallel.DistributedDataParallel(model)
    if total is not None:
        wrapped.compile(backend="recompviz", options={"total": total})
    return _plain(model, wrapped, observed)


@engine("torchrun, FSDP2", "torch")
def plain_fsdp2(total: int | None, observed: Observed) -> nn.Module:
    """Train in a plain script with ``fully_shard``."""
    _group()
    model = Network()
    _fully_sharded(model)
    if total is not None:
        model.compile(backend="recompviz", options={"total": total})
    return _plain(model, model, observed)


def _accelerated(accelerator: Any, total: int | None, observed: Observed) -> nn.Module:
    model = Network()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    prepared, optimizer = accelerator.prepare(model, optimizer)
    if total is not None:
        prepared.compile(backend="recompviz", options={"total": total})
    for x, y in map(Batches().__getitem__, range(STEPS)):
        observed.begin()
        loss = F.cross_entropy(prepared(x), y)
        accelerator.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        observed.end(loss)
    trained: nn.Module = accelerator.unwrap_model(prepared)
    accelerator.free_memory()
    return trained


@engine("accelerate, DDP", "accelerate")
def accelerate_ddp(total: int | None, observed: Observed) -> nn.Module:
    """Train with accelerate and DistributedDataParallel."""
    import accelerate

    return _accelerated(accelerate.Accelerator(cpu=True), total, observed)


@engine("accelerate, FSDP2", "accelerate")
def accelerate_fsdp2(total: int | None, observed: Observed) -> nn.Module:
    """Train with accelerate and FSDP2."""
    return _accelerated(_sharding_accelerator(), total, observed)


@functools.cache
def _sharding_accelerator() -> Any:
    import accelerate

    # accelerate ignores the settings of FSDP2 on the CPU; with this distributed type, it applies them
    accelerate.PartialState(cpu=True).distributed_type = accelerate.DistributedType.MULTI_GPU
    plugin = accelerate.FullyShardedDataParallelPlugin(
        fsdp_version=2, auto_wrap_policy="transformer_based_wrap", transformer_cls_names_to_wrap=["Block"]
    )
    return accelerate.Accelerator(cpu=True, fsdp_plugin=plugin)


def _lightning(strategy: Any, total: int | None, observed: Observed, sharded: bool) -> nn.Module:
    import lightning

    class Module(lightning.LightningModule):  # type: ignore[misc]  # no types
        def __init__(self) -> None:
            super().__init__()
            self.net = Network()

        def configure_model(self) -> None:
            if sharded:
                _fully_sharded(self.net, self.device_mesh["data_parallel"])
            if total is not None:
                self.net.compile(backend="recompviz", options={"total": total})

        def training_step(self, batch: tuple[Tensor, Tensor], _index: int) -> Tensor:
            x, y = batch
            return F.cross_entropy(self.net(x), y)

        def on_train_batch_start(self, *_arguments: Any) -> None:
            observed.begin()

        def on_train_batch_end(self, outputs: Any, *_arguments: Any) -> None:
            observed.end(outputs["loss"])

        def configure_optimizers(self) -> Any:
            return torch.optim.AdamW(self.parameters(), lr=1e-3)

    module: Any = Module()
    batches: Any = torch.utils.data.DataLoader(Batches(), batch_size=None)
    trainer = lightning.Trainer(
        max_epochs=1, accelerator="cpu", devices=WORLD, strategy=strategy, logger=False, use_distributed_sampler=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(module, batches)
    net: nn.Module = module.net
    return net


@engine("Lightning, DDP", "lightning")
def lightning_ddp(total: int | None, observed: Observed) -> nn.Module:
    """Train with Lightning's strategy "ddp"."""
    return _lightning("ddp", total, observed, sharded=False)


@engine("Lightning, FSDP2", "lightning")
def lightning_fsdp2(total: int | None, observed: Observed) -> nn.Module:
    """Train with Lightning's ModelParallelStrategy and ``fully_shard``."""
    from lightning.pytorch.strategies import ModelParallelStrategy

    return _lightning(ModelParallelStrategy(), total, observed, sharded=True)


@engine("Trainer, DDP", "transformers")
def trainer_ddp(total: int | None, observed: Observed) -> nn.Module:
    """Train with Hugging Face's Trainer and DistributedDataParallel."""
    import transformers

    config = transformers.LlamaConfig(
        hidden_size=32, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=4, intermediate_size=64,
        vocab_size=99, use_cache=False,
    )  # fmt: skip
    model: Any = transformers.LlamaForCausalLM(config).train()
    tokens = torch.randint(5, 99, (4 * WORLD * STEPS, 32)).tolist()  # lists: a data set is not a part of a step
    rows = [{"input_ids": row, "labels": row} for row in tokens]

    class Noted(transformers.Trainer):  # type: ignore[misc]  # no types
        def training_step(self, *arguments: Any, **named: Any) -> Tensor:
            observed.begin()
            loss: Tensor = super().training_step(*arguments, **named)
            observed.end(loss)
            return loss

    if total is not None:
        model.compile(backend="recompviz", options={"total": total})
    with tempfile.TemporaryDirectory() as folder:
        arguments = transformers.TrainingArguments(
            output_dir=folder, max_steps=STEPS, report_to=[], use_cpu=True, ddp_backend="gloo", disable_tqdm=True,
            per_device_train_batch_size=4, save_strategy="no", logging_strategy="no",
        )  # fmt: skip
        Noted(model=model, args=arguments, train_dataset=rows).train()
    trained: nn.Module = model
    return trained


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m recompviz.benchmarks.ranks.engines",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("engines", nargs="*", help=f"some of {', '.join(map(repr, ENGINES))}; by default all")
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.engines if name not in ENGINES]:
        parser.error(f"no engine {unknown[0]!r}; there are {', '.join(map(repr, ENGINES))}")
    print("| engine | rank | equal | regions | least | total | peak | without recomputation |")
    print("|---|---|---|---|---|---|---|---|")
    for name in options.engines or ENGINES:
        if importlib.util.find_spec(ENGINES[name][0]) is None:
            print(f"{name}: {ENGINES[name][0]} is not installed")
            continue
        for row in run(name):
            sizes = [format_bytes(row[key]) for key in ("least", "total", "peak", "keep_all")]
            equal = "yes" if row["equal"] else "NO"
            print(f"| {name} | {row['rank']} | {equal} | {row['regions']} | {' | '.join(sizes)} |", flush=True)
            for message in row["messages"]:
                print(f"    {message}")


def run(name: str) -> list[dict[str, Any]]:
    """Run the loop of an engine in two processes; return the row of each rank.

    Raises
    ------
    RuntimeError
        If a process fails.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "TORCH_CPP_LOG_LEVEL": "ERROR"}
    command = [
        sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={WORLD}",
        "-m", "recompviz.benchmarks.ranks.engines", "--worker", name,
    ]  # fmt: skip
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False)
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"rank"')]
    if done.returncode or len(rows) != WORLD:
        raise RuntimeError(f"{name}: torchrun ended with {done.returncode}\n{done.stderr[-4000:]}")
    return sorted(rows, key=lambda row: row["rank"])


def worker(name: str) -> None:
    """Run the loop of one rank, and print the result as JSON."""
    torch.set_num_threads(1)
    register_name("recompviz", entry_point.backend)
    with warnings.catch_warnings(record=True) as before:
        warnings.simplefilter("always")
        eager, _ = _trained(name, None)
    with warnings.catch_warnings(record=True) as after:
        warnings.simplefilter("always")
        loose, _ = _trained(name, UNLIMITED)
        budget = budget_for(UNLIMITED)
        row: dict[str, Any] = {"rank": dist.get_rank(), "regions": len(budget.regions)}
        row |= dict.fromkeys(("least", "total", "peak", "keep_all"), 0)
        row["equal"] = loose == eager
        if budget.models:
            least, keep_all = budget.range_of_totals
            total = torch.tensor(int(least + POSITION * (keep_all - least)))
            dist.all_reduce(total, dist.ReduceOp.MAX)
            tight, peak = _trained(name, int(total))
            row |= {"least": least, "total": int(total), "peak": peak, "keep_all": keep_all}
            row["equal"] = row["equal"] and tight == eager and budget_for(int(total)).planned is not None
    texts = {str(warning.message).splitlines()[0] for warning in before}
    row["messages"] = sorted({str(warning.message).splitlines()[0] for warning in after} - texts)
    print(f"\n{json.dumps(row)}", flush=True)
    dist.barrier()
    dist.destroy_process_group()


def _trained(name: str, total: int | None) -> tuple[list[bytes], int]:
    """Return losses and parameters of a loop, and the least peak of its last steps.

    It is the least one, because the profiler may miss a free by one of gloo's threads.
    """
    forget_graphs()
    torch.manual_seed(0)
    observed = Observed()
    model = ENGINES[name][1](total, observed)
    return [*observed.losses, *map(_bits, model.parameters())], min(observed.peaks)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        worker(sys.argv[2])
    else:
        main()
