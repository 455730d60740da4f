"""Start the processes of a group. If one process fails, or a time limit is over, end all of them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import IO, Any

# seconds between two looks at the processes
_PAUSE = 0.05
# seconds that the others get to fail by themselves after one process has failed
_GRACE = 15.0


class RankFailed(RuntimeError):
    """Processes of a group failed or did not end in time.

    Attributes
    ----------
    ranks : dict of int to str
        For each rank that did not end normally, how it ended and the last lines that it wrote.
    results : list of dict or None
        For each rank the JSON object that it printed last; None if it printed none.
    """

    def __init__(self, ranks: Mapping[int, str], results: Sequence[dict[str, Any] | None] = ()) -> None:
        self.ranks = dict(ranks)
        self.results = list(results)
        super().__init__("; ".join(f"rank {rank} {text}" for rank, text in sorted(ranks.items())))


def run_ranks(module: str, arguments: Sequence[str], world: int, seconds: float = 120.0) -> list[dict[str, Any]]:
    """Run a module in ``world`` processes of one group, and return the JSON object that each printed last.

    Each process finds its rank in the environment, as with ``torchrun``.

    Parameters
    ----------
    module : str
        The module to run as a program.
    arguments : sequence of str
        The arguments of the program.
    world : int
        The number of processes.
    seconds : float
        The time limit. All processes are killed when it is over, or soon after one of them failed.

    Raises
    ------
    RankFailed
        If a process ends with an error, prints no JSON object, or runs longer than the limit.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(world),
        "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo",
    }  # fmt: skip
    command = [sys.executable, "-W", "ignore", "-m", module, *arguments]
    with tempfile.TemporaryDirectory(prefix="recompviz-ranks-") as folder:
        files: list[IO[str]] = []
        started: list[subprocess.Popen[str]] = []
        try:
            for rank in range(world):
                files.append(open(os.path.join(folder, str(rank)), "w+", encoding="utf-8"))  # noqa: SIM115 (closed below)
                started.append(
                    subprocess.Popen(
                        command,
                        env={**os.environ, **shared, "RANK": str(rank)},
                        stdout=files[-1],
                        stderr=subprocess.STDOUT,
                        text=True,
                    )
                )
            late = _wait(started, seconds)
        finally:
            for process in started:
                if process.poll() is None:
                    process.kill()
                process.wait()
            texts = [_text(file) for file in files]
    results = [_result(text) for text in texts]
    failed = {
        rank: f"{'was killed after the time limit' if rank in late else f'ended with {process.returncode}'}: "
        f"{' / '.join(texts[rank].strip().splitlines()[-4:])}"
        for rank, process in enumerate(started)
        if process.returncode or results[rank] is None
    }
    if failed:
        raise RankFailed(failed, results)
    return [result for result in results if result is not None]


def _wait(started: Sequence[subprocess.Popen[str]], seconds: float) -> set[int]:
    """Wait until all processes have ended; return the ranks that still run when the time is over."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        codes = [process.poll() for process in started]
        if None not in codes:
            return set()
        if any(codes):  # the others may wait for the one that failed
            end = min(end, time.monotonic() + _GRACE)
            if all(process.poll() is not None for process in started):
                break
        time.sleep(_PAUSE)
    return {rank for rank, process in enumerate(started) if process.poll() is None}


def _text(file: IO[str]) -> str:
    with file:
        file.seek(0)
        return file.read()


def _result(text: str) -> dict[str, Any] | None:
    lines = [line for line in text.splitlines() if line.startswith("{")]
    if not lines:
        return None
    found: dict[str, Any] = json.loads(lines[-1])
    return found
