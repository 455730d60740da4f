"""Compare the time of eager training steps with that of plans that keep every value.

    python -m recompviz.benchmarks.overhead                      # 14 networks and their small variants
    python -m recompviz.benchmarks.overhead gpt2 vit --pairs 40  # some, with more pairs
    python -m recompviz.benchmarks.overhead --small              # the small variants only

Each pair runs one eager and one planned training step in the same process; the order alternates. The figures are ratios
of processor time, planned to eager: the median and the quartiles over all pairs. The columns are:

  compile    ``rv.compile`` with a total of 1 TiB
  apply      ``rv.apply`` with the plan that keeps every value
  fit_in     a module that chooses one of its plans at each call, as ``rv.fit_in`` returns it
  aot_eager  ``torch.compile`` with PyTorch's backend ``"aot_eager"``: the time of Dynamo and AOTAutograd alone

No search for plans is timed. The networks have their published depth; inputs, and widths of the largest networks, are
smaller than published.
"""

from __future__ import annotations

import argparse
import copy
import gc
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

import recompviz as rv
from recompviz import networks
from recompviz.benchmarks.side_by_side import device_name
from recompviz.core.base.units import parse_bytes
from recompviz.pytorch.budgeting.recorded_models import RecordedModels
from recompviz.pytorch.running.planned import PlannedModule

COLUMNS = ("compile", "apply", "fit_in", "aot_eager")
TOTAL = "1 TiB"
# Steps that are not timed. With rv.compile, two run in little memory, and two under the plan.
WARM_UP = 4


def real(name: str) -> networks.Example:
    """Return a network of published depth."""
    builders: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], tuple[int, ...], int]] = {
        "pspnet": (networks.pspnet, (1, 3, 97, 97), (1, 97, 97), 17),
        "unet": (lambda: networks.unet(width=16), (1, 1, 220, 220), (1, 36, 36), 2),
        "resnet50": (networks.resnet50, (4, 3, 96, 96), (4,), 1000),
        "resnet152": (networks.resnet152, (2, 3, 96, 96), (2,), 1000),
        "vgg19": (lambda: networks.vgg(hidden=1024, image_size=64), (4, 3, 64, 64), (4,), 1000),
        "densenet161": (networks.densenet161, (2, 3, 96, 96), (2,), 1000),
        "googlenet": (networks.googlenet, (4, 3, 112, 112), (4,), 1000),
        "vit": (lambda: networks.vit(12, 384, 6, image_size=112), (4, 3, 112, 112), (4,), 1000),
        "gpt2": (lambda: networks.gpt2(vocabulary=5000, context=128), (1, 128), (1, 128), 5000),
        "gpt2_xl": (lambda: networks.gpt2(48, 320, 5, vocabulary=5000, context=128), (1, 128), (1, 128), 5000),
        "llama_7b": (
            lambda: networks.llama(32, 384, 6, hidden=1024, vocabulary=5000, context=128), (1, 128), (1, 128), 5000,
        ),
        "llama_70b": (
            lambda: networks.llama(80, 256, 8, groups=2, hidden=704, vocabulary=5000, context=128),
            (1, 128), (1, 128), 5000,
        ),
        "lstm_lm": (networks.lstm_lm, (20, 35), (20, 35), 10000),
        "unet_diffusion": (networks.unet_diffusion, (2, 3, 32, 32), (2, 3, 32, 32), 0),
    }  # fmt: skip
    published = networks.example(name, batch=1, device="meta")
    build, input_shape, target_shape, classes = builders[name]
    text = len(input_shape) == 2
    inputs: tuple[Tensor, ...] = (torch.randint(classes, input_shape) if text else torch.randn(input_shape),)
    if name == "unet_diffusion":
        inputs = (*inputs, torch.randint(1000, input_shape[:1]))
    target = torch.randint(classes, target_shape) if classes else torch.randn(target_shape)
    return networks.Example(build(), inputs, (target,), published.loss, name)


Step = Callable[[], None]


def contenders(step: networks.Example, columns: Sequence[str]) -> Iterator[tuple[str, Step]]:
    """Yield for each column its name and a function that runs one training step."""
    for column in columns:
        model = copy.deepcopy(step.model)  # rv.compile changes how the model's layers are called
        yield column, training_step(model, _runner(column, model, step))


def _runner(column: str, model: nn.Module, step: networks.Example) -> Callable[[], Tensor]:
    """Return a function that runs the forward pass of one column and returns the loss."""
    inputs, targets, loss = step.inputs, step.targets, step.loss
    whole: Any  # a module that returns the loss
    if column in ("compile", "aot_eager"):
        compiled: Any = rv.compile(model, total=TOTAL) if column == "compile" else torch.compile(model, backend=column)
        return lambda: loss(compiled(*inputs), *targets)
    traced = rv.trace(model, *inputs, targets=targets, loss=loss)
    plans = [traced.baseline("keep-all"), traced.baseline("chen")]
    if column == "apply":
        whole = rv.apply(traced, plans[0])
    else:
        whole = PlannedModule(traced, plans[0], plans, parse_bytes(TOTAL))
    return lambda: cast(Tensor, whole(*inputs, *targets))


def training_step(model: nn.Module, run: Callable[[], Tensor]) -> Step:
    """Return a function that runs a training step; ``run`` runs the forward pass and returns the loss."""
    parameters = list(model.parameters())

    def step() -> None:
        for parameter in parameters:
            parameter.grad = None
        run().backward()

    return step


def ratios(eager: Step, planned: Step, pairs: int) -> tuple[float, float, float]:
    """Return the quartiles (lower, median, upper) of planned / eager processor time over ``pairs`` pairs of steps."""
    for _ in range(WARM_UP):
        eager()
        planned()
    gc.collect()
    found = []
    for pair in range(pairs):
        times = {}
        for step in (eager, planned) if pair % 2 else (planned, eager):
            start = time.process_time_ns()
            step()
            times[step] = time.process_time_ns() - start
        found.append(times[planned] / times[eager])
    low, median, high = statistics.quantiles(found, n=4, method="inclusive")
    return low, median, high


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, run the benchmark and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=list(networks.NAMES), metavar="network")
    parser.add_argument("--pairs", type=int, default=20, help="pairs of steps of a network of published depth")
    parser.add_argument("--small", action="store_true", help="only the small variants")
    parser.add_argument("--real", action="store_true", help="only the networks of published depth")
    parser.add_argument("--columns", nargs="*", default=list(COLUMNS), choices=COLUMNS)
    options = parser.parse_args(arguments)
    RecordedModels.search_seconds = 0.0
    print(f"{device_name('cpu')}, torch {torch.__version__}: processor time over eager, median (quartiles)")
    for small in (False, True):
        if (options.small and not small) or (options.real and small):
            continue
        print(f"\n{'small variants' if small else 'published depth':>18} {'eager':>9}", end="")
        print("".join(f" {column:>20}" for column in options.columns))
        for name in options.networks:
            torch.manual_seed(0)
            step = networks.example(name, small=True) if small else real(name)
            row(step, options.columns, 10 * options.pairs if small else options.pairs)


def row(step: networks.Example, columns: Sequence[str], pairs: int) -> None:
    """Measure one network and print its row."""
    eager = training_step(step.model, lambda: step.loss(step.model(*step.inputs), *step.targets))
    eager()
    start = time.process_time()
    eager()
    print(f"{step.name:>18} {1000 * (time.process_time() - start):>6.1f} ms", end="", flush=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _, planned in contenders(step, columns):
            low, median, high = ratios(eager, planned, pairs)
            print(f" {median:>6.3f} ({low:.3f}–{high:.3f})", end="", flush=True)
            torch.compiler.reset()
    print()


if __name__ == "__main__":
    main()
