"""Read the file of a memory snapshot without trusting it.

Reading returns plain data or raises an error. It executes no code. A snapshot of PyTorch's allocator is a pickle of
dictionaries, lists, tuples, strings and numbers. The opcodes are checked before anything is unpickled; see
:mod:`recompviz.core.snapshots.opcodes`. The unpickler refuses every reference to a class or function, so that nothing
in the file can be called. The data may also be JSON. Pickle and JSON may be compressed with gzip.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import pickle
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from recompviz.core.base.arguments import expect
from recompviz.core.base.errors import RecompvizError
from recompviz.core.base.files import read_bytes
from recompviz.core.base.shortened_text import shortened
from recompviz.core.snapshots.opcodes import Opcodes, check_opcodes


class SnapshotError(RecompvizError, ValueError):
    """A file is not a memory snapshot of PyTorch's allocator, or has no data for the wanted device.

    The message names the contents found and the contents expected.

    Attributes
    ----------
    reason : str
        ``"empty"``, ``"zip archive"``, ``"checkpoint"``, ``"not a pickle"``, ``"truncated"``, ``"too large"``,
        ``"executes code"``, ``"wrong type"``, ``"wrong field"`` or ``"unknown device"``.
    field : str
        The name of the wrong field if the reason is ``"wrong field"``; otherwise empty.
    """

    def __init__(self, message: str, reason: str = "wrong type", field: str = "") -> None:
        super().__init__(message)
        self.reason, self.field = reason, field


class _PlainUnpickler(pickle.Unpickler):
    """An unpickler that looks up no class or function."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise SnapshotError(
            f"the file refers to {module}.{name}, which a snapshot never does; it was not executed. "
            "Do not open this file with pickle.load or torch.load",
            reason="executes code",
        )

    def persistent_load(self, pid: Any) -> NoReturn:  # noqa: ARG002 (pickle calls it)
        raise SnapshotError("the file refers to objects outside it; a snapshot never does", reason="executes code")


def read_plain(data: bytes) -> Any:
    """Return the plain data in a pickle or in JSON: dictionaries, lists, flat tuples, strings and numbers.

    ``data`` may be compressed with gzip.

    Raises
    ------
    SnapshotError
        If the data is empty, is neither a pickle nor JSON, is truncated, needs too much memory, or has other data than
        plain data.
    """
    if data.startswith(_GZIP):
        data = _decompressed(data)
    head = data[:16]
    if not head:
        raise SnapshotError("the file is empty", reason="empty")
    if head.lstrip()[:1] in (b"{", b"["):
        return _read_json(data)
    if head.startswith(b"PK\x03\x04"):
        raise SnapshotError(
            f"the file is a zip archive, as torch.save writes (a checkpoint?); {_EXPECTED}", reason="zip archive"
        )
    checked = check_opcodes(data)
    if checked.fault:
        raise _refused(checked, head)
    try:
        return _PlainUnpickler(_Part(data, checked.end)).load()
    except SnapshotError:
        raise
    except (MemoryError, RecursionError) as error:
        raise SnapshotError(
            f"the file needs more memory than this machine has ({type(error).__name__})", reason="too large"
        ) from error
    except Exception as error:  # a broken pickle can raise almost any type
        what = str(error) or type(error).__name__
        if not head.startswith(b"\x80"):
            raise _refused(checked, head) from error
        if isinstance(error, EOFError) or "truncated" in what or "exhausted" in what:
            raise SnapshotError(
                "the file ends in the middle of its pickle; the dump or a copy may be truncated",
                reason="truncated",
            ) from error
        raise SnapshotError(
            f"the file is not a complete pickle of plain data: {shortened(what, 200)}; {_EXPECTED}",
            reason="not a pickle",
        ) from error


_GZIP = b"\x1f\x8b"
# a compressed file may grow to this many bytes, or to this many times its length
_MOST_DECOMPRESSED, _MOST_GROWTH = 256 << 20, 400
_PART = 1 << 24  # bytes that are decompressed at once; between two parts, an interrupt is noticed


def _decompressed(data: bytes) -> bytes:
    """Return the content of a file compressed with gzip."""
    most = max(_MOST_DECOMPRESSED, _MOST_GROWTH * len(data))
    parts: list[bytes] = []
    total = 0
    try:
        while data.startswith(_GZIP):  # a file may have several members
            reader = zlib.decompressobj(wbits=31)
            while not reader.eof:
                part = reader.decompress(data, _PART)
                data = reader.unconsumed_tail
                if not part and not data and not reader.eof:
                    raise SnapshotError(
                        "the file ends in the middle of its compressed data; the dump or a copy may be truncated",
                        reason="truncated",
                    )
                total += len(part)
                if total > most:
                    raise SnapshotError(
                        f"the file is compressed to less than 1/{_MOST_GROWTH} of its content, which no snapshot is; "
                        "decompress it yourself with gunzip if you trust it",
                        reason="too large",
                    )
                parts.append(part)
            data = reader.unused_data
    except zlib.error as error:
        raise SnapshotError(
            f"the compressed data of the file is damaged: {error}; copy the file again", reason="truncated"
        ) from error
    return b"".join(parts)


def _read_json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (MemoryError, RecursionError) as error:
        raise SnapshotError(
            f"the file needs more memory than this machine has ({type(error).__name__})", reason="too large"
        ) from error
    except ValueError as error:
        raise SnapshotError(
            f"the file is neither a pickle nor complete JSON: {shortened(str(error), 200)}; {_EXPECTED}",
            reason="not a pickle",
        ) from error


_EXPECTED = "expected the file of torch.cuda.memory._dump_snapshot"
# opcodes that call something, or refer to an object outside the file
_EXECUTES = frozenset(
    {"REDUCE", "BUILD", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4", "PERSID", "BINPERSID"}
)


def _refused(checked: Opcodes, head: bytes) -> SnapshotError:
    """Return the error for a file with an opcode that is not accepted."""
    if not head.startswith(b"\x80"):  # the oldest pickle protocol is text, so any text file may begin like a pickle
        return SnapshotError(f"the file is not a pickle, it begins with {head!r}; {_EXPECTED}", reason="not a pickle")
    where = f"{checked.name} at byte {checked.end:,}"
    if checked.name in _EXECUTES:
        return SnapshotError(
            f"the file has the opcode {where}, which may execute code and which a snapshot never has; it was not "
            "executed. Do not open this file with pickle.load or torch.load",
            reason="executes code",
        )
    return SnapshotError(f"the file has the opcode {where}: {checked.fault}; {_EXPECTED}", reason="not a pickle")


class _Part:
    """The beginning of a file, as a file. The unpickler calls Python for each part, so that an interrupt is noticed."""

    def __init__(self, data: bytes, end: int) -> None:
        self._data, self._end, self._at = memoryview(data), end, 0

    def read(self, count: int) -> bytes:
        part = self.peek(count)
        self._at += len(part)
        return part

    def peek(self, count: int) -> bytes:
        return bytes(self._data[self._at : min(self._at + count, self._end)])

    def readline(self) -> bytes:
        part = self.peek(1 << 16)  # a name of a class is shorter
        return self.read(part.find(b"\n") + 1 or len(part))


@contextlib.contextmanager
def no_collection() -> Iterator[None]:
    """Switch Python's garbage collector off within a ``with`` block.

    A snapshot has millions of dictionaries. The collector would scan them many times while the snapshot is read.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def read_snapshot(path: str | Path) -> dict[str, Any]:
    """Read the file of a memory snapshot, and check the types of its fields.

    Returns
    -------
    dict
        With ``"segments"``, a list of segments, and ``"device_traces"``, a list of events for each device. A file of
        PyTorch before 2.0 has no traces; the second list is then empty. Other entries of the file are in the dictionary
        too.

    Raises
    ------
    FileError
        If the file cannot be read. For a missing file, the error is also a FileNotFoundError.
    SnapshotError
        If the file is not a memory snapshot.
    TypeError
        If ``path`` is not the path of a file.
    """
    expect(
        path, (str, os.PathLike), "path", "the path of a file", "write one with torch.cuda.memory._dump_snapshot(path)"
    )
    data = read_plain(read_bytes(path))
    if isinstance(data, list):
        data = {"segments": data}  # written by PyTorch before 2.0, without a history
    if data == _LEGACY_CHECKPOINT:
        raise SnapshotError(
            "the file is a checkpoint, as torch.save wrote them before PyTorch 1.6; expected the file of "
            "torch.cuda.memory._dump_snapshot",
            reason="checkpoint",
        )
    if not isinstance(data, dict) or not isinstance(data.get("segments"), list):
        raise SnapshotError(
            f"the file holds {_described(data)}, expected a dictionary with 'segments' and 'device_traces' as "
            "torch.cuda.memory._dump_snapshot writes it"
        )
    traces = data.setdefault("device_traces", [])
    if not isinstance(traces, list) or not all(isinstance(trace, list) for trace in traces):
        raise SnapshotError(f"'device_traces' is {_described(traces)}, expected a list of events for each device")
    once = _Once()
    for segment in data["segments"]:
        _check_segment(segment, once)
    for trace in traces:
        once.expect(trace, "the events of a device")
        _check_trace(trace)
    _check_host(data, once)
    return data


def _check_host(data: dict[str, Any], once: _Once) -> None:
    """Check the segments and events of pinned host memory."""
    for name in ("host_segments", "host_traces"):
        found = data.get(name)
        if found is not None and not isinstance(found, list):
            raise SnapshotError(f"{name!r} is {_described(found)}, expected a list", reason="wrong field", field=name)
    for segment in data.get("host_segments") or []:
        _require(segment, {"address": int}, "a host segment")
        _require(segment, {"size": int, "total_size": int, "frames": list}, "a host segment", optional=True)
        if segment.get("size") is None and segment.get("total_size") is None:
            raise SnapshotError("a host segment has no size", reason="wrong field", field="size")
    trace = data.get("host_traces") or []
    once.expect(trace, "the events of a device")
    _check_trace(trace)


class _Once:
    """Checks that a file has each list once. A short file can refer to a long list so often that reading never ends."""

    def __init__(self) -> None:
        self._seen: set[int] = set()

    def expect(self, values: list[Any], what: str) -> None:
        """Raise an error if a list is not empty and was seen before."""
        if values and id(values) in self._seen:
            raise SnapshotError(f"the file has {what} twice, expected each of them once; it was damaged or edited")
        self._seen.add(id(values))


# the first thing in a file of torch.save before it wrote zip archives
_LEGACY_CHECKPOINT = 0x1950A86A20F9469CFC6C
# limit of addresses and sizes: sums of two are exact in 64 bits
_MOST = 1 << 62
_WITH_ADDRESS = frozenset(
    {"alloc", "free_requested", "free_completed", "segment_alloc", "segment_free", "segment_map", "segment_unmap"}
)


def _check_segment(segment: Any, once: _Once) -> None:
    _require(segment, {"address": int, "total_size": int, "blocks": list}, "a segment")
    _require(segment, {"device": int, "stream": int}, "a segment", optional=True)
    once.expect(segment["blocks"], "the blocks of a segment")
    for block in segment["blocks"]:
        _require(block, {"size": int, "state": str}, "a block")
        _require(block, {"address": int, "frames": list, "history": list}, "a block", optional=True)
        history = block.get("history") or []
        once.expect(history, "the history of a block")
        for entry in history:
            _require(entry, {"frames": list}, "an entry of a block's history", optional=True)


def _check_trace(trace: list[Any]) -> None:
    """Check the events of a trace. The usual ones are checked here, which is fast; all others by ``_check_event``."""
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
    if event["action"] == "annotate":
        _require(event, {"addr": int}, what, optional=True)
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
            raise SnapshotError(
                f"{what} has {name} = {_described(found)}, expected {kind.__name__}", reason="wrong field", field=name
            )
        if isinstance(found, int) and not 0 <= found < _MOST and name != "stream":
            expected = "0 or more" if found < 0 else "less than 2**62"
            raise SnapshotError(
                f"{what} has {name} = {_described_key(found)}, expected {expected}", reason="wrong field", field=name
            )


def _described(value: Any) -> str:
    """Return a short description of a value. The value may be deeply nested, or a number with a million digits."""
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
