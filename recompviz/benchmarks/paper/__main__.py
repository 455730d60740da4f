"""The command of the benchmark: compute the missing data, store each part when it is finished, then write the page."""

from __future__ import annotations

import argparse
import functools
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import recompviz.benchmarks.paper as paper
from recompviz import networks
from recompviz.benchmarks.paper.batches import SHOWN, batch_sizes
from recompviz.benchmarks.paper.measured import run
from recompviz.benchmarks.paper.page import write_page
from recompviz.benchmarks.paper.predicted import predict
from recompviz.benchmarks.side_by_side import about
from recompviz.core.base.files import write_file

# The parts of a network's data. The name of a measured part ends with the device.
PREDICTED, BATCHES = "predicted", "batches"


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and run; return the exit status: 130 if it was stopped, 1 if a part failed, else 0."""
    parser = argparse.ArgumentParser(description=paper.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="name", help=f"one of {', '.join(networks.PAPER)}; default: all")
    parser.add_argument("--device", default="cpu", help="where steps are measured: cpu (reduced batch) or cuda")
    parser.add_argument("--batch", type=int, help="batch size of measured steps")
    parser.add_argument("--rounds", type=int, default=2, help="timed steps of each method; the median is reported")
    parser.add_argument("--small", action="store_true", help="use small variants of the networks, to try the command")
    parser.add_argument("--quick", action="store_true", help="run the main methods only")
    parser.add_argument("--fresh", action="store_true", help="run all parts again")
    parser.add_argument("--only", choices=("predicted", "measured", "batches"), help="run this part only")
    parser.add_argument("--page", action="store_true", help="write only the figures and the page, from the data")
    parser.add_argument("--out", type=Path, default=Path("results"), help="the folder of data, figures and page")
    options = parser.parse_args(arguments)
    if unknown := set(options.names) - set(networks.PAPER):
        parser.error(f"unknown networks: {', '.join(sorted(unknown))}; choose from {', '.join(networks.PAPER)}")
    status = 0
    if not options.page:
        try:
            status = run_all(options)
        except KeyboardInterrupt:
            print("stopped; finished parts are stored, run the command again to continue", flush=True)
            status = 130
    if status != 130:
        print(f"wrote {write_page(options.out)}")
    return status


def run_all(options: argparse.Namespace) -> int:
    """Compute and store the missing parts of the chosen networks; return 1 if a part failed, else 0."""
    failed = 0
    todo = list(parts(options))
    for done, (name, part, make) in enumerate(todo):
        path = options.out / "data" / f"{name}.json"
        data = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"network": name}
        if part in data and not options.fresh:
            continue
        start = time.perf_counter()

        def say(text: str, head: str = f"[{done + 1}/{len(todo)}] {name}, {part}", start: float = start) -> None:
            print(f"{head}, {time.perf_counter() - start:.0f} s: {text}", flush=True)

        say("starts")
        try:
            found = make(say)
        except RuntimeError as error:  # out of memory, no trace, or a partitioner error: report it and continue
            say(f"FAILED: {type(error).__name__}: {str(error).splitlines()[0]}")
            failed = 1
            continue
        data[part] = {**about("cpu"), "took_seconds": round(time.perf_counter() - start), **found}
        save(path, data)
        say("stored")
    return failed


def parts(options: argparse.Namespace) -> Iterator[tuple[str, str, Callable[[Callable[[str], None]], dict[str, Any]]]]:
    """Yield (name of a network, name of a part, function that computes the part); predictions first.

    The argument of the function is another function, which prints progress.
    """
    names, small, device = options.names or networks.PAPER, options.small, options.device
    wanted = {PREDICTED, "measured", BATCHES} if options.only is None else {options.only}
    for name in names if PREDICTED in wanted else ():
        yield name, PREDICTED, functools.partial(predict, name, small)
    for name in names if "measured" in wanted else ():
        yield (
            name,
            f"measured on {device.split(':')[0]}",
            functools.partial(run, name, small, device, options.batch, options.rounds, options.quick),
        )
    for name in names if BATCHES in wanted else ():
        if name in SHOWN:
            yield name, BATCHES, functools.partial(batch_sizes, name, small)


def save(path: Path, data: dict[str, Any]) -> None:
    """Write a network's data as JSON. If the program is stopped meanwhile, the file remains as it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, json.dumps(data, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    raise SystemExit(main())
