"""The Explorer of the soak test, and figures about it. The notebook of the test imports this file in the kernel."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
import json
import os
import random
import re
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import torch

from recompviz.core.base.units import format_bytes
from recompviz.core.planning.planner import Planner
from recompviz.core.plans.plan import Plan
from recompviz.networks import resnet
from recompviz.pytorch.measuring.entry import trace
from recompviz.pytorch.tracing.traced_step import Trace
from recompviz.widgets.explorer.explore_model import TraceRunner
from recompviz.widgets.explorer.explorer import Explorer
from recompviz.widgets.explorer.runs import WHOLE

# The identifiers of the comms of the Explorers: when each was closed last, in seconds, or None. A message of the page
# may cross the closing.
COMMS: dict[str, float | None] = {}
CROSSING = 10.0


@functools.cache
def traced() -> Trace:
    """Return the step of all Explorers, traced once.

    Its network is small and has repeated blocks: a run takes a few seconds on one CPU core.
    """
    torch.set_num_threads(1)
    torch.manual_seed(0)
    return trace(
        resnet((2, 2, 2, 2), width=8, classes=10),
        torch.randn(2, 3, 64, 64),
        targets=(torch.randint(0, 10, (2,)),),
        loss=torch.nn.functional.cross_entropy,
    )


def made() -> Explorer:
    """Return a new Explorer, which begins to search in the background."""
    step = traced()
    gc.collect()
    planner = Planner(step.planner.graph, step.planner.joint)  # without the tables of earlier Explorers
    explorer = Explorer(planner, TraceRunner(step), background=True, title="Residual net", device="CPU", cost_unit="ms")
    COMMS[explorer.model_id] = None
    return explorer


def close(explorer: Explorer) -> None:
    """Close an Explorer."""
    identifier = explorer.model_id
    explorer.close()
    COMMS[identifier] = time.monotonic()


def lives(identifier: str) -> bool:
    """Return whether it is an error that the kernel does not know the comm ``identifier``.

    It is an error if the Explorer of this comm (a connection between widget and page) is open, or was closed more than
    ``CROSSING`` seconds ago.
    """
    closed = COMMS.get(identifier)
    return identifier in COMMS and (closed is None or time.monotonic() > closed + CROSSING)


def state(explorer: Explorer) -> str:
    """Return, as JSON, what the page must show when it is up to date."""
    selection = explorer._selection
    with selection.changing():  # the traits are read without waiting for the search
        table = selection.current
        reply = explorer._reply
        inner = {
            "plan": explorer.plan is selection.plan,
            "plan of the row": explorer.plan is table.plans[selection.row],
            "timeline": explorer.timeline is selection.timeline,
            "budget": explorer.budget == selection.budget,
            "reply": (reply["table"], reply["row"], int(reply["budget"]))
            == (selection.table, selection.row, selection.budget),
            "tables": len(explorer._tables) == len(selection.tables.first)
            and [bool(more) for more in explorer._more] == [shown is not None for shown in selection.tables.more],
            "runs": len(explorer.runs) == min(len(explorer._runs), WHOLE),
        }
        search = explorer._search
        found = {
            "broken": [name for name, whole in inner.items() if not whole],
            "request": selection.request,
            "reply": reply["request"],
            "table": selection.table,
            "row": selection.row,
            "budget": selection.budget,
            "kept": "".join(map(str, selection.plan.keep_mask.astype(int))),
            "total": format_bytes(int(table.total_peaks[selection.row])),
            "formula": format_bytes(int(table.formula_peaks[selection.row])),
            "peak": format_bytes(selection.timeline.peak),
            "written": format_bytes(selection.budget),
            "keep": list(explorer._pins["keep"]),
            "recompute": list(explorer._pins["recompute"]),
            "layout": explorer._layout["mode"],
            "runs": len(explorer._runs),
            "run": explorer._run["state"],
            "solving": explorer._solving["state"],
            "tables": len(selection.tables.first) + len(selection.tables.more),
            "busy": explorer._questions.running or (search is not None and search.running),
        }
    return json.dumps(found)


def figures() -> str:
    """Return, as JSON, figures about the kernel process, such as ``"rss"``, the resident memory in MiB."""
    gc.collect()
    own: Counter[str] = Counter()
    tensors = bytes_of_tensors = 0
    for each in gc.get_objects():
        kind = type(each)
        if issubclass(kind, torch.Tensor):
            tensors += 1
            with contextlib.suppress(NotImplementedError, RuntimeError):  # a tensor without storage
                bytes_of_tensors += each.untyped_storage().nbytes()
        elif str(kind.__module__).startswith("recompviz"):
            own[kind.__name__] += 1
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    found = {
        **heap(),
        "blocks": sys.getallocatedblocks(),
        "rss": pages * os.sysconf("SC_PAGE_SIZE") / 2**20,
        "tensors": tensors,
        "tensor_mib": bytes_of_tensors / 2**20,
        "threads": threading.active_count(),
        "own": sum(own.values()),
        "kinds": dict(own.most_common(25)),
    }
    return json.dumps(found)


def heap() -> dict[str, float]:
    """Return figures about the arenas of glibc's malloc (sizes in MiB); empty with another C library."""
    library = ctypes.CDLL(None)
    if not hasattr(library, "malloc_info"):
        return {}
    library.fopen.restype = ctypes.c_void_p
    with tempfile.NamedTemporaryFile() as file:
        stream = ctypes.c_void_p(library.fopen(file.name.encode(), b"w"))
        library.malloc_info(0, stream)
        library.fclose(stream)
        text = Path(file.name).read_text()
    whole = text[text.rindex("</heap>") :]
    size = {
        name: int(re.search(rf'type="{name}"[^>]* size="(\d+)"', whole)[1]) / 2**20  # type: ignore[index]  # glibc writes all
        for name in ("fast", "rest", "mmap", "current")
    }
    free = size["fast"] + size["rest"]
    return {
        "heap_used": size["current"] - free,
        "heap_free": free,
        "mmap": size["mmap"],
        "arenas": text.count("<heap nr"),
    }


def other_plan(explorer: Explorer, number: int) -> Plan:
    """Return a plan with random kept values, drawn from the seed ``number``."""
    kept = np.random.default_rng(number).random(len(explorer.graph)) < 0.7
    return Plan.from_keep_mask(explorer.graph, kept, f"random {number}")


def set_budgets(explorer: Explorer, seconds: float, seed: int) -> None:
    """Set random budgets for ``seconds``."""
    generator, end = random.Random(seed), time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(ValueError):  # too small for every plan
            explorer.budget = f"{generator.randint(40, 110)}%"
        time.sleep(0.02)


def set_budgets_in_thread(explorer: Explorer, seconds: float, seed: int) -> None:
    """Call :func:`set_budgets` in another thread, and return immediately."""
    threading.Thread(target=set_budgets, args=(explorer, seconds, seed), daemon=True).start()
