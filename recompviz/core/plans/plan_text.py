"""Read the JSON text of a plan without trusting it.

Any fault of the text raises :class:`PlanMismatch`. The error names the wrong key, its value and what was expected.
A text that is much longer than the text of a plan for the graph is not read, so that time and memory are bounded.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from recompviz import __version__
from recompviz.core.base.arguments import shown
from recompviz.core.base.errors import PlanMismatch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

# the layout of the text of a plan; a new number for every change that an older version cannot read
FORMAT = "recompviz plan 1"

LONGEST_KIND = 1000
# characters of a text: for keys and other text, and for each node (its digit in "keep", its number in "segment")
_LEAST_LIMIT, _LIMIT_PER_NODE = 1 << 16, 64
_WRITE = "write one with plan.to_json()"


@dataclass(frozen=True, eq=False)
class PlanText:
    """The checked content of the text of a plan.

    Attributes
    ----------
    kind : str
        The method that made the plan; see :class:`Plan`.
    keep_mask : numpy.ndarray of bool, shape (#V,)
        For each node, whether its value is kept for the backward pass.
    segment : numpy.ndarray of int32, shape (#V,)
        For each node, the number of its segment, from 1 to k without gaps. Whether the segments belong to a sequence of
        lower sets is not checked.
    """

    kind: str
    keep_mask: NDArray[np.bool_]
    segment: NDArray[np.int32]


def longest_text(nodes: int) -> int:
    """Return the largest number of characters that the text of a plan of ``nodes`` nodes may have."""
    return _LEAST_LIMIT + _LIMIT_PER_NODE * nodes


def read_plan_text(text: str, fingerprint: str, nodes: int) -> PlanText:
    """Read the text of a plan for a graph.

    Parameters
    ----------
    text : str
        JSON text, as :meth:`Plan.to_json` writes it.
    fingerprint : str
        The fingerprint of the graph.
    nodes : int
        The number of nodes of the graph.

    Raises
    ------
    PlanMismatch
        If the text is not a plan for the graph.

    Examples
    --------
    >>> read_plan_text('{"format": "recompviz plan 1", "fingerprint": "0a", "kind": 5}', "0a", 3)
    Traceback (most recent call last):
    recompviz.core.base.errors.PlanMismatch: the plan has kind = 5, expected a text of 1 to 1,000 characters; ...
    """
    data = _parsed(text, nodes)
    version = data.get("version")
    if data.get("format") != FORMAT:
        _wrong(data, "format", repr(FORMAT), f"{_written_by(version)}; write it again here")
    found = data.get("fingerprint")
    if found != fingerprint:
        if not isinstance(found, str):
            _wrong(data, "fingerprint", "the fingerprint of a graph")
        raise PlanMismatch(
            f"the plan was made for graph {ascii(found[:12])[1:-1]}…, this is {fingerprint[:12]}…"
            f"{_written_by(version)}; another model, shape, dtype or version of PyTorch: plan again for this trace",
            "fingerprint",
            fingerprint,
        )
    kind, keep, segment = data.get("kind"), data.get("keep"), data.get("segment")
    if not isinstance(kind, str) or not 0 < len(kind) <= LONGEST_KIND or not _is_unicode(kind):
        _wrong(data, "kind", f"a text of 1 to {LONGEST_KIND:,} characters")
    if not isinstance(keep, str) or len(keep) != nodes or set(keep) - {"0", "1"}:
        _wrong(data, "keep", f"a text of {nodes:,} digits 0 or 1, one for each node")
    return PlanText(kind, np.array([digit == "1" for digit in keep], np.bool_), _segment(data, segment, nodes))


def _parsed(text: str, nodes: int) -> dict[str, Any]:
    """Return the keys and values of a text."""
    if not isinstance(text, str):
        raise PlanMismatch(f"the text is {shown(text)}, expected a str; {_WRITE}")
    if len(text) > longest_text(nodes):
        raise PlanMismatch(
            f"the text has {len(text):,} characters, expected at most {longest_text(nodes):,} for a graph of {nodes:,} "
            f"nodes; {_WRITE}"
        )
    try:
        data = json.loads(text, object_pairs_hook=_without_repetition, parse_constant=_no_number)
    except PlanMismatch:
        raise
    except (ValueError, RecursionError) as error:
        why = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise PlanMismatch(f"the text is not a recompviz plan: it is not JSON: {why}; {_WRITE}") from error
    if not isinstance(data, dict):
        raise PlanMismatch(f"the text is not a recompviz plan: it is {shown(data)}, expected a JSON object; {_WRITE}")
    return data


def _segment(data: dict[str, Any], segment: Any, nodes: int) -> NDArray[np.int32]:
    expected = f"a list of {nodes:,} whole numbers, one for each node, from 1 up without gaps"
    valid = isinstance(segment, list) and len(segment) == nodes
    if not valid or not all(type(i) is int and 1 <= i <= nodes for i in segment):
        wrong = next((i for i in segment if type(i) is not int or not 1 <= i <= nodes), None) if valid else None
        _wrong(data, "segment", expected, "" if wrong is None else f", found {shown(wrong)} in it")
    numbers = np.array(segment, np.int32)
    used = np.unique(numbers)
    if not np.array_equal(used, np.arange(1, len(used) + 1)):
        _wrong(data, "segment", expected, f", {int(used[-1])} is its largest of {len(used)} different numbers")
    return numbers


def _without_repetition(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) != len(pairs):
        key = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise PlanMismatch(
            f"the plan has the key {shown(key)} twice, expected each key once; {_WRITE}", key, "each key once"
        )
    return data


def _no_number(name: str) -> NoReturn:
    raise PlanMismatch(f"the plan has {name}, expected whole numbers; {_WRITE}", "", "whole numbers")


def _wrong(data: dict[str, Any], key: str, expected: str, more: str = "") -> NoReturn:
    found = f"{key} = {shown(data[key])}" if key in data else f"no {key}"
    if isinstance(data.get(key), (str, list)):
        found += f" (length {len(data[key]):,})"
    raise PlanMismatch(
        f"the plan has {found}, expected {expected}{more or f'; the text was edited, {_WRITE}'}", key, expected
    )


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _written_by(version: object) -> str:
    """Return a clause for an error message: which version of recompviz wrote a plan; empty for the current version."""
    if version == __version__:
        return ""
    other = "an older version of recompviz" if version is None else f"recompviz {str(version)[:40]}"
    return f"; {other} wrote the text, this is recompviz {__version__}"
