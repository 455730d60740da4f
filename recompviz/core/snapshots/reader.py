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

from recompviz.core.base.errors import RecompvizError
from recompviz.core.base.text import shortened


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
    head = file.read(16)
    file.seek(0)
    if not head:
        raise SnapshotError("the file is empty")
    if head.startswith(b"PK\x03\x04"):
        raise SnapshotError(
            "the file is a zip archive, as torch.save writes (a checkpoint?); expected the file of "
            "torch.cuda.memory._dump_snapshot"
        )
    try:
        return _PlainUnpickler(file).load()
    except SnapshotError:
        raise
    except (MemoryError, RecursionError) as error:
        raise SnapshotError(f"the file asks for more than this machine has ({type(error).__name__})") from error
    except Exception as error:  # a broken pickle fails in many ways, each with a type of its own
        what = str(error) or type(error).__name__
        if not head.startswith(b"\x80"):  # a text's letters are read as instructions of the oldest pickles
            raise SnapshotError(
                f"the file is no pickle, it begins with {head!r}; expected the file of torch.cuda.memory._dump_snapshot"
            ) from error
        if isinstance(error, EOFError) or "truncated" in what or "exhausted" in what:
            raise SnapshotError(
                "the file ends in the middle of its pickle; was the dump, or the copy, cut short?"
            ) from error
        raise SnapshotError(
            f"the file is no whole pickle of plain data: {shortened(what, 200)}; expected the file of "
            "torch.cuda.memory._dump_snapshot"
        ) from error


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
    if data == _LEGACY_CHECKPOINT:
        raise SnapshotError(
            "the file is a checkpoint, as torch.save wrote them before PyTorch 1.6; expected the file of "
            "torch.cuda.memory._dump_snapshot"
        )
    if not isinstance(data, dict) or not isinstance(data.get("segments"), list):
        raise SnapshotError(
            f"the file holds {_described(data)}, expected a dictionary with 'segments' and 'device_traces' as "
            "torch.cuda.memory._dump_snapshot writes it"
        )
    traces = data.setdefault("device_traces", [])
    if not isinstance(traces, list) or not all(isinstance(trace, list) for trace in traces):
        raise SnapshotError(f"'device_traces' is {_described(traces)}, expected a list of events for each device")
    for segment in data["segments"]:
        _check_segment(segment)
    for trace in traces:
        _check_trace(trace)
    return data


# the first thing in a file of torch.save before it wrote zip archives
_LEGACY_CHECKPOINT = 0x1950A86A20F9469CFC6C
# an address or a size is a machine's word; what is checked is that sums of two are exact in 64 bits
_MOST = 1 << 62
_WITH_ADDRESS = frozenset(
    {"alloc", "free_requested", "free_completed", "segment_alloc", "segment_free", "segment_map", "segment_unmap"}
)


def _check_segment(segment: Any) -> None:
    _require(segment, {"address": int, "total_size": int, "blocks": list}, "a segment")
    _require(segment, {"device": int, "stream": int}, "a segment", optional=True)
    for block in segment["blocks"]:
        _require(block, {"size": int, "state": str}, "a block")
        _require(block, {"address": int, "frames": list, "history": list}, "a block", optional=True)
        for entry in block.get("history") or ():
            _require(entry, {"frames": list}, "an entry of a block's history", optional=True)


def _check_trace(trace: list[Any]) -> None:
    """Millions of events: the common ones are checked in place, and looked at closely only if one is wrong."""
    for event in trace:
        action = event.get("action") if type(event) is dict else None
        if type(action) is str and action in _WITH_ADDRESS:
            address, size, frames = event.get("addr"), event.get("size"), event.get("frames")
            if (
                type(address) is type(size) is type(event.get("stream", 0)) is int
                and 0 <= address < _MOST
                and 0 <= size < _MOST
                and (frames is None or type(frames) is list)
            ):
                continue
        _check_event(event)


def _check_event(event: Any) -> None:
    _require(event, {"action": str}, "an event")
    what = f"an event '{event['action'][:40]}'"
    if event["action"] in _WITH_ADDRESS:
        _require(event, {"addr": int, "size": int}, what)
    if event["action"] == "oom":
        _require(event, {"size": int, "device_free": int}, what, optional=True)
    _require(event, {"frames": list}, what, optional=True)
    _require(event, {"stream": int}, what, optional=True)


def _require(value: Any, fields: dict[str, type], what: str, optional: bool = False) -> None:
    if not isinstance(value, dict):
        raise SnapshotError(f"{what} is {_described(value)}, expected a dictionary")
    for name, kind in fields.items():
        found = value.get(name)
        if optional and found is None:
            continue
        if not isinstance(found, kind) or isinstance(found, bool):
            raise SnapshotError(f"{what} has {name} = {_described(found)}, expected {kind.__name__}")
        if isinstance(found, int) and not 0 <= found < _MOST and name != "stream":
            expected = "0 or more" if found < 0 else "less than 2**62"
            raise SnapshotError(f"{what} has {name} = {_described_key(found)}, expected {expected}")


def _described(value: Any) -> str:
    """A value in bounded time and space: it may be a list of lists of lists, or a number of a million digits."""
    if isinstance(value, dict):
        return f"a dictionary with {', '.join(map(_described_key, list(value)[:5])) or 'nothing'}"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return f"{type(value).__name__} {_described_key(value)}"


def _described_key(value: Any) -> str:
    if isinstance(value, str | bytes):
        return repr(value[:40])
    if isinstance(value, int) and value.bit_length() > 64:
        return f"about 2**{value.bit_length() - 1}" if value > 0 else f"about -2**{value.bit_length() - 1}"
    return repr(value) if isinstance(value, int | float | None) else f"of {len(value)}"
