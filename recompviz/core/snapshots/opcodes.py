"""Check the opcodes of a pickle before it is unpickled.

A snapshot of PyTorch's allocator needs dictionaries, lists, flat tuples, strings and numbers. A pickle with other
opcodes can execute code. Even a short pickle can make the interpreter allocate gigabytes, or run for minutes without
checking for an interrupt. This module accepts only opcodes of plain data. In addition, a number of a memo slot must be
at most the length of the file, a tuple may contain only numbers and short strings, and sets are refused. Unpickling
then takes memory and time in proportion to the length of the file.

A snapshot has millions of opcodes. Therefore one regular expression matches long sequences of opcodes.
"""

from __future__ import annotations

import pickletools
import re
from typing import NamedTuple

# of more than 9 bytes; a snapshot needs none, and many of them as keys of a dictionary could collide
MOST_LONG_NUMBERS = 1000
# opcodes in one match; between two matches, and within one, an interrupt is noticed
_RUN = 100_000

# bytes after the opcodes that have a fixed number of them
_FIXED = dict.fromkeys(b"N\x88\x89](}\x94aesu)t\x85\x86\x87", 0) | {
    **dict.fromkeys(b"Khq\x80", 1), ord("M"): 2, **dict.fromkeys(b"Jjr", 4), **dict.fromkeys(b"G\x95", 8)
}  # fmt: skip
# bytes of the length of the opcodes that begin with it: numbers and strings
_WITH_LENGTH = {0x8A: 1, 0x8B: 4, 0x8C: 1, ord("X"): 4, 0x8D: 8}
_LONG = b"\x8a\x8b"
_TUPLES = b"t\x85\x86\x87"
_NAMES = {opcode.code: opcode.name for opcode in pickletools.opcodes}


class Opcodes(NamedTuple):
    """The result of checking the opcodes of a pickle.

    Attributes
    ----------
    end : int
        The position up to which the unpickler may read the file. It is the length of the file if the file ends in the
        middle of an opcode, or if an opcode refers to a class or function.
    fault : str
        What is wrong with the opcode at position ``end``; empty if there is no fault.
    name : str
        The name of the opcode at position ``end``, as in :mod:`pickletools`; empty if there is no fault.
    """

    end: int
    fault: str = ""
    name: str = ""


def check_opcodes(data: bytes) -> Opcodes:
    """Find the part of a pickle that may be unpickled.

    The part ends before the first opcode that is not accepted. If all opcodes are accepted, the part is the whole
    pickle. If an opcode refers to a class or function, the part is the whole file, and the unpickler must raise an
    error at this opcode.

    Examples
    --------
    >>> import pickle
    >>> check_opcodes(pickle.dumps([1, "a", (2, 3)])).fault
    ''
    >>> check_opcodes(pickle.dumps({1, 2}))
    Opcodes(end=11, fault='a snapshot has no such data', name='EMPTY_SET')
    """
    run = _pattern(len(data))
    at = long_numbers = 0
    while at < len(data):
        matched = run.match(data, at)
        assert matched is not None  # it matches no opcode too
        if matched.end() > at:
            at = matched.end()
            continue
        opcode = data[at]
        if opcode == ord("."):
            return Opcodes(at + 1)
        if opcode in b"c\x93":
            return Opcodes(len(data))
        if opcode in _FIXED:
            if at + 1 + _FIXED[opcode] > len(data):
                return Opcodes(len(data))
            if opcode in _TUPLES:
                return Opcodes(at, "a tuple of a snapshot has up to 16 numbers or short strings", _name(opcode))
            if opcode == ord("r"):
                return Opcodes(at, "its number is larger than the file", _name(opcode))
            return Opcodes(at, "its argument is not one that pickle writes", _name(opcode))
        if opcode not in _WITH_LENGTH:
            return Opcodes(at, "a snapshot has no such data", _name(opcode))
        if opcode in _LONG:
            long_numbers += 1
            if long_numbers > MOST_LONG_NUMBERS:
                return Opcodes(at, f"more than {MOST_LONG_NUMBERS:,} numbers have 10 bytes or more", _name(opcode))
        digits = _WITH_LENGTH[opcode]
        at += 1 + digits + int.from_bytes(data[at + 1 : at + 1 + digits], "little")
    return Opcodes(len(data))


def _pattern(size: int) -> re.Pattern[bytes]:
    """Return a pattern for up to ``_RUN`` accepted opcodes of a file of ``size`` bytes."""
    # the unpickler allocates all slots of the memo below the largest
    slot = rb"..%b\x00" % _up_to(size >> 16) if size < 1 << 24 else rb"...%b" % _up_to(size >> 24)
    number = rb"[N\x88\x89]|K.|M..|J.{4}|G.{8}|\x8a(?:%b)" % _counted(10)
    text = rb"\x8c(?:%b)" % _counted(256)
    remember = rb"\x94|q.|r%b" % slot
    flat = rb"(?>%b|(?>%b)(?:%b)?)" % (number, text, remember)
    one = (
        # a number or a text may be the first item of a tuple
        rb"h.|%b{3}\x87|%b{2}\x86|%b\x85|\(%b{0,16}t" % (flat, flat, flat, flat),
        rb"%b|%b|%b|[aesu(\])}]|j.{4}|\x95.{8}|\x80[\x02-\x05]" % (number, remember, text),
    )
    return re.compile(rb"(?:(?>%b)){0,%d}+" % (b"|".join(one), _RUN), re.DOTALL)


def _up_to(byte: int) -> bytes:
    return rb"[\x00-%b]" % re.escape(bytes([min(byte, 255)]))


def _counted(end: int) -> bytes:
    """Return a pattern for a byte n below ``end``, followed by n bytes."""
    return b"|".join(rb"%b.{%d}" % (re.escape(bytes([n])), n) for n in range(end))


def _name(opcode: int) -> str:
    return _NAMES.get(chr(opcode), f"0x{opcode:02x}")
