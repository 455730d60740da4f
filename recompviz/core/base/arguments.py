"""Checks of the arguments of public functions.

An error names the argument, its value, what was expected and the next step.
"""

from __future__ import annotations

from typing import Any

from recompviz.core.base.shortened_text import shortened

# Longer values are shown by their type.
_LONGEST = 40


def shown(value: Any) -> str:
    """Return a value as short text for an error message.

    The text is the repr of an int, float, str, bytes, bool or None, if the repr has at most 40 characters. A class is
    given by its name. Any other value is given by its type.

    Examples
    --------
    >>> shown("10 GX"), shown(None), shown(int), shown([1] * 100), shown(print)
    ("'10 GX'", 'None', 'the class int', 'a list', 'a builtin_function_or_method')
    """
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if value is None or isinstance(value, (bool, int, float, str, bytes)):
        text = repr(value)
        if len(text) <= _LONGEST:
            return text
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


def named(value: Any, most: int = 60) -> str:
    """Return the repr of a value, such as the name of a node, shortened to ``most`` characters.

    If the repr raises an error, the text names the type of the value instead.

    Examples
    --------
    >>> named("layer1"), named("x" * 100, most=10)
    ("'layer1'", "'xxxxxxxx…")
    """
    try:
        return shortened(repr(value), most)
    except Exception:  # the user's own __repr__ may raise anything
        return f"an object of type {type(value).__name__}"


def expect(value: Any, kind: type | tuple[type, ...], name: str, expected: str, then: str = "") -> None:
    """Raise TypeError unless ``value`` is an instance of ``kind``.

    Parameters
    ----------
    value : object
    kind : type or tuple of types
    name : str
        The name of the argument.
    expected : str
        What the value should be, in the words of the error message.
    then : str
        What the user should do next, in the words of the error message; empty to leave it out.

    Examples
    --------
    >>> expect(5, str, "name", "a str", "write it in quotes")
    Traceback (most recent call last):
    TypeError: name is 5, expected a str; write it in quotes
    """
    if not isinstance(value, kind):
        raise TypeError(f"{name} is {shown(value)}, expected {expected}" + (f"; {then}" if then else ""))


def expect_number(value: Any, kind: type, name: str, expected: str) -> None:
    """Raise TypeError unless a value is a number of a given kind. A bool does not count as a number.

    Parameters
    ----------
    value : object
    kind : type
        ``numbers.Real`` or ``numbers.Integral``.
    name, expected : str
        The name of the argument, and what the value should be, for the error message.

    Examples
    --------
    >>> from numbers import Integral
    >>> expect_number(True, Integral, "block", "a whole number of bytes")
    Traceback (most recent call last):
    TypeError: block is True, expected a whole number of bytes
    """
    if isinstance(value, bool) or not isinstance(value, kind):
        raise TypeError(f"{name} is {shown(value)}, expected {expected}")


def expect_flag(value: Any, name: str) -> None:
    """Raise TypeError unless a value is True or False. ``name`` is the name of the argument in the message."""
    expect(value, bool, name, "True or False")
