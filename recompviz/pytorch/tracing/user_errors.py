"""Find the exception of the user's own code, or the ``MemoryError``, inside an error that a capture raises.

While PyTorch captures a step, it wraps each exception in errors of its own. If the captured code itself raises an
exception, Dynamo reports only the type of the exception.
"""

from __future__ import annotations

import traceback
from typing import Any

import torch

from recompviz.core.base.errors import RecompvizError
from recompviz.pytorch.internals.aot import EndOfCapture
from recompviz.pytorch.internals.export import result_on_shapes
from recompviz.pytorch.internals.node_origin import is_pytorch_file

# in Dynamo's report of an exception that the captured code raises, and of a call with wrong arguments
_OBSERVED, _UNBOUND = "Observed exception", "failed to bind arguments"


def must_come_through(error: BaseException | None) -> BaseException | None:
    """Return the first exception among an error and its causes that must be raised unchanged; None if there is none.

    These are ``MemoryError``, and exceptions whose type is neither built in nor defined by PyTorch or recompviz.

    Examples
    --------
    >>> class OfUser(Exception):
    ...     pass
    >>> wrapped = RuntimeError()
    >>> wrapped.__cause__ = OfUser("no data")
    >>> must_come_through(wrapped), must_come_through(RuntimeError())
    (OfUser('no data'), None)
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        package = type(error).__module__.partition(".")[0]
        if isinstance(error, MemoryError):
            return error
        if package not in ("builtins", "torch") and not isinstance(error, RecompvizError | EndOfCapture):
            return error
        error = getattr(error, "inner_exception", None) or error.__cause__ or error.__context__
    return None


def raise_if_it_must_come_through(error: BaseException) -> None:
    """Raise the exception that :func:`must_come_through` finds in an error, if there is one."""
    if (own := must_come_through(error)) is not None:
        raise own from None


def raised_by_user(error: Exception, step: torch.nn.Module, arguments: tuple[Any, ...]) -> BaseException | None:
    """Return the exception that the user's code raised while a step was captured; None if no such exception is found.

    Sometimes Dynamo's error only says that the captured code raises an exception, or calls a function with wrong
    arguments. The step then runs on tensors without memory, so that the same exception is raised again.
    """
    if (found := must_come_through(error)) is not None:
        return found
    unbound = _UNBOUND in str(error)
    if not unbound and _OBSERVED not in str(error):
        return None
    try:
        result_on_shapes(step, arguments)
    except BaseException as raised:  # an interrupt, too, if the user's code raises one
        frames = traceback.extract_tb(raised.__traceback__)
        if must_come_through(raised) is raised or not is_pytorch_file(frames[-1].filename):
            return raised
        # such as the AttributeError of torch.nn.Module for a name that it lacks
        if f"raised exception {type(raised).__name__}(" in str(error) or (unbound and isinstance(raised, TypeError)):
            return raised
    return None
