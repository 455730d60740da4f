"""Parse and format sizes in bytes, and format costs.

A size is a number of bytes or a string with a unit. Binary units (KiB, MiB, GiB, TiB) are powers of 1024, decimal
units (kB, MB, GB, TB) are powers of 1000.
"""

from __future__ import annotations

import re

_FACTORS: dict[str, int] = {"": 1, "b": 1, "byte": 1, "bytes": 1} | {
    prefix + suffix: int(base**power)
    for power, prefix in enumerate("kmgt", start=1)
    for suffix, base in (("b", 1000), ("ib", 1024))
}
_PATTERN = re.compile(r"\s*([0-9][0-9_]*(?:\.[0-9]+)?(?:e[0-9]+)?)\s*([a-z]*)\s*", re.IGNORECASE)


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
        The size, rounded to whole bytes.

    Raises
    ------
    ValueError
        If a string is not a size, or a number is negative or not finite.

    Examples
    --------
    >>> parse_bytes("1.5 GiB"), parse_bytes("2 GB"), parse_bytes(7)
    (1610612736, 2000000000, 7)
    """
    if isinstance(budget, str):
        match = _PATTERN.fullmatch(budget)
        if match is None or match[2].lower() not in _FACTORS:
            raise ValueError(f'{budget!r} is not a size; write for example "10 GiB", "800 MB" or an int')
        return round(float(match[1]) * _FACTORS[match[2].lower()])
    number = float(budget)
    if not 0 <= number < float("inf"):
        raise ValueError(f"{budget!r} is not a size; expected a finite number of bytes, 0 or more")
    # an int is returned unchanged: a float cannot represent every number of bytes
    return int(budget) if isinstance(budget, int) else int(number + 0.5)


def format_bytes(count: float) -> str:
    """Return a number of bytes as text: a binary unit and three significant figures.

    Numbers below 1024 are rounded to whole bytes.

    Examples
    --------
    >>> format_bytes(1_610_612_736), format_bytes(512), format_bytes(-4096)
    ('1.50 GiB', '512 B', '-4.00 KiB')
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
    return f"{sign}{size:.{digits}f} {unit}"


def format_cost(cost: float) -> str:
    """Return a cost as text, without a unit: all digits of a whole number, three significant figures otherwise.

    Examples
    --------
    >>> format_cost(1234.0), format_cost(0.0123456)
    ('1234', '0.0123')
    """
    return f"{cost:.0f}" if float(cost).is_integer() else f"{cost:.3g}"
