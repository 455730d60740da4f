"""The calibration cache: measurements of operator calls, in one JSON file for each device and its settings.

The measurements of a call are its workspace, the sizes of its outputs and its time, together called its *figures*.
A file is replaced as a whole, so no reader sees an incomplete file. A lock lets concurrent processes add their figures
to the same file. A file that cannot be read counts as empty; if it is damaged, one warning is given. Each row has a
checksum. A row that is invalid or was altered counts as missing.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch.fx import Node

from recompviz.core.base.files import locked, read_text, write_file
from recompviz.core.steps.joint import Call
from recompviz.pytorch.budgeting.operator_figures import OperatorFigures
from recompviz.pytorch.internals.devices.runtimes import backend_settings
from recompviz.pytorch.internals.user_lines import warn_user
from recompviz.pytorch.tracing.call_list import ARRIVE

# increase this when the meaning of a figure changes, so that older files are ignored
FORMAT = 3

# larger figures are errors of the file
_MOST_BYTES = 2**50
_MOST_SECONDS = 1e6
# a larger file is not one of a calibration: a row has about 100 characters
_MOST_TEXT = 256 << 20
# the files that a warning was about
_warned: set[Path] = set()


class CalibrationCache:
    """A cache of measurements of operator calls on one device: workspace, sizes of the outputs, and time.

    A cache is valid for one version of PyTorch and for the current settings that select kernels. If its folder cannot
    be written, the measurements are kept in this object only.

    Parameters
    ----------
    device : torch.device
        The device on which the calls were measured.

    Examples
    --------
    >>> import os, tempfile
    >>> os.environ["RECOMPVIZ_CACHE"] = tempfile.mkdtemp()
    >>> cache = CalibrationCache(torch.device("cpu"))
    >>> cache.store({"a key": OperatorFigures(0, (32,), 1e-6)})
    >>> CalibrationCache(torch.device("cpu")).find(["a key"], [1])
    [OperatorFigures(workspace=0, sizes=(32,), seconds=1e-06)]
    """

    def __init__(self, device: torch.device) -> None:
        text = f"{FORMAT}|{torch.__version__}|{device}|{backend_settings(device)}"
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        self.path = cache_folder() / f"calibration-{device.type}-{digest}.json"
        self._figures = _read(self.path)

    def find(self, keys: Sequence[str], counts: Sequence[int]) -> list[OperatorFigures] | None:
        """Return the measurements of calls in the order of their keys; None if a key has no measurements.

        Parameters
        ----------
        keys : sequence of str
            The keys of calls, from :func:`call_key`.
        counts : sequence of int
            For each key, the number of storages that the call allocates. Measurements with another number of sizes
            count as missing.
        """
        found = [self._figures.get(key) for key in keys]
        complete = [f for f, count in zip(found, counts, strict=True) if f is not None and len(f.sizes) == count]
        return complete if len(complete) == len(found) else None

    def store(self, figures: Mapping[str, OperatorFigures]) -> None:
        """Add measurements by key, and write them to the file. Measurements with other keys stay in the file."""
        self._figures |= figures
        self._write()

    def forget(self, keys: Collection[str]) -> None:
        """Remove the measurements of some keys from this object and from the file.

        The next calibration measures the calls with these keys again.
        """
        self._write(keys)

    def _write(self, forgotten: Collection[str] = ()) -> None:
        """Write the measurements to the file, with those that other processes wrote, and without some keys."""
        self._figures = {key: found for key, found in self._figures.items() if key not in forgotten}
        with contextlib.suppress(OSError, ValueError):  # no file can be written; ValueError: NUL in the path
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with locked(self.path):
                written = {key: found for key, found in _read(self.path).items() if key not in forgotten}
                self._figures = written | self._figures  # another process may have added some
                rows = {key: asdict(figures) for key, figures in self._figures.items()}
                text = json.dumps({key: {**row, "check": checksum(key, row)} for key, row in rows.items()})
                write_file(self.path, text, durable=False)


def call_key(node: Node, count: int) -> str:
    """Return a key of a call: a hash of its operator, its constants, and its tensors' shapes, strides and dtypes.

    ``count`` is the number of storages that the call allocates. It is part of the key, because a step may use only some
    of the results of an operator.
    """
    result = _described(node.meta.get("val"))
    text = f"{node.target}({_described(node.args)}, {_described(node.kwargs)}) -> {count} of {result}"
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def call_keys(calls: Sequence[Call], nodes: Sequence[Node]) -> dict[int, str]:
    """Return the key of each operator call of a step, by the number of the call. Arrivals of gradients have none.

    ``nodes`` has the node of the traced graph for each call.
    """
    return {c: call_key(nodes[c], len(call.makes)) for c, call in enumerate(calls) if call.info.op != ARRIVE}


def checksum(key: str, row: Mapping[str, Any]) -> str:
    """Return the checksum of a row of the file. It shows whether the row was altered after it was written."""
    text = json.dumps([key, row.get("workspace"), row.get("sizes"), row.get("seconds")])
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def cache_folder() -> Path:
    """Return the folder of the cache: ``$RECOMPVIZ_CACHE``; ``~/.cache/recompviz`` if the variable is unset or empty.

    A user without a home folder gets ``recompviz`` in the folder of temporary files.
    """
    chosen = os.environ.get("RECOMPVIZ_CACHE")
    try:
        return Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "recompviz"
    except RuntimeError:  # no home folder
        return Path(tempfile.gettempdir()) / "recompviz"


# -------------------------------------------------------------------- the file


def _read(path: Path) -> dict[str, OperatorFigures]:
    """Return the valid rows of a file; none if it cannot be read. Warn once in this process if it is damaged."""
    try:
        text = read_text(path, _MOST_TEXT)
    except OSError as error:
        if not error.errno:  # the file was found, and is no text
            _warn(path, str(error))
        return {}
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError):
        rows = None
    if not isinstance(rows, dict):
        _warn(path, "it is not a JSON object")
        return {}
    return {key: figures for key, row in rows.items() if (figures := _figures_of(key, row)) is not None}


def _warn(path: Path, why: str) -> None:
    if path not in _warned:
        _warned.add(path)
        warn_user(
            f"the calibration cache {path} is ignored: {why}. Operators are measured again; delete the file if the "
            "warning comes again",
            RuntimeWarning,
        )


def _figures_of(key: str, row: Any) -> OperatorFigures | None:
    """Return the figures in a row of the file, or None if the row is not valid or was altered."""
    if not isinstance(row, dict):
        return None
    workspace: Any = row.get("workspace")
    sizes: Any = row.get("sizes")
    seconds: Any = row.get("seconds")
    valid = (
        row.get("check") == checksum(key, row)
        and _is_bytes(workspace)
        and isinstance(sizes, list)
        and all(map(_is_bytes, sizes))
        and type(seconds) in (int, float)
        and 0 <= seconds <= _MOST_SECONDS
    )
    return OperatorFigures(workspace, tuple(sizes), float(seconds)) if valid else None


def _is_bytes(value: Any) -> bool:
    return type(value) is int and 0 <= value <= _MOST_BYTES


def _described(value: Any) -> str:
    if isinstance(value, Node):
        return _described(value.meta.get("val"))
    if isinstance(value, torch.Tensor):
        return f"{value.dtype}{tuple(value.shape)}{value.stride()}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_described, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_described(item)}" for key, item in value.items()) + "}"
    return repr(value)
