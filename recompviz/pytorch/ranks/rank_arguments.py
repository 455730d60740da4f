"""Checks of the arguments of ``shard_step``, ``replicate_step``, ``rank_kinds`` and ``stage_step``.

A wrong argument would otherwise give a prediction of another run than the one that the user means.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from numbers import Integral, Real
from typing import Any

from recompviz.core.base.arguments import expect_number, named, shown
from recompviz.core.ranks.sharding import ROOT
from recompviz.pytorch.tracing.traced_step import Trace


def fits(name: str, pattern: str) -> bool:
    """Return whether a dotted path fits a pattern, in which ``*`` stands for any text without a dot.

    The parts between the dots are compared by :func:`fnmatch.fnmatchcase`.

    Examples
    --------
    >>> fits("layers.0", "layers.*"), fits("layers.0.norm", "layers.*")
    (True, False)
    """
    parts, wanted = name.split("."), pattern.split(".")
    return len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted))


def expect_count(value: Any, name: str, counted: str, least: int = 1) -> None:
    """Raise TypeError or ValueError unless a value is a whole number that is at least ``least``.

    Examples
    --------
    >>> expect_count(0, "shards", "a number of ranks")
    Traceback (most recent call last):
    ValueError: shards is 0, expected a number of ranks, at least 1; write for example shards=2
    """
    expected = f"{counted}, at least {least}; write for example {name}={max(2, least)}"
    expect_number(value, Integral, name, expected)
    if value < least:
        raise ValueError(f"{name} is {value}, expected {expected}")


def expect_place(value: Any, name: str, count: int, counted: str) -> None:
    """Raise TypeError or ValueError unless a value is a whole number from 0 to ``count`` − 1.

    Examples
    --------
    >>> expect_place(2, "rank", 2, "shards")
    Traceback (most recent call last):
    ValueError: rank 2 is not among 2 shards; write a number from 0 to 1
    """
    expect_number(value, Integral, name, f"a number from 0 to {count - 1}; write {name}=0")
    if not 0 <= value < count:
        raise ValueError(f"{name} {value} is not among {count} {counted}; write a number from 0 to {count - 1}")


def expect_amount(value: Any, name: str, meaning: str, positive: bool = False) -> None:
    """Raise TypeError or ValueError unless a value is a finite number, at least 0, or more than 0 if ``positive``.

    Examples
    --------
    >>> expect_amount(-1, "latency", "a time")
    Traceback (most recent call last):
    ValueError: latency is -1, expected a time, at least 0
    """
    expected = f"{meaning}, {'more than' if positive else 'at least'} 0"
    expect_number(value, Real, name, expected)
    if not math.isfinite(value) or value < 0 or (positive and value == 0):
        raise ValueError(f"{name} is {value}, expected {expected}")


def expect_paths(units: Any) -> list[str]:
    """Return paths or patterns of modules as a list; one str counts as a list of one.

    Raise TypeError for anything but a str or an iterable of str.

    Examples
    --------
    >>> expect_paths("layers.*"), expect_paths(("a", "b"))
    (['layers.*'], ['a', 'b'])
    >>> expect_paths([0])
    Traceback (most recent call last):
    TypeError: units has 0, expected paths of modules; write for example units=["layers.*"]
    """
    given = [units] if isinstance(units, str) else units
    then = 'expected paths of modules; write for example units=["layers.*"]'
    if not isinstance(given, Iterable):
        raise TypeError(f"units is {shown(units)}, {then}")
    paths = list(given)
    for path in paths:
        if not isinstance(path, str):
            raise TypeError(f"units has {shown(path)}, {then}")
    return paths


def expect_reshard(reshard: Any, units: Sequence[str]) -> None:
    """Raise TypeError or ValueError unless ``reshard`` is a bool, or a mapping from paths of units to bools.

    Parameters
    ----------
    reshard : object
    units : sequence of str
        Dotted paths of the units, without the root.

    Examples
    --------
    >>> expect_reshard(2, ["layers.0"])
    Traceback (most recent call last):
    TypeError: reshard is 2, expected True, False or a mapping from paths of units to True or False; a number, ...
    >>> expect_reshard({"layer.0": False}, ["layers.0"])
    Traceback (most recent call last):
    ValueError: reshard has 'layer.0', which fits no unit; write a path or pattern of one of the units: 'layers.0'
    """
    number = "a number, to which fully_shard would reshard, is not predicted yet"
    if isinstance(reshard, bool):
        return
    if not isinstance(reshard, Mapping):
        raise TypeError(
            f"reshard is {shown(reshard)}, expected True, False or a mapping from paths of units to True or False; "
            f"{number}"
        )
    for pattern, value in reshard.items():
        if not isinstance(value, bool):
            raise TypeError(f"reshard of {named(pattern)} is {shown(value)}, expected True or False; {number}")
        if pattern == ROOT and value:
            raise ValueError(
                "reshard of '' (the root) is True, expected False: a root that reshards is not predicted yet; leave it "
                "out, and give the model no reshard_after_forward"
            )
        if pattern != ROOT and not (isinstance(pattern, str) and any(fits(unit, pattern) for unit in units)):
            known = ", ".join(map(repr, units[:5])) + (", …" if len(units) > 5 else "")
            raise ValueError(
                f"reshard has {named(pattern)}, which fits no unit; write a path or pattern of one of the units: "
                f"{known or 'there are none, because units is empty'}"
            )


def expect_stage_trace(trace: Trace, stage: int, stages: int) -> None:
    """Raise ValueError unless the trace of a stage fits the number of the stage.

    The last stage must have a loss, and the other stages must have none. The stages after the first one must have an
    input that requires a gradient.
    """
    last = stage == stages - 1
    if last and trace.returns_outputs:
        raise ValueError(
            f"the trace of stage {stage} has no loss, but it is the last of {stages} stages, which computes the loss; "
            "write rv.trace(module, x, targets=(y,), loss=loss)"
        )
    if not last and not trace.returns_outputs:
        raise ValueError(
            f"the trace of stage {stage} has a loss, but only the last of {stages} stages computes it; trace the "
            "module that is given to PipelineStage, without loss and targets"
        )
    given = [role for _, role in trace.folded.placeholders if role[0] != "tangent"]
    gradients = zip(given, trace.folded.gradients, strict=False)
    if stage > 0 and not any(role[0] == "input" and gradient is not None for role, gradient in gradients):
        raise ValueError(
            f"no input of the trace of stage {stage} requires a gradient, but this stage sends it to stage "
            f"{stage - 1}; write rv.trace(module, x.requires_grad_(), …)"
        )
