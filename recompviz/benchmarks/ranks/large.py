"""Predict the peak of ranks that train models too large for this machine.

    python -m recompviz.benchmarks.ranks.large             # Llama of 70 and 405 billion parameters, 512 ranks
    python -m recompviz.benchmarks.ranks.large 70b --shards 64

The models are on the meta device and train in bfloat16. The parts of the parameters that a rank stores, the state of
the optimizer (AdamW) and the reduction of gradients are in float32. The batch is one sequence of 8,192 tokens on each
rank. The figures are estimates for CUDA: the sizes of tensors are exact, but the workspace inside operators, the
buffers of NCCL, the CUDA context and fragmentation are not counted.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Sequence

import torch

import recompviz as rv
from recompviz.core.base.units import format_bytes
from recompviz.networks import llama
from recompviz.networks._losses import next_token

SIZES = {
    "70b": {"layers": 80, "width": 8192, "heads": 64, "groups": 8, "hidden": 28672, "vocabulary": 128256},
    "405b": {"layers": 126, "width": 16384, "heads": 128, "groups": 8, "hidden": 53248, "vocabulary": 128256},
}
TOKENS = 8192


def traced(name: str, tokens: int = TOKENS, **sizes: int) -> rv.Trace:
    """Return the trace of a training step of a Llama with AdamW; ``sizes`` replaces entries of ``SIZES[name]``."""
    with torch.device("meta"):
        model = llama(**{**SIZES[name], "context": tokens, **sizes}).to(torch.bfloat16)
        given = torch.zeros(1, tokens, dtype=torch.long)
    optimizer = torch.optim.AdamW(model.parameters())
    return rv.trace(model, given, targets=(given.clone(),), loss=next_token, device="cuda", optimizer=optimizer)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m recompviz.benchmarks.ranks.large",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("models", nargs="*", help="70b, 405b; by default both")
    parser.add_argument("--shards", type=int, default=512)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    print("| model | parameters | ranks | plan | kind: ranks | peak of each rank (estimated) | static | at the peak |")
    print("|---|---|---|---|---|---|---|---|")
    for name in options.models or SIZES:
        start, begun = time.monotonic(), time.process_time()
        trace = traced(name)
        count = sum(p.numel() for p in trace.model.parameters())
        kinds = rv.rank_kinds(trace, options.shards, ["layers.*"], stored=torch.float32, reduced=torch.float32)
        for label in ("keep-all", "per-module"):
            plan = trace.baseline(label)
            for kind in kinds:
                timeline = kind.step.simulate(plan)
                largest = ", ".join(f"{b.label} {format_bytes(b.size)}" for b in timeline.at_peak()[:2])
                cells = [
                    name, f"{count / 1e9:.1f} billion", options.shards, label,
                    f"{_text(kind.ranks)}", format_bytes(timeline.peak), format_bytes(timeline.static), largest,
                ]  # fmt: skip
                print(f"| {' | '.join(map(str, cells))} |", flush=True)
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(
            f"{name}: {time.process_time() - begun:.0f} s of processor time, {time.monotonic() - start:.0f} s by the "
            f"clock, at most {format_bytes(used)} of memory\n"
        )


def _text(ranks: tuple[int, ...]) -> str:
    return str(ranks[0]) if len(ranks) == 1 else f"{ranks[0]} to {ranks[-1]}"


if __name__ == "__main__":
    main()
