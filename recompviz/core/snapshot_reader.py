"""Reading a pickle that one did not write: plain data or an error, never code.

A snapshot of PyTorch's allocator is dicts, lists, tuples, strings and numbers. The unpickler here knows nothing
else: it refuses every name of a class or function, so that a file made to run something is refused where it asks.
"""

from __future__ import annotations

import contextlib
import gc
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from recompviz.core.errors import RecompvizError


class SnapshotError(RecompvizError, ValueError):
    """A file is no snapshot of PyTorch's allocator; says what was found and what was expected."""


class _PlainUnpickler(pickle.Unpickler):
    """Dicts, lists, tuples, sets, strings, bytes and numbers; no classes, no functions, no persistent ids."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise SnapshotError(
            f"the file asks for {module}.{name}, which a snapshot never does; it was not executed. "
            "Do not open this file with pickle.load or torch.load"
        )

    def persistent_load(self, pid: Any) -> NoReturn:  # noqa: ARG002
        raise SnapshotError("the file refers to objects outside it, which a snapshot never does")


def read_plain(file: BinaryIO) -> Any:
    """The plain data in an open pickle file.

    Raises
    ------
    SnapshotError
        If it is no pickle, is cut short, or holds anything but plain data.
    """
    try:
        return _PlainUnpickler(file).load()
    except SnapshotError:
        raise
    except EOFError as error:
        raise SnapshotError(
            "the file ends in the middle of its pickle; was the dump, or the copy, cut short?"
        ) from error
    except (MemoryError, RecursionError) as error:
        raise SnapshotError(f"the file asks for more than this machine has ({type(error).__name__})") from error
    except Exception as error:  # a broken pickle fails in many ways, each with a type of its own
        what = str(error) or type(error).__name__
        cut = "truncated" in what or "exhausted" in what or "ran out" in what
        hint = (
            "was the dump, or the copy, cut short?" if cut else "expected the file of torch.cuda.memory._dump_snapshot"
        )
        raise SnapshotError(f"the file is no whole pickle of plain data: {what[:200]}; {hint}") from error


@contextlib.contextmanager
def no_collection() -> Iterator[None]:
    """Millions of dicts that stay: the collector would walk all of them again and again, and find nothing."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def read_snapshot(path: str | Path) -> dict[str, Any]:
    """The dictionary of a snapshot file, its parts checked.

    Raises
    ------
    FileNotFoundError
    SnapshotError
    """
    with open(path, "rb") as file:
        data = read_plain(file)
    if isinstance(data, list):
        data = {"segments": data}  # written by PyTorch before 2.0, without a history
    if not isinstance(data, dict) or not isinstance(data.get("segments"), list):
        raise SnapshotError(
            f"the file holds {_described(data)}, expected a dictionary with 'segments' and 'device_traces' as "
            "torch.cuda.memory._dump_snapshot writes it"
        )
    traces = data.setdefault("device_traces", [])
    if not isinstance(traces, list) or not all(isinstance(trace, list) for trace in traces):
        raise SnapshotError(f"'device_traces' is {_described(traces)}, expected a list of events for each device")
    for segment in data["segments"]:
        _require(segment, {"address": int, "total_size": int, "blocks": list}, "a segment")
        for block in segment["blocks"]:
            _require(block, {"size": int, "state": str}, "a block")
    for trace in traces:
        for event in trace:
            _require(event, {"action": str}, "an event")
            if event["action"] in _WITH_ADDRESS:
                _require(event, {"addr": int, "size": int}, f"an event '{event['action']}'")
    return data


_WITH_ADDRESS = frozenset(
    {"alloc", "free_requested", "free_completed", "segment_alloc", "segment_free", "segment_map", "segment_unmap"}
)


def _require(value: Any, fields: dict[str, type], what: str) -> None:
    if not isinstance(value, dict):
        raise SnapshotError(f"{what} is {_described(value)}, expected a dictionary")
    for name, kind in fields.items():
        if not isinstance(value.get(name), kind):
            raise SnapshotError(f"{what} has {name} = {_described(value.get(name))}, expected {kind.__name__}")
        if kind is int and value[name] < 0:
            raise SnapshotError(f"{what} has {name} = {value[name]}, expected 0 or more")


def _described(value: Any) -> str:
    if isinstance(value, dict):
        return f"a dictionary with {', '.join(repr(key)[:40] for key in list(value)[:5]) or 'nothing'}"
    return f"{type(value).__name__} {repr(value)[:40]}" if not isinstance(value, list) else f"a list of {len(value)}"
