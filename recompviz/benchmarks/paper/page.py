"""The page of results: tables, figures and limitations, written from the data in ``results/data``.

The same data give the same bytes, so a test compares the page in the repository with its data.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recompviz.benchmarks.paper.figures import (
    GB,
    Data,
    batch_curves,
    by_method,
    reduction,
    reduction_bars,
    step_curve,
    totals,
)
from recompviz.benchmarks.paper.methods import CHEN, FORMULA, KEEP_ALL, LIVE
from recompviz.benchmarks.paper.page_tables import (
    accuracy_table,
    batches_table,
    binding_table,
    cost_cell,
    having,
    measured_parts,
    method_table,
    neighbours_measured,
    neighbours_predicted,
    peaks_table,
    worst_off,
)
from recompviz.benchmarks.paper.reported import K40C, REPORTED
from recompviz.core.base.files import write_file

# A simulation with a larger error, in percent, is listed as a limitation.
MOST_OFF = 1.0


def write_page(out: Path) -> Path:
    """Write page, figures and CSV files from the data in ``out/data``; return the path of the page."""
    for path, text in pages(read(out)).items():
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        write_file(out / path, text)
    return out / "README.md"


def read(out: Path) -> dict[str, dict[str, Any]]:
    """Return the data of each network that has a data file, in the order of the paper's table."""
    files = {name: out / "data" / f"{name}.json" for name in REPORTED}
    return {name: json.loads(path.read_text(encoding="utf-8")) for name, path in files.items() if path.exists()}


def pages(data: Data) -> dict[str, str]:
    """Return the text of each file of the page, by its path in the folder of results."""
    files = {"README.md": page(data), **tables_as_csv(data)}
    if having(data, "predicted"):
        files["figures/reductions.svg"] = reduction_bars(data)
    if having(data, "batches"):
        files["figures/batches.svg"] = batch_curves(data)
    for name in data:
        for part in measured_parts(data[name]):
            files[f"figures/{name}-{part.split()[-1]}.svg"] = step_curve(name, data[name][part])
    return files


def page(data: Data) -> str:
    """Return the page in Markdown."""
    sections = [
        "# The paper's results, and other methods",
        "Kusumoto et al. 2019 ([arXiv 1905.11722](https://arxiv.org/abs/1905.11722)) report that recomputation "
        "lowers the peak memory of training seven networks by 36 to 81 percent. This page repeats the experiments "
        "with today's PyTorch, and adds plans that are searched for in simulated bytes (*live*). The page, its "
        "figures and its CSV files are written by\n\n"
        "```sh\n"
        "python -m recompviz.benchmarks.paper          # everything; parts that are in data/ are not run again\n"
        "python -m recompviz.benchmarks.paper --page   # figures and page from data/\n"
        "python -m recompviz.benchmarks.paper --device cuda   # measured at the paper's batch\n"
        "```",
        provenance(data),
    ]
    if having(data, "predicted"):
        sections += [
            "## Peak memory at the paper's batch",
            "![Reductions](figures/reductions.svg)",
            peaks_table(data),
            ACCOUNT,
            "## What it costs",
            "Units of the paper's cost (a convolution 10, anything else 1) that the step computes a second time, at "
            "the least feasible budget of each method; in brackets percent of a forward pass.",
            method_table(data, cost_cell),
            "## Liveness, and the formula",
            "Simulated total in GB with each block freed at its last use, and in brackets with blocks freed only at "
            "the end of a segment. Chen's column is Chen's plan of least memory *with* liveness. In both cases a "
            "value is recomputed right before it is needed.",
            method_table(data, lambda _, row: f"{row['simulated'] / GB:.2f} ({row['without_liveness'] / GB:.2f})"),
            "The paper's formula for the same plans, GB. It counts intermediate values and their gradients, and "
            "gives each value a gradient of its own size. Real backward passes save less.",
            method_table(data, lambda _, row: f"{row['formula'] / GB:.2f}"),
            "## What limits the memory",
            "Blocks that are alive at the peak of the live plan of least memory, MB.",
            binding_table(data),
            "## Other methods, at the paper's batch",
            "Simulated total in GB and recomputed units of each method, and the recomputed units of our live plan "
            "within that total. *checkpoint per block* puts a checkpoint around each repeated block; *memory budget* "
            "keeps what PyTorch's partitioner saves at that `activation_memory_budget`.",
            neighbours_predicted(data),
        ]  # fmt: skip
    if any(measured_parts(data[name]) for name in data):
        sections += [
            "## Measured",
            "Every step below was run, on the CPU with all layers and a quarter of the channels. The peak is the "
            "allocator's; step times are measured in rounds. `keep-all` is this project's executor without "
            "recomputation.",
            accuracy_table(data),
            *[f"![{REPORTED[name].title}](figures/{name}-{part.split()[-1]}.svg)"
              for name in data for part in measured_parts(data[name])],
            "### Other methods, by measured peak",
            "Recomputation in calibrated milliseconds. *Ours* is the live plan of least recomputation that fits in the "
            "measured peak of the other method.",
            neighbours_measured(data),
        ]  # fmt: skip
    if having(data, "batches"):
        sections += [
            "## The largest batch that fits",
            f"Predicted for the paper's device with {K40C / GB:g} GB. Milliseconds per sample are a lower bound, from "
            "a roofline with the numbers of its data sheet (4.29 TFLOP/s, 288 GB/s). Sizes at any batch are "
            "extrapolated linearly from two traces.",
            "![Batch size against step time](figures/batches.svg)",
            batches_table(data),
        ]
    sections += ["## Limitations", "\n".join(f"- {line}" for line in shortcomings(data))]
    return "\n\n".join(sections) + "\n"


ACCOUNT = (
    "**What the totals contain.** GB are 10⁹ bytes. Ours: parameters, buffers, inputs, targets, the gradients of "
    "parameters from when they are written, and every intermediate block, rounded as CUDA's allocator does. They "
    "contain no optimizer state, no operator workspace and no CUDA context. The paper's: as reported, parameters "
    "included, from Chainer on a K40c. Each percentage is against its own keep-all. Our keep-all is below the "
    "paper's *vanilla* on most networks, because PyTorch's backward pass saves only what each operator needs."
)


def provenance(data: Data) -> str:
    """Return a list, in Markdown, of the devices, versions and dates of the data."""
    lines = []
    for part, what in (
        ("predicted", "Predicted, *estimated* for CUDA on the meta device"),
        ("measured on cpu", "Measured, at a reduced batch"),
        ("measured on cuda", "Measured, at the paper's batch"),
        ("batches", "Batch sizes, predicted"),
    ):
        found = [data[name][part] for name in having(data, part)]
        if not found:
            continue
        versions = sorted({f"torch {p['torch']}, Python {p['python']}, recompviz {p['recompviz']}" for p in found})
        days = sorted({p["date"][:10] for p in found})
        devices = sorted({p["device"].split(",")[0] if part != "measured on cpu" else p["device"] for p in found})
        where = f"{'; '.join(devices)}; " if part.startswith("measured") else ""
        lines.append(f"- {what}: {where}{'; '.join(versions)}; {' and '.join(days)}; {len(found)} networks")
    return "\n".join(lines)


def shortcomings(data: Data) -> list[str]:
    """Return sentences about missing data, inexact simulations and better results of other methods."""
    found = []
    for name in REPORTED:
        if "predicted" not in data.get(name, {}):
            found.append(f"{REPORTED[name].title}: nothing at the paper's batch")
            continue
        peaks, goal = totals(data[name]), REPORTED[name].goal
        gained = reduction(peaks[LIVE], peaks[KEEP_ALL])
        if gained < goal:
            found.append(f"{REPORTED[name].title}: {gained:.1f}% where the paper reaches {goal}%")
        for row in data[name]["predicted"]["at_equal_peak"]:
            if row["ours"] is None or row["ours"] > row["overhead"]:
                found.append(
                    f"{REPORTED[name].title} at the paper's batch, against {row['method']}: "
                    f"{'no plan of ours fits' if row['ours'] is None else 'ours recomputes more'}"
                )
    for name in data:
        for part in measured_parts(data[name]):
            for row in data[name][part]["at_equal_peak"]:
                ours, theirs = row["ours_recompute_seconds"], row["recompute_seconds"]
                if ours is None or ours > theirs:
                    found.append(
                        f"{REPORTED[name].title}, {part}, against {row['method']}: "
                        f"{'no plan of ours fits' if ours is None else 'ours recomputes longer'}"
                    )
            method, off = worst_off(data[name][part])
            if abs(off) > MOST_OFF:
                found.append(f"{REPORTED[name].title}, {part}: the simulation of {method} is off by {off:+.1f}%")
    missing = [REPORTED[name].title for name in REPORTED if not measured_parts(data.get(name, {}))]
    for name in having(data, "batches"):
        largest = data[name]["batches"]["largest"]
        if largest[LIVE] < largest[CHEN]:
            found.append(
                f"{REPORTED[name].title}: Chen's plan fits a batch of {largest[CHEN]}, ours {largest[LIVE]}. Our "
                "plans were searched for at the paper's batch only, where parameters take a larger share"
            )
    quick = [
        REPORTED[n].title for n in data for p in measured_parts(data[n]) if not {*FORMULA} <= {*by_method(data[n][p])}
    ]
    if quick:
        found.append(f"{', '.join(quick)}: a quick run measured only the main methods and one memory budget")
    if missing:
        found.append(f"no real step was run for {', '.join(missing)}")
    if not having(data, "measured on cuda"):
        found.append(
            "nothing was measured on CUDA: totals at the paper's batch are simulated, without operator workspace "
            "(cuDNN's convolutions use some); the simulation was compared with real steps only on the CPU, at a "
            "reduced batch"
        )
    found += [
        "PyTorch's memory budget and Chen's algorithm run as plans of this project's executor, so that all methods are "
        "measured in the same way; `python -m recompviz.benchmarks.neighbours` measures `torch.compile` itself",
        "the search in simulated bytes is local and random: its plans are not proven optimal",
    ]
    loads = [data[name][part].get("load") for name in data for part in measured_parts(data[name])]
    busy = max((load for load in loads if load), default=0)
    if busy > 2:
        found.append(
            f"the machine was busy with other work while steps were timed (load average up to {busy:g}): step times "
            "and calibrated call times are rough; peaks do not depend on the load"
        )
    return found


# -------------------------------------------------------------------- tables


def tables_as_csv(data: Data) -> dict[str, str]:
    """Return the text of each CSV file by its name. Files without rows are left out."""
    found: dict[str, list[dict[str, Any]]] = {
        "predicted.csv": [],
        "measured.csv": [],
        "neighbours.csv": [],
        "batches.csv": [],
    }
    for name, network in data.items():
        for part in ("predicted", *measured_parts(network)):
            if part in network:
                on = {"network": name, "on": part, "batch": network[part]["batch"]}
                file = "predicted.csv" if part == "predicted" else "measured.csv"
                found[file] += [{**on, **row} for row in network[part]["rows"]]
        for part in measured_parts(network):
            found["neighbours.csv"] += [{"network": name, "on": part, **row} for row in network[part]["at_equal_peak"]]
        for method, curve in network.get("batches", {}).get("curves", {}).items():
            found["batches.csv"] += [
                {"network": name, "method": method, "batch": b, "ms_a_sample": ms, "total_bytes": total}
                for b, ms, total in curve
            ]
    return {file: as_csv(rows) for file, rows in found.items() if rows}


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as CSV with a header."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
