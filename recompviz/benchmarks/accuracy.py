"""Accuracy of the simulation: simulated and measured memory and time of each network at several budgets.

Each network is traced and calibrated. Plans are made for totals that are evenly spread over the feasible range. Each
plan is certified, simulated and run. Columns:

  budget          largest total memory that the plan may take
  recomputed      number of operator calls that run twice
  simulated, measured
                  transient peak (without parameters and inputs), bytes
  off             measured / simulated − 1
  ends, inside    largest difference between simulated and measured bytes, in percent of the simulated peak. *ends*
                  counts only the ends of operator calls, *inside* the moments inside them
  ≤ budget        whether the measured total peak is at most the budget
  predicted       extra time of the training step compared with keeping every value, from calibrated operator times
  overhead        the same extra time, measured. A plan without recomputation shows the noise of the measurement

    python -m recompviz.benchmarks.accuracy                              # every network, small
    python -m recompviz.benchmarks.accuracy resnet50 --full --batch 8    # as published
    python -m recompviz.benchmarks.accuracy --full --device cuda --json accuracy.json

The exit status is 1 if a network cannot be traced or runs out of memory, if a certificate fails, if a measured peak is
above its budget, if a measured peak is lower than the one of a smaller budget, or if a prediction on the CPU is off by
more than 1%.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

import recompviz as rv
from recompviz import networks
from recompviz.benchmarks.side_by_side import (
    about,
    recompute_seconds,
    spread,
    step_seconds,
    training_step,
    write_json,
)
from recompviz.core.base.units import format_bytes

# Largest error accepted on the CPU, where the allocator does not round sizes.
MOST_OFF = 0.01

HEADER = (
    f"{'network':>14} {'budget (total)':>14} {'recomputed':>10} {'simulated':>13} {'measured':>13} {'off':>6} "
    f"{'ends':>6} {'inside':>6} {'≤ budget':>8} {'predicted':>9} {'overhead':>8}  certificate"
)


@dataclass(frozen=True)
class Row:
    """The row of one network and one budget.

    Attributes
    ----------
    network : str
        Name in :mod:`recompviz.networks`.
    budget : int
        Largest total memory that the plan may take, bytes.
    total : int
        Measured total peak, bytes.
    recomputed : int
        Number of operator calls that run twice.
    simulated, measured : int
        Transient peaks (without parameters and inputs), bytes.
    ends, inside : float
        Largest difference between simulated and measured memory, as a fraction of the simulated transient peak.
        ``ends`` counts only the ends of operator calls, ``inside`` the moments inside them.
    predicted, overhead : float
        Extra time, as a fraction of the time of a training step that keeps every value. ``predicted`` comes from
        calibrated operator times, ``overhead`` is measured.
    certified : bool
        Whether all checks of :func:`recompviz.certify` succeeded.
    gradients : str
        ``"bitwise"``, ``"close"`` or ``"different"``, compared with eager PyTorch.
    certificate : str
        The text of the certificate.
    """

    network: str
    budget: int
    total: int
    recomputed: int
    simulated: int
    measured: int
    ends: float
    inside: float
    predicted: float
    overhead: float
    certified: bool
    gradients: str
    certificate: str

    @property
    def off(self) -> float:
        """``measured / simulated − 1``."""
        return self.measured / self.simulated - 1

    @property
    def fits(self) -> bool:
        """Whether the measured total peak is at most the budget."""
        return self.total <= self.budget

    @property
    def text(self) -> str:
        """The row of the printed table, as one line of text."""
        return (
            f"{self.network:>14} {format_bytes(self.budget):>14} {self.recomputed:>10} {self.simulated:>13,} "
            f"{self.measured:>13,} {self.off:>6.2%} {self.ends:>6.2%} {self.inside:>6.2%} "
            f"{'yes' if self.fits else 'NO':>8} {self.predicted:>+9.1%} {self.overhead:>+8.1%}  "
            f"{f'✓ {self.gradients}' if self.certified else f'✗ {self.certificate}'}"
        )

    def failures(self, exact: bool) -> list[str]:
        """Return a sentence for each check that failed. With ``exact``, ``off`` must be within ±1 %."""
        where = f"{self.network} at {format_bytes(self.budget)}"
        found = [] if self.certified else [f"{where}: {self.certificate}"]
        if exact and abs(self.off) > MOST_OFF:
            found.append(f"{where}: off by {self.off:.2%}")
        return found if self.fits else [*found, f"{where}: {self.total - self.budget:,} B above its budget"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, run the benchmark and print the table; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="names in recompviz.networks (default: all; the paper's with --full)")
    parser.add_argument("--full", action="store_true", help="the published sizes instead of small ones")
    parser.add_argument("--batch", type=int, help="batch size (default: 4; 2 with --full)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--budgets", type=int, default=5, help="number of budgets for each network")
    parser.add_argument("--rounds", type=int, default=5, help="number of timed steps of each plan; the median is shown")
    parser.add_argument("--json", type=Path, help="write the rows as data to this file")
    options = parser.parse_args(arguments)
    names = options.names or (networks.PAPER if options.full else networks.NAMES)
    batch = options.batch or (2 if options.full else 4)

    print(", ".join(f"{key} {value}" for key, value in about(options.device).items()))
    print(f"batch {batch}, {'full size' if options.full else 'small variants'}\n{HEADER}")
    rows: list[Row] = []
    failures: list[str] = []
    for name in names:
        torch.manual_seed(0)
        step = networks.example(name, batch, small=not options.full, device=options.device)
        start = time.perf_counter()
        try:
            found = accuracy(step, options.budgets, options.rounds)
        except RuntimeError as error:  # cannot be traced, or out of memory: report it and go on
            failures.append(f"{name}: {type(error).__name__}: {str(error).splitlines()[0]}")
            print(f"{name:>14} {failures[-1]}", flush=True)
            continue
        print("\n".join(row.text for row in found))
        print(f"{'':>14} {summary(found)}; {time.perf_counter() - start:.0f} s", flush=True)
        rows += found
        failures += [f for row in found for f in row.failures(options.device == "cpu")]
        failures += [] if rises(found) else [f"{name}: the measured peak does not rise with the budget"]
    if options.json:
        write_json(options.json, options.device, batch=batch, full=options.full, rows=[as_data(row) for row in rows])
    worst = max(rows, key=lambda row: abs(row.off), default=None)
    print(f"worst off: {f'{worst.off:.3%} ({worst.network})' if worst else 'nothing ran'}; ", end="")
    print(f"failures: {'; '.join(failures) or 'none'}")
    return int(bool(failures))


def accuracy(step: networks.Example, budgets: int, rounds: int) -> list[Row]:
    """Measure one network at several budgets; return the rows in the order of rising budgets.

    Parameters
    ----------
    step : networks.Example
        The network with a batch and a loss.
    budgets : int
        Number of budgets, evenly spread over the feasible range. Budgets that give the same plan share one row.
    rounds : int
        Number of timed training steps of each plan.
    """
    trace = rv.calibrate(rv.trace(step.model, *step.inputs, targets=step.targets, loss=step.loss))
    table = trace.plans("live")
    chosen = spread(table, budgets)
    planned = [rv.apply(trace, plan) for plan in (rv.Plan.keep_all(trace.graph), *(table.plans[r] for _, r in chosen))]
    keep_all, *seconds = step_seconds(
        [training_step(module, step.inputs, step.targets, None) for module in planned], rounds
    )
    rows = []
    for (budget, row), module, took in zip(chosen, planned[1:], seconds, strict=True):
        plan = table.plans[row]
        certificate = rv.certify(trace, plan)
        simulated = rv.simulate(trace, plan)
        measured = rv.measure(module, *step.inputs, targets=step.targets)
        shared = slice(len(trace.schedule(plan)))
        ends = np.abs(simulated.step_ends[shared] - measured.step_ends[shared]).max()
        inside = np.abs(simulated.step_peaks[shared] - measured.step_peaks[shared]).max()
        rows.append(
            Row(
                step.name,
                budget,
                measured.peak,
                len(trace.schedule(plan).recomputed),
                simulated.transient_peak,
                measured.transient_peak,
                float(ends) / simulated.transient_peak,
                float(inside) / simulated.transient_peak,
                recompute_seconds(trace, plan) / sum(trace.joint.seconds),
                took / keep_all - 1,
                certificate.ok,
                certificate.gradients,
                certificate.text,
            )
        )
    return rows


def rises(rows: Sequence[Row]) -> bool:
    """Return whether the measured total peak never falls from one row to the next."""
    return all(a.total <= b.total for a, b in itertools.pairwise(rows))


def summary(rows: Sequence[Row]) -> str:
    """Return one line of text that summarizes the rows of one network."""
    worst = max((row.off for row in rows), key=abs)
    return (
        f"{rows[0].network}: {len(rows)} plans, worst off {worst:.3%}, {sum(row.fits for row in rows)} within budget, "
        f"peak {'rises' if rises(rows) else 'DOES NOT RISE'} with it, {sum(row.certified for row in rows)} certified"
    )


def as_data(row: Row) -> dict[str, object]:
    """Return the fields of a row, with ``off`` and ``fits``, as a dictionary."""
    return {**asdict(row), "off": row.off, "fits": row.fits}


if __name__ == "__main__":
    raise SystemExit(main())
