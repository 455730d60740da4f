"""Check two results of ``rv.debug``: the first finding on models with known memory problems, and the origin of memory.

    python -m recompviz.benchmarks.debugging

For each pathology of :mod:`recompviz.benchmarks.pathologies`, the first finding must name the cause, the value and the
marked line. For a small variant of each network of :mod:`recompviz.networks`, the origin of at least 98 % of the bytes
at the peak must be known. The exit status is 1 if one of these checks fails.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import torch

import recompviz as rv
from recompviz import networks
from recompviz.benchmarks.pathologies import PATHOLOGIES, Pathology
from recompviz.core.base.units import format_bytes

# The least share of the bytes at the peak whose origin must be known.
LEAST_COVERAGE = 0.98


@dataclass(frozen=True)
class Verdict:
    """The first finding of the report on a pathology.

    Attributes
    ----------
    pathology : Pathology
        The pathology, with the expected cause, value and line.
    cause, value : str
        Cause and value of the first finding.
    line : int
        Line number of the first finding; 0 if it has no line.
    coverage : float
        The share of the bytes at the peak whose origin is known, from 0 to 1.
    """

    pathology: Pathology
    cause: str
    value: str
    line: int
    coverage: float

    @property
    def right(self) -> bool:
        """Whether the finding has the expected cause and line, and its value contains the expected text."""
        wanted = self.pathology
        return self.cause == wanted.cause and wanted.value in self.value and self.line == wanted.line

    @property
    def text(self) -> str:
        """The finding in the printed list, as three lines."""
        wanted = self.pathology
        return (
            f"{'✓' if self.right else '✗'} {wanted.name}\n"
            f"      expected  {wanted.cause}: …{wanted.value}…, line {wanted.line}\n"
            f"      reported  {self.cause}: {self.value}, line {self.line}"
        )


def diagnose(pathology: Pathology) -> Verdict:
    """Debug a pathology and return its first finding."""
    torch.manual_seed(0)
    arguments, keywords = pathology.make()
    report = rv.debug(*arguments, **keywords, advise=False)
    top = report.top
    assert top is not None
    return Verdict(pathology, top.cause, top.value, top.line.number if top.line else 0, report.coverage)


@dataclass(frozen=True)
class Coverage:
    """The share of a network's peak whose origin is known.

    Attributes
    ----------
    network : str
        Name in :mod:`recompviz.networks`.
    peak : int
        Peak of the training step according to :func:`recompviz.debug`, total bytes.
    measured : int
        Peak of the same training step according to :func:`recompviz.measure`, total bytes.
    share : float
        The share of the bytes at the peak whose origin is known, from 0 to 1.
    """

    network: str
    peak: int
    measured: int
    share: float

    @property
    def text(self) -> str:
        """The row of the printed table, as one line of text."""
        return f"{self.network:>14} {format_bytes(self.peak):>10} {format_bytes(self.measured):>10} {self.share:>10.2%}"


def coverage(name: str) -> Coverage:
    """Debug and measure a training step of a small network."""
    torch.manual_seed(0)
    step = networks.example(name, small=True)
    report = rv.debug(step.model, *step.inputs, targets=step.targets, loss=step.loss, steps=1, advise=False)
    measured = rv.measure(step.model, *step.inputs, targets=step.targets, loss=step.loss)
    return Coverage(name, report.peak, measured.peak, report.coverage)


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, run the checks and print both tables; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args(arguments)
    verdicts = []
    for pathology in PATHOLOGIES:
        verdicts.append(diagnose(pathology))
        print(verdicts[-1].text, flush=True)
    right = sum(verdict.right for verdict in verdicts)
    print(f"{right} of {len(verdicts)} named by the first finding: cause, value and source line\n")
    print(f"{'network':>14} {'peak':>10} {'measured':>10} {'attributed':>10}")
    rows = []
    for name in networks.NAMES:
        rows.append(coverage(name))
        print(rows[-1].text, flush=True)
    least = min(row.share for row in rows)
    print(f"least attributed: {least:.2%}")
    return int(right < len(verdicts) or least < LEAST_COVERAGE)


if __name__ == "__main__":
    raise SystemExit(main())
