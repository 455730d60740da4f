"""Error classes of recompviz.

A message gives the invalid value, the expected value and the next step. :class:`InfeasibleBudget` and
:class:`TooManyLowerSets` also have the numbers of their message as attributes.
"""

from __future__ import annotations

from typing import Any

from recompviz.core.base.units import format_bytes


class RecompvizError(Exception):
    """Base class of the errors that recompviz defines, such as :class:`InfeasibleBudget`."""


class GraphError(RecompvizError, ValueError):
    """A graph, or a set of its nodes, is not valid for the operation.

    Examples are a cycle, a missing or negative cost, an unknown node name, and a set that is no lower set
    (:meth:`Graph.is_lower_set`) where one is needed.
    """


class InfeasibleBudget(RecompvizError, ValueError):
    """No plan, or no sequence of computations, fits the budget.

    The parameters are also attributes.

    Parameters
    ----------
    budget : int
        The budget that was asked for, in bytes.
    least : int
        The smallest feasible budget, in bytes, or an estimate of it.
    unit : str
        What the bytes of ``budget`` and ``least`` count. ``"formula"``: the intermediate values and their gradients, as
        in the peak formula of Kusumoto et al. 2019. ``"total"``: the whole training step, with parameters, inputs and
        optimizer state. ``"sequence"``: the values in memory during a sequence of :func:`recompviz.shortest_sequence`.
    estimated : str
        Why ``least`` is an estimate, for the message; empty if ``least`` is exact.
    """

    def __init__(self, budget: int, least: int, unit: str, estimated: str = "") -> None:
        self.budget = budget
        self.least = least
        self.unit = unit
        self.estimated = estimated
        asked, needed = format_bytes(budget), format_bytes(least, up=True)
        if asked == needed:
            asked, needed = f"{budget:,} B", f"{least:,} B"
        wrong = f"is below the least feasible {needed}"
        if estimated:
            wrong = f"does not fit; the least feasible one is estimated as {needed} ({estimated})"
        super().__init__(f"budget {asked} ({unit} bytes) {wrong}; raise the budget, or make the batch smaller")

    def __reduce__(self) -> tuple[type[InfeasibleBudget], tuple[int, int, str, str]]:
        return type(self), (self.budget, self.least, self.unit, self.estimated)


class TooManyLowerSets(RecompvizError):
    """The graph has more lower sets than the limit. A lower set is a set of nodes that no edge enters from outside.

    Parameters
    ----------
    limit : int
        The largest number of lower sets allowed. It is also an attribute.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        super().__init__(
            f"the graph has more than {limit:,} lower sets; "
            'plan on a smaller family (family="prefixes" or "paper") or raise the limit'
        )

    def __reduce__(self) -> tuple[type[TooManyLowerSets], tuple[int]]:
        return type(self), (self.limit,)


class ImpossiblePin(RecompvizError, ValueError):
    """No plan obeys all pins.

    A pin marks a node that every plan must keep, or a node that every plan must recompute.
    """


class PlanMismatch(RecompvizError, ValueError):
    """A plan does not belong to the graph or model that it is used with, or the text of a saved plan is invalid.

    Parameters
    ----------
    message : str
        The text of the error.
    key : str
        The key in the text of a saved plan whose value is wrong; empty if the error is not about one key. It is also an
        attribute.
    expected : str
        What the value should be; empty if the error is not about one value. It is also an attribute.
    """

    def __init__(self, message: str, key: str = "", expected: str = "") -> None:
        super().__init__(message)
        self.key, self.expected = key, expected


class FileError(RecompvizError, OSError):
    """A file cannot be read or written.

    Parameters
    ----------
    path : str
        The path of the file. It is also the attribute ``filename``.
    why : str or Exception
        What is wrong. The error number of an OSError becomes the attribute ``errno``.
    then : str
        What the user should do next.
    reads : bool
        True if reading failed, False if writing failed. The message says so.
    """

    def __init__(self, path: str, why: str | BaseException, then: str, *, reads: bool = False) -> None:
        text = why if isinstance(why, str) else (getattr(why, "strerror", None) or str(why) or type(why).__name__)
        shown = ascii(path)[1:-1] if not path.isprintable() else path
        self._message = f"cannot {'read' if reads else 'write'} {shown}: {text}; {then}"
        super().__init__(getattr(why, "errno", None) or 0, text, path)
        self._arguments = path, text, then, reads

    def __str__(self) -> str:
        return self._message

    def __reduce__(self) -> tuple[Any, ...]:
        path, text, then, reads = self._arguments
        return _file_error, (type(self), self.errno, path, text, then, reads)


class MissingFile(FileError, FileNotFoundError):
    """A file, or the folder in which it should be written, does not exist."""


def _file_error(kind: type[FileError], number: int, path: str, text: str, then: str, reads: bool) -> FileError:
    error = kind(path, text, then, reads=reads)
    error.errno = number
    return error


class Cancelled(RecompvizError):
    """A search or another long operation was stopped before it ended.

    Raise this error in a ``progress`` callback to stop the operation that calls the callback.
    """
