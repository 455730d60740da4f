"""Measure the memory that remains after 200 models were traced or compiled, trained and deleted.

    python -m recompviz.benchmarks.freed

The table has a row for each way to use recompviz. A row has the number of live tensors, the number of live objects of
recompviz, and the resident memory of the process, each before and after. The last two rows are PyTorch alone: the same
loop with the backend ``"aot_eager"``, and ``torch.compile`` of a new function each time. In the last row, memory grows,
because Dynamo keeps guards for every function that it compiles.
"""

from __future__ import annotations

import argparse
import gc
import os
import types
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

import recompviz as rv
from recompviz.pytorch.internals.devices.runtimes import runtime
from recompviz.pytorch.internals.dynamo import register_name
from recompviz.pytorch.running.compiled import backend

# Dynamo keeps records of the last 64 compilations.
WARM_UP = 70
# Number of repetitions between two collections of garbage.
COLLECTED = 10


def _trace(model: nn.Module, x: Tensor) -> None:
    rv.trace(model, x, loss=torch.sum)
    torch.autograd.backward(torch.sum(model(x)))


def _apply(model: nn.Module, x: Tensor) -> None:
    trace = rv.trace(model, x, loss=torch.sum)
    rv.apply(trace, trace.baseline("chen"))(x).backward()


def _fit_in(model: nn.Module, x: Tensor) -> None:
    rv.fit_in(model, x, loss=torch.sum, total="1 GiB")(x).backward()


def _train(compiled: Callable[[Tensor], Tensor], x: Tensor) -> None:
    for _ in range(3):  # the second step is recorded, the third planned
        torch.autograd.backward(compiled(x).sum())


def _compile(model: nn.Module, x: Tensor) -> None:
    _train(rv.compile(model, total="1 GiB"), x)


def _backend(model: nn.Module, x: Tensor) -> None:
    register_name("recompviz", backend)
    _train(torch.compile(model, backend="recompviz", options={"total": "1 GiB"}), x)


def _aot_eager(model: nn.Module, x: Tensor) -> None:
    _train(torch.compile(model, backend="aot_eager"), x)


def _new_function(model: nn.Module, x: Tensor) -> None:
    def run(x: Tensor) -> Tensor:
        output: Tensor = model(x)
        return output

    code = run.__code__.replace()  # Dynamo keeps its graphs by code object
    _train(torch.compile(types.FunctionType(code, globals(), "run", None, run.__closure__), backend="aot_eager"), x)


USES = {
    "trace": _trace,
    "trace and apply": _apply,
    "fit_in": _fit_in,
    "rv.compile": _compile,
    'torch.compile(backend="recompviz")': _backend,
    "PyTorch alone: aot_eager": _aot_eager,
    "PyTorch alone: aot_eager, a new function": _new_function,
}


@dataclass(frozen=True)
class Count:
    """The objects and the memory of this process.

    Attributes
    ----------
    tensors : int
        Number of live tensors.
    own : int
        Number of live objects and functions of recompviz.
    resident : int
        Resident memory of the process, bytes.
    """

    tensors: int
    own: int
    resident: int

    @classmethod
    def now(cls) -> Count:
        """Collect garbage, then count objects and memory."""
        for _ in range(4):  # a tensor that has a Python object needs a second pass
            gc.collect()
        tensors = own = 0
        for each in gc.get_objects():
            kind = type(each)
            tensors += issubclass(kind, Tensor)
            home = getattr(each, "__module__", None) if kind is types.FunctionType else kind.__module__
            own += isinstance(home, str) and home.startswith("recompviz") and not isinstance(each, type)
        runtime(torch.device("cpu")).empty_cache()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return cls(tensors, own, pages * os.sysconf("SC_PAGE_SIZE"))


def once(use: Callable[[nn.Module, Tensor], None]) -> None:
    """Make a small model, call ``use`` to train it, and delete it."""
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
    use(model, torch.randn(8, 64))


def measured(use: Callable[[nn.Module, Tensor], None], repetitions: int) -> tuple[Count, Count]:
    """Return the counts before and after ``repetitions`` calls of :func:`once`."""
    for _ in range(WARM_UP):
        once(use)
    before = Count.now()
    for number in range(repetitions):
        once(use)
        if number % COLLECTED == 0:  # Python itself collects long-lived objects rarely, and the heap grows meanwhile
            gc.collect()
    return before, Count.now()


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, run the benchmark and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("uses", nargs="*", help=f"some of {', '.join(map(repr, USES))} (default: all)")
    parser.add_argument("--repetitions", type=int, default=200)
    options = parser.parse_args(arguments)
    if unknown := sorted(set(options.uses) - set(USES)):
        parser.error(f"{unknown[0]!r} is not one of {', '.join(map(repr, USES))}")
    repetitions = options.repetitions
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    print(f"{'':42} {'live tensors':>14} {'own objects':>14} {'resident memory, MB':>22}")
    for name in options.uses or USES:
        use = USES[name]
        before, after = measured(use, repetitions)
        tensors, own = f"{before.tensors} → {after.tensors}", f"{before.own} → {after.own}"
        megabytes = f"{before.resident / 1e6:.1f} → {after.resident / 1e6:.1f}"
        growth = after.resident / before.resident - 1
        print(f"{name:42} {tensors:>14} {own:>14} {megabytes:>16} {growth:+.2%}", flush=True)


if __name__ == "__main__":
    main()
