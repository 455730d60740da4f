"""A process of a benchmark: it joins the group, runs the cases of the command line, and prints their rows as JSON."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from recompviz.benchmarks.frozen_objects import freeze_objects

# a collective raises an error after this time, instead of waiting for another process without end
LIMIT = timedelta(minutes=10)


def run_cases(figures: Callable[..., dict[str, Any]]) -> None:
    """Run ``figures`` with the options of each case on the command line, and print the results of this rank."""
    cases = json.loads(sys.argv[1])
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    dist.init_process_group("gloo", timeout=LIMIT)
    try:
        print(json.dumps({"rows": [_row(figures, options) for options in cases]}), flush=True)
        dist.barrier()
    finally:
        dist.destroy_process_group()


def _row(figures: Callable[..., dict[str, Any]], options: dict[str, Any]) -> dict[str, Any]:
    freeze_objects()
    return figures(**options)
