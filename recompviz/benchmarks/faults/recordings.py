"""Mutated memory snapshots: each must open, or be refused with a clear error, and none may execute anything.

Some files are damaged byte by byte or opcode by opcode. Other files are whole, and have values of any type in any
place, or events that contradict each other. A file must open in a few seconds and in memory in proportion to its
length.
"""

from __future__ import annotations

import copy
import math
import pickle
import random
import resource
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from recompviz.benchmarks.faults.cases import Tally, TooLong, limited, run_in_processes, unclear
from recompviz.benchmarks.faults.counts import FaultCount
from recompviz.core.snapshots.reader import SnapshotError
from recompviz.core.snapshots.snapshot_report import load_snapshot

# bytes that the process may allocate in addition to those at its start
MEMORY = 1 << 30
SECONDS = 20
# audit events that no reading of a file may cause
FORBIDDEN = frozenset(
    {"os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "socket.connect", "exec", "compile",
     "pickle.find_class", "os.remove", "os.rename", "shutil.rmtree", "ctypes.dlopen"}
)  # fmt: skip

_seen: list[str] = []
_watching = False


def run(count: int, seed: int) -> list[FaultCount]:
    """Open ``count`` damaged snapshots, and count those that do harm."""
    return run_in_processes("recordings", count, seed, 1000)


def cases(numbers: Iterable[int], seed: int) -> list[FaultCount]:
    """Open the damaged snapshots ``numbers``, and count those that do harm."""
    tally = Tally()
    folder = Path(tempfile.mkdtemp())
    path = folder / "snapshot.pickle"
    for number in numbers:
        drawn = random.Random(f"{seed} {number}")
        kind, mutate = drawn.choice(MUTATIONS)
        path.write_bytes(mutate(drawn, random_snapshot(drawn)))
        wrong = opened(path)
        tally.add("load_snapshot", kind, None if wrong is None else f"file {number} of seed {seed}: {wrong}")
    path.unlink()
    folder.rmdir()
    return tally.rows()


def prepare() -> None:
    """Limit the memory of this process, and record whether it executes code of a file."""
    limit_memory()
    sys.addaudithook(_audit)


def opened(path: Path) -> str | None:
    """Open a snapshot file. Return what was wrong, for example an unclear error; None if nothing was."""
    global _watching
    _seen.clear()
    wrong = None
    _watching = True
    try:
        with limited(SECONDS):
            report = load_snapshot(path)
            text = report.text + repr(report) + report._repr_html_()
            text.encode()
            if report.peak < 0 or report.peak != report.timeline.peak:
                wrong = f"the peak is {report.peak}, that of the timeline {report.timeline.peak}"
    except (Exception, TooLong) as error:  # its type and message are judged below
        wrong = unclear(error)
        if wrong is None and (not isinstance(error, SnapshotError) or "more memory" in str(error)):
            wrong = f"{type(error).__name__}: {str(error)[:200]}"
    finally:
        _watching = False
    return f"the file executed {_seen[0]}" if _seen else wrong


def limit_memory() -> None:
    """Let this process allocate at most ``MEMORY`` bytes more than it has now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    most = pages * resource.getpagesize() + MEMORY
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def _audit(event: str, _arguments: tuple[Any, ...]) -> None:
    if (
        _watching
        and event in FORBIDDEN
        and not any("importlib" in frame.filename for frame in traceback.extract_stack())
    ):
        _seen.append(event)


# -------------------------------------------------------------------- snapshots


def random_snapshot(drawn: random.Random) -> dict[str, Any]:
    """Return a small random snapshot in PyTorch's format."""
    stacks = [
        [
            {"filename": "CUDACachingAllocator.cpp", "line": 0, "name": "c10::cuda::malloc"},
            {"filename": "/env/site-packages/torch/optim/adam.py", "line": 9, "name": "step"},
            {"filename": drawn.choice(["train.py", "/a/b.py", "<ipython-input-1>"]), "line": line, "name": name},
        ]
        for line, name in ((3, "forward"), (7, "backward"), (70_000, "step"))
    ]
    events: list[dict[str, Any]] = []

    def add(action: str, address: int, size: int, **more: Any) -> None:
        frames = drawn.choice(stacks)
        events.append({"action": action, "addr": address, "size": size, "stream": 0, "frames": frames, **more})

    base = drawn.choice([0, 0x7F0000000000, 1 << 33])
    segments = []
    for i in range(drawn.randint(1, 3)):
        start, total = base + i * (20 << 20), drawn.choice([2 << 20, 20 << 20])
        expandable = drawn.random() < 0.3
        pool = {"pool_id": (0, drawn.randrange(2))} if drawn.random() < 0.3 else {}
        add("segment_map" if expandable else "segment_alloc", start, total, **pool)
        at, used = start, []
        for _ in range(drawn.randint(1, 6)):
            size = 512 * drawn.choice([1, 2, 100])
            add("alloc", at, size - drawn.randrange(512), **pool)
            used.append((at, size))
            at += size
        for address, size in drawn.sample(used, drawn.randint(0, len(used))):
            add("free_requested", address, size)
            if drawn.random() < 0.9:
                add("free_completed", address, size)
            used.remove((address, size))
        blocks = [
            {"address": a, "size": n, "requested_size": n, "state": "active_allocated", "frames": drawn.choice(stacks)}
            for a, n in used
        ]
        if drawn.random() < 0.3:
            blocks.append({"size": 512, "state": "inactive", "history": [{"addr": at, "frames": stacks[0]}]})
        segments.append(
            {"device": drawn.choice([0, 0, 1]), "address": start, "total_size": total, "stream": 0, "blocks": blocks,
             "segment_type": "small" if total == 2 << 20 else "large", "segment_pool_id": (0, 0),
             "is_expandable": expandable}
        )  # fmt: skip
    if drawn.random() < 0.3:
        add("oom", 0, 1 << 30, device_free=1 << 20)
    if drawn.random() < 0.3:
        add("segment_unmap", base, 2 << 20)
        add("snapshot", 0, 0)
    settings = {"PYTORCH_CUDA_ALLOC_CONF": "", "expandable_segments": False, "max_split_size": -1}
    return {
        "segments": segments,
        "device_traces": [events, []],
        "allocator_settings": settings,
        "external_annotations": [],
    }


# -------------------------------------------------------------------- mutations


def change_bytes(drawn: random.Random, data: dict[str, Any]) -> bytes:
    """Return the pickled snapshot with random bytes changed."""
    raw = bytearray(_pickled(drawn, data))
    for _ in range(drawn.choice([1, 1, 2, 5, 20])):
        if not raw:
            break
        at, length = drawn.randrange(len(raw)), drawn.choice([1, 1, 2, 4, 40])
        change = drawn.randrange(6)
        if change == 0:
            raw[at] ^= 1 << drawn.randrange(8)
        elif change == 1:
            del raw[at : at + length]
        elif change == 2:
            raw[at:at] = drawn.randbytes(length)
        elif change == 3:
            other = drawn.randrange(len(raw))
            raw[at : at + length] = raw[other : other + length]
        elif change == 4:
            raw[at] = drawn.randrange(256)
        elif drawn.random() < 0.2:
            del raw[at:]
    return bytes(raw)


OPCODES = (
    b"(", b".", b"0", b"1", b"2", b"F1\n", b"I7\n", b"J\xff\xff\xff\x7f", b"K\x01", b"L9L\n", b"M\x01\x02", b"N",
    b"P1\n", b"Q", b"R", b"S'a'\n", b"T\xff\xff\xff\x7f", b"U\x01a", b"V\xff\n", b"X\xff\xff\xff\xff", b"a", b"b",
    b"cos\nsystem\n", b"d", b"}", b"e", b"g1\n", b"h\x00", b"h\xff", b"ios\nsystem\n", b"j\x00\x00\x00\x00", b"l",
    b"]", b"o", b"p1\n", b"q\x05", b"r\xff\xff\xff\x7f", b"r\x00\x00\x01\x00", b"s", b"t", b")", b"u",
    b"B\xff\xff\xff\x7f",
    b"C\x02ab", b"G" + b"\x7f\xf8" + b"\0" * 6, b"\x80\x05", b"\x81", b"\x82\x01", b"\x85", b"\x86", b"\x87", b"\x88",
    b"\x89", b"\x8a\x08" + b"\xff" * 8, b"\x8a\xff" + b"\x01" * 255, b"\x8b\xff\xff\xff\x7f", b"\x8b\xff\xff\xff\xff",
    b"\x8c\x01a", b"\x8c\xff" + b"a" * 255, b"\x8d" + b"\xff" * 8, b"\x8e" + b"\xff" * 7 + b"\x7f", b"\x8f", b"\x90",
    b"\x91", b"\x92", b"\x8c\x02os\x8c\x06system\x93", b"\x94", b"\x95" + b"\xff" * 7 + b"\x7f", b"\x96" + b"\xff" * 8,
    b"\x97", b"\x98", b"]" * 5000, b"(" * 5000, b")" + b"\x85" * 5000, b"\x94" * 5000,
    b")" + b"".join(b"\x94h%ch%c\x86" % (i, i) for i in range(30)),
)  # fmt: skip


def change_opcodes(drawn: random.Random, data: dict[str, Any]) -> bytes:
    """Return the pickled snapshot with random opcodes of pickle inserted."""
    import pickletools

    raw = _pickled(drawn, data)
    places = [place for _, _, place in pickletools.genops(raw) if place is not None]
    parts, last = [], 0
    for place in sorted(drawn.sample(places, drawn.choice([1, 1, 2, 4]))):
        parts += [raw[last:place], drawn.choice(OPCODES)]
        last = place
    return b"".join([*parts, raw[last:]])


def only_opcodes(drawn: random.Random, data: dict[str, Any]) -> bytes:
    """Return random opcodes of pickle."""
    del data
    return b"\x80\x04" + b"".join(drawn.choices(OPCODES, k=drawn.choice([1, 3, 10, 100]))) + b"."


def _values(drawn: random.Random) -> Any:
    loop: list[Any] = []
    loop.append(loop)
    deep: Any = []
    for _ in range(drawn.choice([1, 60, 5000])):
        deep = [deep, deep]
    return drawn.choice([
        None, True, -1, 0, 1, 511, 2**31, 2**47, 2**61, 2**62, 2**63, 10**30, -(10**30), 10**5000, 1.5, math.nan,
        math.inf,
        "", "alloc", "active_allocated", "large", "expandable_segments:True", "\ud800", "<script>", "x" * 10_000, b"x",
        [], {}, (), (1, 2), [None], [{}], [1] * 1000, {"frames": []}, loop, deep, {1: 2}, (0, 2**70), "\0",
        [{"filename": 5, "line": "x", "name": []}], [{"filename": "a.py", "line": 10**400, "name": "\udfff"}],
    ])  # fmt: skip


def change_values(drawn: random.Random, data: dict[str, Any]) -> bytes:
    """Return the pickled snapshot with some values replaced at random, removed or repeated."""
    data = copy.deepcopy(data)
    for _ in range(drawn.choice([1, 1, 2, 4])):
        places = list(_places(data))
        if not places:
            break
        parent, key = drawn.choice(places)
        change = drawn.randrange(5)
        if change == 0:
            del parent[key]
        elif change == 1 and isinstance(parent, list):
            parent += [parent[key]] * drawn.choice([1, 3, 2000])
        elif change == 2:
            other, name = drawn.choice(places)
            parent[key] = other[name] if name in other or (isinstance(other, list) and name < len(other)) else None
        else:
            parent[key] = _values(drawn)
    return _pickled(drawn, data)


def _places(value: Any, depth: int = 0) -> Iterable[tuple[Any, Any]]:
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list) and len(value) < 200:
        items = list(enumerate(value))
    for key, inside in items:
        yield value, key
        if depth < 5:
            yield from _places(inside, depth + 1)


def contradict(drawn: random.Random, data: dict[str, Any]) -> bytes:
    """Return the pickled snapshot with random events, which may contradict each other, instead of its own."""
    actions = ["segment_alloc", "segment_map", "segment_unmap", "segment_free", "alloc", "free_requested",
               "free_completed", "oom", "snapshot", "other"]  # fmt: skip
    addresses, sizes = (
        [0, 512, 1 << 20, 2 << 20, (1 << 62) - 512],
        [0, 1, 512, 1024, 1 << 20, 2 << 20, 20 << 20, 1 << 50],
    )
    events = []
    for _ in range(drawn.choice([2, 5, 20, 200])):
        event: dict[str, Any] = {"action": drawn.choice(actions), "addr": drawn.choice(addresses)}
        event |= {"size": drawn.choice(sizes), "stream": drawn.choice([0, 0, 1, -1]), "frames": []}
        if drawn.random() < 0.2:
            event["pool_id"] = drawn.choice([(0, 0), (0, 1), (1, 0)])
        events.append(event)
    data = {**data, "device_traces": [events]}
    if drawn.random() < 0.5:
        data["segments"] = []
    elif drawn.random() < 0.3:
        data["segments"] = data["segments"] * 2
    return _pickled(drawn, data)


def repeat(drawn: random.Random, data: dict[str, Any]) -> bytes:
    """Return the pickled snapshot with one long list in many places."""
    times = drawn.choice([2, 1000])
    blocks = [{"size": 512, "state": "active_allocated", "frames": []}] * times
    history = [{"frames": [{"filename": "a.py", "line": 1, "name": "f"}] * times}] * times
    events = data["device_traces"][0] * times
    frames = [{"filename": "a.py", "line": 1, "name": "f"}] * times
    which = drawn.randrange(5)
    if which == 0:
        data["segments"] = [{**data["segments"][0], "blocks": blocks}] * times
    elif which == 1:
        data["segments"] = [{**data["segments"][0], "blocks": [{**blocks[0], "history": history}] * times}]
    elif which == 2:
        data["device_traces"] = [events] * times
    elif which == 3:
        data["device_traces"] = [[{**event, "frames": frames} for event in events]]
    else:
        data["device_traces"] = [[{**event, "addr": i * 512} for i, event in enumerate(events)]]
    return _pickled(drawn, data)


def _pickled(drawn: random.Random, data: Any) -> bytes:
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(100_000)
    try:
        return pickle.dumps(data, drawn.choice([2, 3, 4, 4, 4, 5]))
    except RecursionError:
        return pickle.dumps(None)
    finally:
        sys.setrecursionlimit(limit)


MUTATIONS: list[tuple[str, Callable[[random.Random, dict[str, Any]], bytes]]] = [
    ("bytes", change_bytes), ("bytes", change_bytes), ("opcodes inserted", change_opcodes), ("opcodes", only_opcodes),
    ("values of any type", change_values), ("values of any type", change_values), ("contradictions", contradict),
    ("references to long lists", repeat),
]  # fmt: skip
