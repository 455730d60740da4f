"""The settings of PyTorch's CUDA caching allocator, and the sizes of blocks and segments that follow from them.

The names and defaults are the same as in PyTorch's documentation of ``PYTORCH_ALLOC_CONF``. Settings that do not change
sizes on the device, for example settings of pinned memory, are accepted and ignored.

Source: c10/core/AllocatorConfig.cpp and c10/cuda/CUDACachingAllocator.cpp, ``round_size``, ``get_allocation_size``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from recompviz.core.base.arguments import expect, expect_flag, expect_number, shown

MIB = 1 << 20
# the size of every block is a multiple of this many bytes
BLOCK = 512
# requests up to this size are served from the pool of small segments
SMALL = MIB
# the size of a small segment, and the unit to which large segments are rounded up
SMALL_SEGMENT = 2 * MIB
# requests from this size on get a segment of their own size
OWN_SEGMENT = 10 * MIB
# powers of two with their own number of divisions: 1 MiB, 2 MiB, … 32 GiB
INTERVALS = 16
# environment variables, in the order in which PyTorch looks for them
VARIABLES = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_HIP_ALLOC_CONF")

# settings that do not change the sizes that the model computes
_IGNORED = re.compile(r"pinned_\w+|release_lock_on_\w+|graph_capture_record_stream_reuse|throw_on_cudamalloc_oom")
_SETTING = re.compile(r"\s*(\w+)\s*:\s*(\[[^\]]*\]|[^,\[\]]+?)\s*(?:,|$)")


@dataclass(frozen=True)
class AllocatorSettings:
    """Settings of PyTorch's CUDA caching allocator; frozen. The defaults are PyTorch's.

    Attributes
    ----------
    expandable_segments : bool
        Whether a segment is a range of addresses to which the allocator maps more memory when it needs it.
    max_split_size : int or None
        Blocks of this many bytes or more are not split, unless ``expandable_segments`` is True. With None, every block
        may be split.
    max_non_split_rounding : int
        A request of at least ``max_split_size`` bytes uses a cached block only if the block exceeds the request by less
        than this number of bytes.
    garbage_collection_threshold : float
        A share of the memory that the process may reserve. If more is reserved, the allocator releases old cached
        segments before it reserves a new segment. With 0, or if ``memory_fraction`` is None, this never happens.
    roundup_power2_divisions : tuple of int
        16 numbers, one for each range of sizes: from 1 MiB to 2 MiB, from 2 MiB to 4 MiB, …, from 32 GiB to 64 GiB. The
        number divides its range into equal parts, and sizes are rounded up to the end of a part. If the number is 0 or
        1, or if the size is at most 512 bytes times the number, the size is rounded up to a multiple of 512 bytes. The
        first number is also used for smaller sizes, and the last number for larger sizes.
    large_segment_size : int
        Bytes of a segment that is reserved for a request of more than 1 MiB and less than 10 MiB.
    memory_fraction : float or None
        The share of the device's memory that the process may reserve. None stands for all memory.
    block : int
        The size of every block is a multiple of this many bytes: 512 on CUDA. It is 1 for a recording of pinned host
        memory, where the recorded sizes are already those of the blocks.

    Raises
    ------
    TypeError
        If a setting has the wrong type.
    ValueError
        If there are not 16 divisions, each 0 or a power of two; if ``max_split_size`` or ``max_non_split_rounding`` is
        less than 20 MiB; if ``large_segment_size`` is not more than 10 MiB; if ``garbage_collection_threshold`` is not
        at least 0 and less than 1; if ``memory_fraction`` is not from 0 to 1; or if ``block`` is less than 1.

    Examples
    --------
    >>> settings = AllocatorSettings.parse("max_split_size_mb:128, roundup_power2_divisions:[2:4,>:8]")
    >>> settings.max_split_size >> 20, settings.roundup_power2_divisions[:4]
    (128, (4, 4, 8, 8))
    >>> AllocatorSettings().rounded(1000), AllocatorSettings().segment_size(3 << 20) >> 20
    (1024, 20)
    """

    expandable_segments: bool = False
    max_split_size: int | None = None
    max_non_split_rounding: int = 20 * MIB
    garbage_collection_threshold: float = 0.0
    roundup_power2_divisions: tuple[int, ...] = (0,) * INTERVALS
    large_segment_size: int = 20 * MIB
    memory_fraction: float | None = None
    block: int = BLOCK

    def __post_init__(self) -> None:
        self._expect_types()
        divisions = tuple(self.roundup_power2_divisions)
        if len(divisions) != INTERVALS:
            raise ValueError(f"roundup_power2_divisions has {len(divisions)} numbers, expected {INTERVALS}")
        for name, value, good, expected in (
            *(("roundup_power2_divisions", n, n >= 0 and n & (n - 1) == 0, "0 or a power of two") for n in divisions),
            (
                "max_split_size",
                self.max_split_size,
                self.max_split_size is None or self.max_split_size >= 20 * MIB,
                "at least 20 MiB",
            ),
            (
                "max_non_split_rounding",
                self.max_non_split_rounding,
                self.max_non_split_rounding >= 20 * MIB,
                "at least 20 MiB",
            ),
            (
                "garbage_collection_threshold",
                self.garbage_collection_threshold,
                0 <= self.garbage_collection_threshold < 1,
                "at least 0 and less than 1",
            ),
            ("large_segment_size", self.large_segment_size, self.large_segment_size > OWN_SEGMENT, "more than 10 MiB"),
            ("block", self.block, self.block > 0, "1 or more"),
            ("memory_fraction", self.memory_fraction, 0 <= (self.memory_fraction or 0) <= 1, "from 0 to 1"),
        ):
            if not good:
                raise ValueError(f"{name} is {shown(value)}, expected {expected}")
        object.__setattr__(self, "roundup_power2_divisions", divisions)

    def _expect_types(self) -> None:
        """Raise TypeError if a setting has the wrong type."""
        expect_flag(self.expandable_segments, "expandable_segments")
        for name in ("max_non_split_rounding", "large_segment_size", "block"):
            expect_number(getattr(self, name), Integral, name, "a whole number of bytes")
        expect_number(self.garbage_collection_threshold, Real, "garbage_collection_threshold", "a number")
        if self.max_split_size is not None:
            expect_number(self.max_split_size, Integral, "max_split_size", "a whole number of bytes, or None")
        if self.memory_fraction is not None:
            expect_number(self.memory_fraction, Real, "memory_fraction", "a number, or None")
        divisions = self.roundup_power2_divisions
        expect(divisions, (tuple, list), "roundup_power2_divisions", f"a tuple of {INTERVALS} numbers")
        for number in divisions:
            expect_number(number, Integral, "roundup_power2_divisions", "a tuple of whole numbers")

    @classmethod
    def parse(cls, text: str) -> AllocatorSettings:
        """Return the settings that a text selects, in the format of the environment variable ``PYTORCH_ALLOC_CONF``.

        Parameters
        ----------
        text : str
            Settings with commas between them, for example
            ``"expandable_segments:True,garbage_collection_threshold:0.8"``. Settings that the text does not name have
            PyTorch's defaults.

        Raises
        ------
        TypeError
            If ``text`` is not a string.
        ValueError
            If a setting is unknown, has an invalid value, or selects an allocator that is not modelled.
        """
        expect(text, str, "text", "the value of PYTORCH_ALLOC_CONF", 'write for example "expandable_segments:True"')
        found: dict[str, Any] = {}
        at = 0
        while at < len(text.rstrip()):
            match = _SETTING.match(text, at)
            if match is None:
                raise ValueError(f"{shown(text[at:])} is not a setting of the allocator, expected name:value")
            name, value = match[1], match[2]
            at = match.end()
            if name in _READERS:
                field, read = _READERS[name]
                try:
                    found[field] = read(value)
                except ValueError as error:
                    raise ValueError(f"{name} is {shown(value)}, expected {error}") from None
            elif name == "backend":
                if value != "native":
                    raise ValueError(f"backend is {shown(value)}, expected native; no other allocator is modelled")
            elif _IGNORED.fullmatch(name) is None:
                raise ValueError(
                    f"{shown(name)} is not a setting of the allocator, expected one of {', '.join(_READERS)}"
                )
        return cls(**found)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> AllocatorSettings:
        """Return the settings that the environment variables of PyTorch select.

        The variables are ``PYTORCH_ALLOC_CONF``, ``PYTORCH_CUDA_ALLOC_CONF`` and ``PYTORCH_HIP_ALLOC_CONF``, in this
        order. The first one that is set and not empty is read.

        Parameters
        ----------
        environment : mapping of str to str, optional
            The environment variables. If left out, ``os.environ``. If none of the three is set, the result has
            PyTorch's defaults.

        Raises
        ------
        TypeError, ValueError
            As for :meth:`parse`.
        """
        given = os.environ if environment is None else environment
        return cls.parse(next((given[name] for name in VARIABLES if given.get(name)), ""))

    @classmethod
    def from_snapshot(cls, recorded: Mapping[str, Any] | None) -> AllocatorSettings:
        """Return the settings in the entry ``"allocator_settings"`` of a memory snapshot; PyTorch's defaults for None.

        Raises
        ------
        ValueError
            If ``recorded`` is not a mapping, or if a value has the wrong type or is not valid.
        """
        if recorded is None:
            return cls()
        if not isinstance(recorded, Mapping):
            raise ValueError(f"the settings are {shown(recorded)}, expected a dictionary")
        texts = [_of_type(recorded.get(name) or "", str, name) for name in VARIABLES]
        found = dict(vars(cls.parse(next(filter(None, texts), ""))))
        # the fields are the settings in force, which a program may have changed after its start
        if (expandable := recorded.get("expandable_segments")) is not None:
            found["expandable_segments"] = _of_type(expandable, bool, "expandable_segments")
        if (limit := recorded.get("max_split_size")) is not None:
            found["max_split_size"] = limit if _of_type(limit, int, "max_split_size") > 0 else None
        if (threshold := recorded.get("garbage_collection_threshold")) is not None:
            found["garbage_collection_threshold"] = _of_type(threshold, (int, float), "garbage_collection_threshold")
        divisions = _of_type(recorded.get("roundup_power2_divisions") or {}, dict, "roundup_power2_divisions")
        if divisions:
            found["roundup_power2_divisions"] = tuple(
                _of_type(divisions.get(str(1 << i), 0), int, "roundup_power2_divisions") for i in range(INTERVALS)
            )
        return cls(**found)

    def rounded(self, size: int) -> int:
        """Return the bytes of the smallest block that serves a request of ``size`` bytes.

        Examples
        --------
        >>> AllocatorSettings().rounded(1), AllocatorSettings().rounded(513)
        (512, 1024)
        >>> AllocatorSettings.parse("roundup_power2_divisions:4").rounded(9 << 20) >> 20
        10
        """
        if size <= self.block:
            return self.block
        divisions = self.roundup_power2_divisions[min(max(size.bit_length() - 21, 0), INTERVALS - 1)]
        if divisions > 1 and size > self.block * divisions:
            power = 1 << (size.bit_length() - 1)
            part = max(power // divisions, 1)
            return -(-size // part) * part
        return -(-size // self.block) * self.block

    def segment_size(self, block: int) -> int:
        """Return the bytes of the segment that the allocator reserves for a block of ``block`` bytes."""
        if block <= SMALL:
            return SMALL_SEGMENT
        if block < OWN_SEGMENT:
            return self.large_segment_size
        return -(-block // SMALL_SEGMENT) * SMALL_SEGMENT

    def page_size(self, small: bool) -> int:
        """Return the bytes of one page of an expandable segment. Memory is mapped to the segment in pages.

        ``small`` says whether the segment serves requests of up to 1 MiB.
        """
        return SMALL_SEGMENT if small else self.large_segment_size


# how messages name the types of settings in a snapshot
_KINDS = {bool: "True or False", int: "an integer", float: "a number", str: "a string", dict: "a dictionary"}


def _of_type(value: Any, kind: type | tuple[type, ...], name: str) -> Any:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        expected = " or ".join(_KINDS[each] for each in (kind if isinstance(kind, tuple) else (kind,)))
        raise ValueError(f"{name} is {shown(value)}, expected {expected}; record the snapshot again")
    return value


def _flag(text: str) -> bool:
    if text not in ("True", "False"):
        raise ValueError("True or False")
    return text == "True"


def _mebibytes(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or len(text) > 12:
        raise ValueError("a number of MiB")
    return int(text) * MIB


def _share(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError("a number from 0 to 1") from None


def _threshold(text: str) -> float:
    if not 0 < (threshold := _share(text)) < 1:  # PyTorch's default, 0, cannot be written as a setting
        raise ValueError("more than 0 and less than 1")
    return threshold


def _divisions(text: str) -> tuple[int, ...]:
    """Return the divisions of all intervals, from one number or from a list such as ``[256:1,512:2,>:8]``."""
    wrong = ValueError("a power of two, or a list such as [256:1,512:2,>:8]")
    if not text.startswith("["):
        if not (text.isascii() and text.isdecimal()) or len(text) > 9 or not int(text):
            raise wrong
        return (int(text),) * INTERVALS
    divisions = [0] * INTERVALS
    last, first = 0, True
    for item in text[1:-1].split(","):
        match = re.fullmatch(r"\s*(>|[0-9]{1,9})\s*:\s*([0-9]{1,9})\s*", item)
        if match is None:
            raise wrong
        count = int(match[2])
        if match[1] == ">":
            divisions[last + 1 :] = [count] * (INTERVALS - last - 1)
            continue
        start = int(match[1])
        if not start or start & (start - 1):
            raise wrong
        last = min(start.bit_length() - 1, INTERVALS - 1)
        if first:
            divisions[:last] = [count] * last
        divisions[last], first = count, False
    return tuple(divisions)


_READERS = {
    "expandable_segments": ("expandable_segments", _flag),
    "max_split_size_mb": ("max_split_size", _mebibytes),
    "max_non_split_rounding_mb": ("max_non_split_rounding", _mebibytes),
    "garbage_collection_threshold": ("garbage_collection_threshold", _threshold),
    "roundup_power2_divisions": ("roundup_power2_divisions", _divisions),
    "large_segment_size_mb": ("large_segment_size", _mebibytes),
    "per_process_memory_fraction": ("memory_fraction", _share),
}
