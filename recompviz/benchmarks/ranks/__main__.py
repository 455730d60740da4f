"""Print the predicted and the measured peak of every rank; the ranks are processes connected by gloo.

    python -m recompviz.benchmarks.ranks                   # all rows, a few minutes
    python -m recompviz.benchmarks.ranks gpt2 --world 2    # some

*predicted* comes from the trace of one process, made before the model is wrapped. *measured* is the least peak of three
steps, and *most* the largest. *most* is larger if a thread of gloo held a buffer longer than needed. *tracker* is the
peak that PyTorch's ``FSDPMemTracker`` counts in a real step. The tracker does not know plans, so only rows of FSDP2
without a plan have this figure. A plan of 20 % is the plan for a budget that lies 20 % above the least total, as a
share of the range from the least total to the total without recomputation. *equal*: whether the losses of ten steps,
and the gradients and parameters after them, are bitwise those of the run without a plan.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from typing import Any

from recompviz.benchmarks.ranks.processes import RankFailed, run_ranks

WORKER = "recompviz.benchmarks.ranks.worker"
MODELS = ("gpt2", "llama", "vit")
SHARE = 0.2
STEPS = 10


def rows_of(model: str, world: int) -> list[dict[str, Any]]:
    """Return the options of each row of the table, as keyword arguments of :func:`.worker.figures`."""
    fsdp = ["fsdp2", "fsdp2, no resharding"] if world == 2 else ["fsdp2", "hsdp"]
    if model == "gpt2":  # Llama's tables of rotations would stay in single precision
        fsdp.append("fsdp2, bfloat16")
    rows: list[dict[str, Any]] = []
    for strategy in [*fsdp, "ddp", "ddp, bucket views"]:
        rows.append({"model": model, "strategy": strategy, "tracker": True})
        rows.append({"model": model, "strategy": strategy, "share": SHARE, "steps": STEPS})
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m recompviz.benchmarks.ranks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("models", nargs="*", help=f"some of {', '.join(MODELS)}; by default all")
    parser.add_argument("--world", type=int, nargs="*", default=[2, 4], help="numbers of processes (default: 2 4)")
    parser.add_argument("--minutes", type=float, default=20.0, help="time limit of the whole table (default: 20)")
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.models if name not in MODELS]:
        parser.error(f"no model {unknown[0]!r}; there are {', '.join(MODELS)}")
    end = time.monotonic() + 60 * options.minutes
    print("| model | strategy | world | rank | plan | predicted | measured | gap | most | tracker | equal |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for world in options.world:
        for model in options.models or MODELS:
            cases = rows_of(model, world)
            left = end - time.monotonic()
            if left <= 0:
                print(f"not run within {options.minutes:g} minutes: {model}, {world} processes")
                continue
            try:
                results = run_ranks(WORKER, [json.dumps(cases)], world, left)
            except RankFailed as error:
                print(f"{model}, {world} processes: {error}")
                continue
            for i, case in enumerate(cases):
                for result in results:
                    print(_line(case, world, result["rows"][i]), flush=True)


def _line(case: dict[str, Any], world: int, row: dict[str, Any]) -> str:
    gap = row["measured"] - row["predicted"]
    cells = [
        case["model"], case["strategy"], world, row["rank"],
        f"{case['share']:.0%}" if "share" in case else "none",
        f"{row['predicted']:,}", f"{row['measured']:,}", f"{gap / row['measured']:+.3%}",
        f"{row['most']:,}", f"{row['tracker']:,}" if "tracker" in row else "—",
        {True: "yes", False: "NO", None: "—"}[row.get("equal")],
    ]  # fmt: skip
    return f"| {' | '.join(map(str, cells))} |"


if __name__ == "__main__":
    main()
