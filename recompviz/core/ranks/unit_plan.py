"""The part of a plan for one unit, in a form that can be sent to other processes.

A *unit* is a module that a distributed engine wraps, for example one block of a transformer. A unit plan has the names
of the unit's operators, and for each operator whether its value is kept. It needs no graph, so one rank can plan for
all ranks.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from recompviz.core.base.arguments import expect
from recompviz.core.base.errors import PlanMismatch
from recompviz.core.graphs.graph import Graph


@dataclass(frozen=True)
class UnitPlan:
    """Which values of a unit are kept for its backward pass.

    Attributes
    ----------
    name : str
        Dotted path of the unit's module.
    operators : tuple of str
        The operator of each node of the unit, in the order of the forward pass.
    keep : tuple of bool
        For each entry of ``operators``, whether the value of its node is kept for the backward pass.
    """

    name: str
    operators: tuple[str, ...]
    keep: tuple[bool, ...]


def expect_unit_plans(plans: object) -> tuple[UnitPlan, ...]:
    """Check that a value is a sequence of unit plans, and return it as a tuple.

    Raises
    ------
    TypeError
        If ``plans`` is no sequence, or one of its items is no :class:`UnitPlan`.

    Examples
    --------
    >>> expect_unit_plans(None)
    Traceback (most recent call last):
    TypeError: plans is None, expected a sequence of unit plans; make them with step.unit_plans(plan)
    """
    then = "make them with step.unit_plans(plan)"
    expect(plans, Sequence, "plans", "a sequence of unit plans", then)
    given = tuple(cast("Sequence[UnitPlan]", plans))
    for i, plan in enumerate(given):
        expect(plan, UnitPlan, f"plans[{i}]", "a unit plan", then)
    return given


def unit_plans(graph: Graph, keep_mask: Sequence[bool], names: Sequence[str]) -> tuple[UnitPlan, ...]:
    """Divide a plan into unit plans, one for each name in ``names``.

    Parameters
    ----------
    graph : Graph
    keep_mask : sequence of bool, length #V
        For each node of the graph, whether its value is kept.
    names : sequence of str
        Dotted paths of the units. A node belongs to the innermost unit that contains its module. Nodes outside all
        units are in no unit plan.

    Examples
    --------
    >>> from recompviz.core.steps.examples import residual_step
    >>> graph, _ = residual_step(blocks=(2,))
    >>> [(unit.name, len(unit.keep)) for unit in unit_plans(graph, [True] * len(graph), ["layer1.0", "layer1.1"])]
    [('layer1.0', 12), ('layer1.1', 10)]
    """
    inside: dict[str, list[int]] = {name: [] for name in names}
    for v, info in enumerate(graph.info):
        owners = [name for name in names if f"{info.module}.".startswith(f"{name}.")]
        if owners:
            inside[max(owners, key=len)].append(v)
    return tuple(
        UnitPlan(name, tuple(graph.info[v].op for v in nodes), tuple(bool(keep_mask[v]) for v in nodes))
        for name, nodes in inside.items()
    )


def to_text(plans: Sequence[UnitPlan]) -> str:
    """Return unit plans as JSON text. Equal unit plans give the same text."""
    rows = [[plan.name, list(plan.operators), [int(kept) for kept in plan.keep]] for plan in plans]
    return json.dumps(rows, separators=(",", ":"))


def from_text(text: str) -> tuple[UnitPlan, ...]:
    """Return the unit plans from which :func:`to_text` made a text.

    Raises
    ------
    PlanMismatch
        If the text is not one that :func:`to_text` returns.

    Examples
    --------
    >>> plans = (UnitPlan("layers.0", ("aten.mm", "aten.relu"), (True, False)),)
    >>> from_text(to_text(plans)) == plans
    True
    """
    try:
        rows = json.loads(text)
        plans = tuple(UnitPlan(str(name), tuple(map(str, ops)), tuple(map(bool, keep))) for name, ops, keep in rows)
    except (ValueError, TypeError) as error:
        raise PlanMismatch(f"the text is not a list of unit plans ({error}); send what to_text returned") from None
    for plan in plans:
        if len(plan.operators) != len(plan.keep):
            raise PlanMismatch(
                f"the plan of unit {plan.name!r} has {len(plan.operators)} operators and {len(plan.keep)} flags; "
                "make it again from the trace"
            )
    return plans


def fingerprint(plans: Sequence[UnitPlan]) -> str:
    """Return a short text that is equal for equal unit plans, and differs otherwise.

    Examples
    --------
    >>> kept, dropped = (UnitPlan("0", ("aten.mm",), (keep,)) for keep in (True, False))
    >>> fingerprint([kept]) == fingerprint([kept]), fingerprint([kept]) == fingerprint([dropped])
    (True, False)
    """
    return hashlib.sha256(to_text(plans).encode()).hexdigest()[:16]
