"""The part of a plan for one unit, in a form that can be sent to other processes.

A *unit* is a module that a distributed engine wraps, for example one block of a transformer. A unit plan has the names
of the unit's operators, and for each operator whether its value is kept. It needs no graph, so one rank can plan for
all ranks.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from recompviz.core.base.arguments import expect
from recompviz.core.base.errors import PlanMismatch
from recompviz.core.graphs.graph import Graph


@dataclass(frozen=True)
class UnitPlan:
    """Which values of a unit are kept for its backward pass. A unit is a module that a distributed engine wraps.

    Attributes
    ----------
    name : str
        Dotted path of the unit's module.
    operators : tuple of str
        The operator of each node of the unit, in the order of the forward pass.
    keep : tuple of bool
        For each entry of ``operators``, whether the value of its node is kept for the backward pass.
    dtypes : tuple of str
        The data type of the first output of each operator; empty if the plan is for all data types.
    parameters : tuple of (str, tuple of int)
        The path in the module and the shape of each parameter; empty if the plan is for all shapes.
    """

    name: str
    operators: tuple[str, ...]
    keep: tuple[bool, ...]
    dtypes: tuple[str, ...] = ()
    parameters: tuple[tuple[str, tuple[int, ...]], ...] = ()


def expect_unit_plans(plans: object) -> tuple[UnitPlan, ...]:
    """Check that a value is a sequence of unit plans, and return it as a tuple.

    Raises
    ------
    TypeError
        If ``plans`` is not a sequence, or if an item is not a :class:`UnitPlan`.

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


def unit_plans(
    graph: Graph,
    keep_mask: Sequence[bool],
    names: Sequence[str],
    parameters: Mapping[str, Mapping[str, Sequence[int]]] | None = None,
) -> tuple[UnitPlan, ...]:
    """Return the parts of a plan that belong to given units, as unit plans in the order of ``names``.

    Parameters
    ----------
    graph : Graph
    keep_mask : sequence of bool, length #V
        For each node of the graph, whether its value is kept.
    names : sequence of str
        Dotted paths of the units. A node belongs to the innermost unit that has its module. Nodes outside all units are
        left out.
    parameters : mapping of str to mapping of str to shape, optional
        For each unit, the shapes of its parameters by their paths in the unit. If None, the plans are for all shapes.

    Examples
    --------
    >>> from recompviz.core.steps.examples import residual_step
    >>> graph, _ = residual_step(blocks=(2,))
    >>> [(unit.name, len(unit.keep)) for unit in unit_plans(graph, [True] * len(graph), ["layer1.0", "layer1.1"])]
    [('layer1.0', 12), ('layer1.1', 10)]
    """
    shapes = parameters or {}
    return tuple(
        UnitPlan(
            name,
            tuple(graph.info[v].op for v in nodes),
            tuple(bool(keep_mask[v]) for v in nodes),
            tuple(graph.info[v].dtype for v in nodes),
            tuple((path, tuple(map(int, shape))) for path, shape in shapes.get(name, {}).items()),
        )
        for name, nodes in _nodes_of(graph, names).items()
    )


def keep_mask_of(graph: Graph, plans: Sequence[UnitPlan], names: Sequence[str]) -> list[bool]:
    """Return for each node of a graph whether its value is kept under unit plans.

    The value of a node for which there is no plan is kept. The graph may have another batch size than the graph from
    which :func:`unit_plans` made the plans.

    Parameters
    ----------
    graph : Graph
    plans : sequence of UnitPlan
    names : sequence of str
        Dotted paths of the units of the graph.

    Raises
    ------
    PlanMismatch
        If a plan is for no unit of the graph, or for other operators or data types.

    Examples
    --------
    >>> from recompviz.core.steps.examples import residual_step
    >>> graph, _ = residual_step(blocks=(2,))
    >>> mask, names = [v % 2 == 0 for v in range(len(graph))], ["layer1.0"]
    >>> plans = unit_plans(graph, mask, names)
    >>> unit_plans(graph, keep_mask_of(graph, plans, names), names) == plans
    True
    """
    nodes = _nodes_of(graph, names)
    keep = [True] * len(graph)
    for plan in plans:
        if plan.name not in nodes:
            raise PlanMismatch(
                f"the step has no unit {plan.name!r}, for which there is a plan; give the units of both steps the same "
                "paths"
            )
        inside = nodes[plan.name]
        if difference := unit_difference(plan, [(graph.info[v].op, graph.info[v].dtype) for v in inside]):
            raise PlanMismatch(difference)
        for v, kept in zip(inside, plan.keep, strict=True):
            keep[v] = kept
    return keep


def unit_difference(plan: UnitPlan, operators: Sequence[tuple[str, str]]) -> str:
    """Return a text with the first difference between the operators of a unit and those of its plan.

    The text is empty if there is no difference. Data types are compared only if the plan has some.

    Parameters
    ----------
    plan : UnitPlan
    operators : sequence of (str, str)
        The operators of the unit, and the data types of their first outputs.

    Examples
    --------
    >>> plan = UnitPlan("layers.0", ("aten.mm", "aten.relu"), (True, False), ("float32", "float32"))
    >>> unit_difference(plan, [("aten.mm", "float32"), ("aten.relu", "float32")])
    ''
    >>> unit_difference(plan, [("aten.mm", "float32"), ("aten.tanh", "float32")])
    "unit 'layers.0' runs aten.tanh as operator 2, where its plan has aten.relu; trace the model as it is trained ..."
    """
    names = [name for name, _ in operators]
    dtypes = [f"{name} in {dtype}" for name, dtype in operators]
    planned_dtypes = [f"{name} in {dtype}" for name, dtype in zip(plan.operators, plan.dtypes, strict=False)]
    if names != list(plan.operators):
        ours, planned = names, list(plan.operators)
    elif plan.dtypes and dtypes != planned_dtypes:
        ours, planned = dtypes, planned_dtypes
    else:
        return ""
    first = next(
        (i for i, (a, b) in enumerate(zip(ours, planned, strict=False)) if a != b), min(len(ours), len(planned))
    )
    runs = ours[first] if first < len(ours) else "nothing more"
    expects = planned[first] if first < len(planned) else "nothing more"
    return (
        f"unit {plan.name!r} runs {runs} as operator {first + 1}, where its plan has {expects}; trace the model as it "
        "is trained (same layers, dtypes and training mode), and let the unit be captured as one graph"
    )


def _nodes_of(graph: Graph, names: Sequence[str]) -> dict[str, list[int]]:
    """Return the nodes of each unit. A node belongs to the innermost unit that has its module."""
    inside: dict[str, list[int]] = {name: [] for name in names}
    for v, info in enumerate(graph.info):
        owners = [name for name in names if f"{info.module}.".startswith(f"{name}.")]
        if owners:
            inside[max(owners, key=len)].append(v)
    return inside


def to_text(plans: Sequence[UnitPlan]) -> str:
    """Return unit plans as JSON text. Equal unit plans give the same text."""
    rows = [
        [plan.name, plan.operators, [int(kept) for kept in plan.keep], plan.dtypes, plan.parameters] for plan in plans
    ]
    return json.dumps(rows, separators=(",", ":"))


def from_text(text: str) -> tuple[UnitPlan, ...]:
    """Return the unit plans from which :func:`to_text` made a text.

    Raises
    ------
    PlanMismatch
        If the text is not a list of unit plans as :func:`to_text` writes it, or if a plan has different numbers of
        operators, flags and data types.

    Examples
    --------
    >>> plans = (UnitPlan("layers.0", ("aten.mm", "aten.relu"), (True, False)),)
    >>> from_text(to_text(plans)) == plans
    True
    """
    try:
        rows = json.loads(text)
        plans = tuple(
            UnitPlan(
                str(name),
                tuple(map(str, operators)),
                tuple(map(bool, keep)),
                tuple(map(str, dtypes)),
                tuple((str(path), tuple(map(int, shape))) for path, shape in parameters),
            )
            for name, operators, keep, dtypes, parameters in rows
        )
    except (ValueError, TypeError) as error:
        raise PlanMismatch(f"the text is not a list of unit plans ({error}); send what to_text returned") from None
    for plan in plans:
        counts = {len(plan.operators), len(plan.keep), len(plan.dtypes or plan.operators)}
        if len(counts) > 1:
            raise PlanMismatch(
                f"the plan of unit {plan.name!r} has {len(plan.operators)} operators, {len(plan.keep)} flags and "
                f"{len(plan.dtypes)} dtypes; make it again from the trace"
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
