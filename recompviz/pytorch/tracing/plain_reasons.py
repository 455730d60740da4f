"""Reports of PyTorch's compiler front end (Dynamo) in plain words: what it cannot capture, where, and what to do.

Dynamo reports a few lines about itself and a stack of calls. A user needs one sentence about a line of the user's own
code.
"""

from __future__ import annotations

import re
import traceback
from dataclasses import dataclass

from recompviz.core.graphs.operator_names import public_name
from recompviz.pytorch.internals.node_origin import is_pytorch_file
from recompviz.pytorch.internals.user_lines import in_packages, is_own, source_line

_FRAME = re.compile(r'^\s*File "(?P<file>[^"]+)", line (?P<line>\d+), in (?P<name>\S+)', re.MULTILINE)


@dataclass(frozen=True)
class Reason:
    """What Dynamo cannot capture (``what``), and what to write instead (``instead``), as texts; frozen."""

    what: str
    instead: str


_FUNCTIONS = {"index": "indexing", "unique2": "unique()", "nonzero": "nonzero()", "ctc_loss": "ctc_loss()"}

_BRANCH = "use torch.where(condition, a, b) in place of the branch"
_NUMBER = "compute with tensors in place of the number"
_SIZE = "multiply by the mask, or use torch.where, in place of selecting"
_OUTSIDE = "move it out of forward()"
_IN_TORCH = "{name}() is called, which cannot be a part of a graph"
_NO_LOSS = "trace another loss in its place, such as loss=lambda y, *_: y.sum(); then its own bytes are not counted"

# in Dynamo's report → the reason; the first one that is found counts
_REASONS: tuple[tuple[re.Pattern[str], Reason], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), Reason(what, instead))
    for pattern, what, instead in (
        (r"random_value_\d+: graph input", "a random number of Python decides what runs", _OUTSIDE),
        (r"data-dependent branching|dynamic control flow",
         "a branch or a loop depends on the value of a tensor", _BRANCH),
        (r"data-dependent expression|data-dependent assertion|torch\._check|unbacked|tolist\(\) with",
         "a number that is read from a tensor decides what runs, or a size", _NUMBER),
        (r"the result of (?P<name>\S+) depends on data",
         "how many values {name} selects depends on a tensor, so their bytes are not known before the step", _SIZE),
        (r"Operator `(?P<name>[\w.]+)`'s output shape depends on input Tensor data",
         "how many values {name} returns depends on a tensor, so their bytes are not known before the step", _NO_LOSS),
        (r"builtin operator `print`", "print() is called", _OUTSIDE),
        (r"builtin operator `(?P<name>\w+)` with argument types \[(?=[^\]]*Tensor)",
         "{name}() reads a tensor", _NUMBER),
        (r"StringFormat", "a text with the value of a tensor is compared", _OUTSIDE),
        (r"builtin operator `(?P<name>\w+)`", "{name}() is called", _OUTSIDE),
        (r"trace the builtin `(?:<unknown module>\.)?(?P<name>[\w.]+?)\.?`",
         "{name}, which is not a part of PyTorch, is called", _OUTSIDE),
        (r"ndarray attribute access|trace .*numpy|`ndarray",
         "code of another library reads a tensor as an array", _OUTSIDE),
        (r"(?:trace|method) method `(?P<name>\w+)` of class `(?P<kind>\w+)`",
         "the method {name}() of {kind} cannot be captured", _OUTSIDE),
    )
)  # fmt: skip


def plain_reason(report: str) -> Reason | None:
    """Return a report of Dynamo in plain words; None for a report that this module does not know.

    Examples
    --------
    >>> plain_reason("Data-dependent branching\\n  Explanation: Detected data-dependent branching").what
    'a branch or a loop depends on the value of a tensor'
    >>> plain_reason("Dynamo does not know how to trace builtin operator `open` with argument types ['str']").what
    'open() is called'
    """
    for pattern, reason in _REASONS:
        if (found := pattern.search(report)) is not None:
            names = found.groupdict()
            name = names.get("name") or ""
            if name.startswith("aten."):
                names["name"] = _FUNCTIONS.get(public_name(name), public_name(name))
            what = _IN_TORCH if name.startswith("torch.") else reason.what
            return Reason(what.format(**names), reason.instead)
    return None


def user_line(report: str) -> str:
    """Return the user's innermost line in a report of Dynamo, with the text of the line; empty if there is none.

    If the report has no line of the user, return the innermost line of a package other than PyTorch and recompviz.
    """
    frames = [(found["file"], int(found["line"]), found["name"]) for found in _FRAME.finditer(report)]
    return frame_text(frames)


def line_of(error: BaseException) -> str:
    """Return the user's innermost line in the traceback of an error, with the text of the line; empty if there is none.

    If the traceback has no line of the user, return a line of another package, as :func:`user_line` does.
    """
    return frame_text([(f.filename, f.lineno or 0, f.name) for f in traceback.extract_tb(error.__traceback__)])


def frame_text(frames: list[tuple[str, int, str]]) -> str:
    """Return the text of the user's innermost frame, ``File "model.py", line 7, in forward: if h.sum() > 0:``.

    If no frame is the user's, return the text of a frame of another package, as :func:`user_line` does. Return an empty
    text if there is none.

    Parameters
    ----------
    frames : list of (str, int, str)
        The file, the line number and the function of each frame, the innermost last.
    """
    others = [frame for frame in frames if not is_pytorch_file(frame[0]) and is_own(frame[0])]
    own = [frame for frame in others if not in_packages(frame[0])]
    if not own and not others:
        return ""
    file, number, name = (own or others)[-1]
    line = source_line(file, number, name)
    place = f"{line.cell}, line {number}" if line.cell else f'File "{file}", line {number}'
    return f"{place}, in {name}{f': {line.text}' if line.text else ''}"


def is_in(report: str, function: object) -> bool:
    """Return whether the user's innermost line in a report lies in a function. True if no line is the user's."""
    frames = [found for found in _FRAME.finditer(report) if is_own(found["file"]) and not in_packages(found["file"])]
    code = getattr(function, "__code__", None)
    return not frames or (
        code is not None and frames[-1]["file"] == code.co_filename and frames[-1]["name"] == code.co_name
    )
