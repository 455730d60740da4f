"""Check the first finding of ``rv.debug`` on planted scripts, and follow its advice.

    python -m recompviz.benchmarks.causes               # the planted scripts
    python -m recompviz.benchmarks.causes --only retry  # those with this word in their name
    python -m recompviz.benchmarks.causes FILE [FILE …] # scripts that call rv.debug

For each planted script the table has the first finding, and the peak before and after its advice was followed. The exit
status is 1 if a first finding is wrong, if a healthy script raises an alarm, if a peak did not fall by the bytes that
the report promised, or if an alarm of the same cause remains. With files, the exit status is 0. A file that contains
the word "fix" runs a second time, with the argument ``fix``.
"""

from __future__ import annotations

import argparse
import contextlib
import io
from collections.abc import Sequence
from pathlib import Path

from recompviz.benchmarks.causes.healthy import HEALTHY
from recompviz.benchmarks.causes.programs.all_programs import PLANTED, REPORTED
from recompviz.benchmarks.causes.trial import reports_of, tried
from recompviz.benchmarks.causes.unseen import UNSEEN
from recompviz.core.base.units import format_bytes


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, run the scripts and print the table; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, help="scripts that call rv.debug")
    parser.add_argument("--only", default="", help="run the planted scripts whose name contains this text")
    options = parser.parse_args(arguments)
    if options.files:
        for file in options.files:
            _show(file)
        return 0
    trials = []
    for script in (*PLANTED, *REPORTED, *UNSEEN, *HEALTHY):
        if options.only in script.name:
            trials.append(tried(script))
            print(trials[-1].text, flush=True)
    planted = [trial for trial in trials if trial.expected != "no alarm"]
    healthy = [trial for trial in trials if trial.expected == "no alarm"]
    followed = [trial for trial in planted if trial.after is not None]
    right = sum(trial.right for trial in planted)
    alarms = sum(trial.alarm for trial in healthy)
    print(f"first finding right: {right} of {len(planted)}; false alarms: {alarms} of {len(healthy)}")
    kept = sum(trial.kept for trial in followed)
    quiet = sum(not trial.still for trial in followed)
    print(f"advice followed: {len(followed)}; fell as promised: {kept}; silent afterwards: {quiet}")
    wrong = right < len(planted) or alarms > 0 or kept < len(followed) or quiet < len(followed)
    return int(wrong)


def _show(file: Path) -> None:
    """Run a file without and with the argument ``fix``, and print the first findings."""
    peaks = []
    for extra in ((), ("fix",)) if "fix" in file.read_text(encoding="utf-8").lower() else ((),):
        with contextlib.redirect_stdout(io.StringIO()):
            reports = reports_of(file, *extra)
        for report in reports:
            top = report.top
            alarm = top is not None and top.matters(report.peak)
            peaks.append(report.peak)
            print(f"{file.name} {' '.join(extra)}: {'ALARM' if alarm else 'quiet'}, peak {format_bytes(report.peak)}")
            if top is not None:
                print(f"      {top.cause}: {top.value} at {top.line or 'no line'}")
                print(f"      → {top.advice}")


if __name__ == "__main__":
    raise SystemExit(main())
