"""Run parts, each in its own process with a time limit. A part writes its rows and its result to files."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from recompviz.benchmarks.cuda.parts import PARTS, Part
from recompviz.core.base.files import write_file

PACKAGE = "recompviz.benchmarks.cuda"
# share of a part's time limit after which it starts no further case
SOFT = 0.75
# seconds that are left for the table
RESERVE = 5.0
# a part with less time than this is not started
LEAST_SECONDS = 10.0
COULD_NOT = "could not finish"


# Receives the results of the parts that have ended, in the order of the parts.
Report = Callable[[list[dict[str, Any]]], object]


def run_parts(
    chosen: list[Part],
    device: str,
    out: Path,
    minutes: float,
    again: bool,
    report: Report = lambda _results: None,
) -> list[dict[str, Any]]:
    """Run the chosen parts in their order, and return the result of each.

    Parameters
    ----------
    chosen : list of Part
    device : str
    out : Path
        The folder of the results.
    minutes : float
        The time for all parts together.
    again : bool
        Whether a part runs although ``out`` already has its result for this device.
    report : callable
        Called each time a part has ended, with the results so far.
    """
    beside: list[_Process] = []
    try:
        return _run_parts(chosen, device, out, minutes, again, report, beside)
    finally:
        for process in beside:  # after an interrupt
            process.end()


def _run_parts(
    chosen: list[Part],
    device: str,
    out: Path,
    minutes: float,
    again: bool,
    report: Report,
    beside: list[_Process],
) -> list[dict[str, Any]]:
    """Do what :func:`run_parts` does. ``beside`` has the parts that run beside others at any moment."""
    ends = time.monotonic() + 60 * minutes - RESERVE
    stretch = stretched(minutes)
    results: dict[str, dict[str, Any]] = {}

    def finish(process: _Process) -> None:
        results[process.part.name] = process.wait()
        report([results[part.name] for part in chosen if part.name in results])

    for position, part in enumerate(chosen):
        path = out / f"{part.name}.json"
        if not again and (found := _read(path)) is not None and found.get("device asked for") == device:
            results[part.name] = {**found, "skipped": True}
            _say(part, "its result is there")
            continue
        if part.plans:
            while beside:
                finish(beside.pop())
        left = ends - time.monotonic()
        if left < LEAST_SECONDS:
            results[part.name] = {"part": part.name, "ended": "no time was left", "ok": False, "rows": []}
            _say(part, "no time is left")
            continue
        process = _Process(part, device, out, limit(part, chosen[position + 1 :], left, stretch))
        if part.beside:
            beside.append(process)
            continue
        finish(process)
    while beside:
        finish(beside.pop())
    return [results[part.name] for part in chosen]


def stretched(minutes: float) -> float:
    """Return the factor for the times of all parts if the command has ``minutes`` minutes; 1 for 8 minutes."""
    return (60 * minutes - RESERVE) / (60 * 8 - RESERVE)


def limit(part: Part, later: Sequence[Part], left: float, stretch: float) -> float:
    """Return the time limit of a part, in seconds.

    Parameters
    ----------
    part : Part
    later : sequence of Part
        The parts that follow.
    left : float
        Seconds that are left for this part and the later ones.
    stretch : float
        The factor for the times of all parts, from :func:`stretched`.
    """
    others = sum(each.reserved for each in later)
    share = part.reserved / (part.reserved + others)  # if less is left than is reserved
    return min(part.seconds * stretch, max(left - others * stretch, left * share))


class _Process:
    """A part that runs in its own process group."""

    def __init__(self, part: Part, device: str, out: Path, seconds: float) -> None:
        self.part, self.out, self.seconds = part, out, seconds
        self.start = time.monotonic()
        for name in (f"{part.name}.json", f"{part.name}.rows.jsonl"):
            (out / name).unlink(missing_ok=True)
        command = [
            sys.executable, "-m", PACKAGE, "--part", part.name, "--device", device, "--out", str(out),
            "--seconds", f"{seconds * SOFT:.1f}",
        ]  # fmt: skip
        with open(out / f"{part.name}.log", "wb") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, env=environment_of(out), start_new_session=True
            )

    def wait(self) -> dict[str, Any]:
        """Wait for the part until its time limit, and return its result."""
        ended = ""
        try:
            code = self.process.wait(max(0.1, self.seconds - (time.monotonic() - self.start)))
            ended = "" if code == 0 else f"the process ended with status {code}"
        except subprocess.TimeoutExpired:
            ended = f"time limit of {self.seconds:.0f} s"
        finally:
            self.end()  # also on Ctrl-C
        rows = self.out / f"{self.part.name}.rows.jsonl"
        result = _read(self.out / f"{self.part.name}.json")
        if result is None:
            found = _rows(rows)
            seconds = round(time.monotonic() - self.start, 1)
            result = {
                "part": self.part.name, "ended": ended or COULD_NOT, "ok": False, "seconds": seconds, "rows": found,
            }  # fmt: skip
        else:
            rows.unlink(missing_ok=True)
        _say(self.part, f"{result['seconds']:.0f} s, {outcome(result)}")
        return result

    def end(self) -> None:
        """Kill the process and those that it started, such as compilers."""
        with contextlib.suppress(ProcessLookupError, PermissionError):  # the group has ended
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def outcome(result: dict[str, Any]) -> str:
    """Return in a few words how a part ended: its number of rows, and how many of them failed."""
    rows = result["rows"]
    failed = sum(not row.get("ok", True) for row in rows)
    text = f"{len(rows)} rows, {failed} not ok" if failed else f"{len(rows)} rows, all ok"
    return f"{text}; {result['ended']}" if result.get("ended") else text


def environment_of(out: Path) -> dict[str, str]:
    """Return environment variables that place every cache in the folder of the results."""
    caches = {
        "NUMBA_CACHE_DIR": "numba",
        "RECOMPVIZ_CACHE": "calibration",
        "TORCHINDUCTOR_CACHE_DIR": "inductor",
        "TRITON_CACHE_DIR": "triton",
    }
    folders = {name: str((out / "caches" / folder).resolve()) for name, folder in caches.items()}
    root = str(Path(__file__).parents[3])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    # cuBLAS needs this setting to be deterministic
    fixed = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8", "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}
    return {**os.environ, **folders, **fixed}


def run_here(name: str, device: str, out: Path, seconds: float) -> None:
    """Run one part in this process for about ``seconds``, and write its rows and its result to files."""
    from recompviz.benchmarks.cuda.cases import Setting
    from recompviz.benchmarks.cuda.stand_in import stand_in
    from recompviz.benchmarks.side_by_side import about

    part = next(part for part in PARTS if part.name == name)
    module, function = part.function.split(":")
    setting = Setting(device, time.monotonic() + seconds)
    start = time.monotonic()
    rows: list[dict[str, Any]] = []
    counted = stand_in() if part.stand_in and setting.rehearsal else contextlib.nullcontext()
    with counted, open(out / f"{name}.rows.jsonl", "w", encoding="utf-8") as file:
        run = getattr(importlib.import_module(f"{PACKAGE}.{module}"), function)
        for row in run(setting):
            rows.append(row)
            line = json.dumps(row, default=str, ensure_ascii=False)
            print(line, flush=True)
            file.write(line + "\n")
            file.flush()
    result = {
        "part": name,
        "device asked for": device,
        "stand-in": part.stand_in and setting.rehearsal,
        **about(device),
        "seconds": round(time.monotonic() - start, 1),
        "processor seconds": round(sum(os.times()[:4]), 1),
        "ended": f"the time was over before {', '.join(setting.left_out)}" if setting.left_out else "",
        "ok": all(row.get("ok", True) for row in rows),
        "rows": rows,
    }
    write_file(out / f"{name}.json", json.dumps(result, indent=1, default=str, ensure_ascii=False) + "\n")


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and isinstance(found.get("rows"), list) else None


def _rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows that a part wrote before it was ended."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        with contextlib.suppress(ValueError):  # the last line may be cut
            found.append(json.loads(line))
    return found


def _say(part: Part, text: str) -> None:
    print(f"{part.name:>14}: {text}", flush=True)
