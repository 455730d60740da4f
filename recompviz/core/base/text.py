"""A text cut to a length, at a word: half a word reads like another one."""

from __future__ import annotations

# a word of more than this share of the room is cut, as a path or a long number has no place to cut at
LONGEST_WORD = 0.4


def shortened(text: str, most: int) -> str:
    """The text in at most so many characters, ending in ``…`` where it was cut.

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
