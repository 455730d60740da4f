"""Shorten a text to a maximum length, so that it ends after a whole word where possible."""

from __future__ import annotations

# a word at the end that takes more than this share of the length is cut: a path or a long number has no spaces
LONGEST_WORD = 0.4


def shortened(text: str, most: int) -> str:
    """Return the text if it has at most ``most`` characters, otherwise its beginning and ``…``.

    The result has at most ``most`` characters, ``…`` included. The beginning ends after a whole word if it then has at
    least 60 % of ``most`` characters, otherwise within a word.

    Examples
    --------
    >>> shortened("If you were attempting a copy", 18), shortened("short", 20), shortened("x" * 30, 10)
    ('If you were…', 'short', 'xxxxxxxxx…')
    """
    if len(text) <= most:
        return text
    head = text[: most - 1]
    if not text[most - 1].isspace():
        at_word = head[: max(head.rfind(mark) for mark in (" ", "\n", "\t")) + 1].rstrip()
        head = at_word if len(at_word) >= (1 - LONGEST_WORD) * most else head
    return head.rstrip(" \n\t,;:") + "…"
