"""Parse and format sizes in bytes, and format costs.

A size is a number of bytes or a string with a unit. Binary units (KiB, MiB, GiB, TiB) are powers of 1024, decimal
units (kB, MB, GB, TB) are powers of 1000.
"""

from __future__ import annotations

import math
import re
from numbers import Integral, Real

from recompviz.core.base.arguments import shown

_FACTORS: dict[str, int] = {"": 1, "b": 1, "byte": 1, "bytes": 1} | {
    prefix + suffix: int(base**power)
    for power, prefix in enumerate("kmgt", start=1)
    for suffix, base in (("b", 1000), ("ib", 1024))
}
_MOST = 2**63 - 1
_EXAMPLE = 'for example "10 GiB"'
_PATTERN = re.compile(r"\s*([0-9]+(?:_[0-9]+)*(?:\.[0-9]+)?(?:e[0-9]+)?)\s*([a-z]*)\s*", re.IGNORECASE)


def parse_bytes(budget: int | float | str) -> int:
    """Return a size in bytes from a number or from a string such as ``"10 GiB"``.

    Parameters
    ----------
    budget : int, float or str
        A number of bytes, or a string of a number and a unit: B, kB, MB, GB, TB, KiB, MiB, GiB or TiB, in upper or
        lower case. A string without a unit is a number of bytes.

    Returns
    -------
    int
        The size, rounded to whole bytes. A larger size than 2⁶³ − 1 gives 2⁶³ − 1, which is more than any memory.

    Raises
    ------
    TypeError
        If ``budget`` is neither a number nor a string. True and False do not count as numbers.
    ValueError
        If a string is not a size, or if the size is negative, not finite, or more than 0 but less than 1 byte.

    Examples
    --------
    >>> parse_bytes("1.5 GiB"), parse_bytes("2 GB"), parse_bytes(7)
    (1610612736, 2000000000, 7)
    """
    if isinstance(budget, str):
        match = _PATTERN.fullmatch(budget)
        size = float(match[1]) * _FACTORS.get(match[2].lower(), math.nan) if match is not None else math.nan
        if not math.isfinite(size):
            raise ValueError(f'{shown(budget)} is not a size; write for example "10 GiB", "800 MB" or an int')
        if 0 < size < 1:
            raise ValueError(f"{budget!r} is not a size; expected at least 1 byte, {_EXAMPLE}")
        return min(round(size), _MOST)
    if isinstance(budget, bool) or not isinstance(budget, Real):
        raise TypeError(f"{shown(budget)} is not a size; expected a number of bytes or a string, {_EXAMPLE}")
    # a float cannot represent every number of bytes, and some ints are too large for a float
    number = int(budget) if isinstance(budget, Integral) else float(budget)
    if not 0 <= number < math.inf:
        raise ValueError(f"{shown(budget)} is not a size; expected a finite number of bytes, 0 or more, {_EXAMPLE}")
    if 0 < number < 1:
        raise ValueError(f"{budget!r} is not a size; expected whole bytes, not a share, {_EXAMPLE}")
    return min(number if isinstance(number, int) else int(number + 0.5), _MOST)


def parse_total(total: int | float | str, name: str = "total") -> int:
    """Return a budget for the total memory of a training step, in bytes. It must be at least 1 byte.

    Parameters
    ----------
    total : int, float or str
        The budget, as for :func:`parse_bytes`.
    name : str
        The name of the argument, for the error message.

    Raises
    ------
    TypeError, ValueError
        As for :func:`parse_bytes`. Also ValueError if the budget is 0.

    Examples
    --------
    >>> parse_total("2 GB")
    2000000000
    """
    size = parse_bytes(total)
    if size < 1:
        raise ValueError(f"{name} is {total!r}, expected at least 1 byte, {_EXAMPLE}")
    return size


def format_bytes(count: float, *, up: bool = False) -> str:
    """Return a number of bytes as text, with a binary unit and at least three significant figures.

    A number below 1024 is rounded to whole bytes, so it may have fewer figures.

    Parameters
    ----------
    count : float
        Bytes.
    up : bool
        Whether to round away from zero instead of to the nearest number. A budget written as this text is then not
        below ``count``. A number below 1024 is always rounded to the nearest whole number.

    Examples
    --------
    >>> format_bytes(1_610_612_736), format_bytes(512), format_bytes(-4096)
    ('1.50 GiB', '512 B', '-4.00 KiB')
    >>> format_bytes(4097), format_bytes(4097, up=True)
    ('4.00 KiB', '4.01 KiB')
    """
    size = abs(count)
    sign = "-" if count < 0 else ""
    if size < 1024:
        return f"{sign}{size:.0f} B"
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        size /= 1024
        if size < 1023.5 or unit == "TiB":
            break
    digits = 2 if size < 9.995 else 1 if size < 99.95 else 0
    if up:
        size = math.ceil(size * 10**digits) / 10**digits
    return f"{sign}{size:.{digits}f} {unit}"


def format_cost(cost: float) -> str:
    """Return a cost as text, without a unit: all digits of a whole number, otherwise at most three significant figures.

    Examples
    --------
    >>> format_cost(1234.0), format_cost(0.0123456)
    ('1234', '0.0123')
    """
    return f"{cost:.0f}" if float(cost).is_integer() else f"{cost:.3g}"


def format_time(milliseconds: float) -> str:
    """Return a time given in milliseconds as text, with two or three significant figures.

    The unit is ms below one second, and s from one second on. A time of 1,000 s or more is given in whole seconds. A
    time below 0.01 ms gives ``"<0.01 ms"``, and 0 gives ``"0"``.

    Examples
    --------
    >>> format_time(0.25), format_time(12), format_time(4860), format_time(0)
    ('0.25 ms', '12.0 ms', '4.86 s', '0')
    """
    if milliseconds == 0:
        return "0"
    if milliseconds < 0.01:
        return "<0.01 ms"
    if milliseconds < 999.5:
        return f"{milliseconds:#.{2 if milliseconds < 1 else 3}g}".rstrip(".") + " ms"
    seconds = milliseconds / 1000
    return (f"{seconds:.0f}" if seconds >= 999.5 else f"{seconds:#.3g}".rstrip(".")) + " s"
