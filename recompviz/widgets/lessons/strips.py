"""``memory_strips``: the live memory over a training step for several plans, as charts one below the other.

The bars show the memory in the paper's model, which discards all values of a segment at the same time. The dotted line
shows the memory if each value and gradient is freed right after its last use.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from recompviz.core.base.arguments import expect
from recompviz.core.exact.solver import solve
from recompviz.core.graphs.graph import Graph, Name
from recompviz.core.plans.plan import Plan
from recompviz.core.teaching.small_graphs import graph_of
from recompviz.core.teaching.strategy import State, canonical_strategy, keep_all_states, plan_of
from recompviz.widgets.lessons.scene import Canvas, Frame, Scene
from recompviz.widgets.lessons.stepper import Stepper

WIDTH, HEIGHT, GAP, LEFT, RIGHT = 760.0, 62.0, 30.0, 52.0, 20.0
MOST_NODES = 40
MOST_PLANS = 4
LEGEND = (
    ("bar-keep", "kept for the backward pass"),
    ("bar-transient", "other values"),
    ("bar-recompute", "recomputed"),
    ("bar-gradient", "gradients"),
)


def memory_strips(graph: Graph | str, plans: Mapping[str, Plan | Iterable[Iterable[Name]]] | None = None) -> Stepper:
    """Show the live memory over a training step for several plans, one below the other.

    For each plan, a chart has a bar for each computation of a value or gradient. All charts have the same axes. One
    step of the widget adds a bar to each chart.

    Parameters
    ----------
    graph : Graph or str
        A graph of 1 to 40 nodes, or the name of a small graph: ``"chain"``, ``"diamond"``, ``"residual"``,
        ``"inception"``, ``"u-net"``, ``"branches"``, ``"uneven chain"``, ``"long skip"``,
        ``"transformer block"``.
    plans : mapping of str to Plan or lower-set sequence, optional
        One to four plans by name. A sequence is a list of sets of node names. The set of all nodes may be left out at
        its end. Default: the plan that keeps everything, ⌊√n⌋ segments of equal length for n nodes, and the plan of
        least peak by the paper's formula.

    Returns
    -------
    Stepper
        A widget, shown if it is the last value of a notebook cell.

    Raises
    ------
    ValueError
        If the number of nodes is not from 1 to 40, or the number of plans not from 1 to 4. If no small graph has this
        name, or if a sequence is not a lower-set sequence. Also if a plan neither keeps every value, nor exactly
        the boundaries of its lower sets.
    PlanMismatch
        If a plan was made for another graph.
    TypeError
        If ``graph`` is neither a Graph nor a name, if ``plans`` is not a mapping, or if a plan is neither a Plan nor a
        sequence of sets.

    Examples
    --------
    >>> memory_strips("uneven chain")
    Stepper(Memory strips, Live memory over one training step: Step 25 of 25. Keep everything: peak 122, or ...)
    """
    graph = graph_of(graph)
    if not 0 < len(graph) <= MOST_NODES:
        raise ValueError(f"strips show 1 to {MOST_NODES} nodes, this graph has {len(graph)}; use a smaller graph")
    if plans is None:
        curve, root, order = solve(graph), math.isqrt(len(graph)), [graph.names[v] for v in graph.order]
        ends = [len(graph) * i // root for i in range(1, root)]
        plans = {
            "Keep everything": Plan.keep_all(graph),
            f"{root} segments of equal length": [order[:end] for end in ends],
            "Least peak": curve.plan(curve.least_budget),
        }
    expect(plans, Mapping, "plans", "a mapping of names to plans", 'write {"my plan": plan}')
    if not 0 < len(plans) <= MOST_PLANS:
        raise ValueError(f"strips show 1 to {MOST_PLANS} plans, got {len(plans)}; leave some out")
    shown = {name: _shown_plan(graph, plan) for name, plan in plans.items()}
    stepper = Stepper([_scene(graph, shown)], "Memory strips")
    stepper.frame = len(stepper.scenes[0].frames) - 1  # whole strips first: the comparison is what they are for
    return stepper


def _shown_plan(graph: Graph, given: Plan | Iterable[Iterable[Name]]) -> Plan:
    plan = plan_of(graph, given)
    if not plan.keep_mask.all() and plan.keep != Plan.from_masks(graph, plan.masks).keep:
        raise ValueError(
            f"a {plan.kind!r} plan keeps other values than the boundaries of its lower sets; use a lower-set sequence"
        )
    return plan


def bar_states(plan: Plan) -> list[State]:
    """Return the states that have a bar in the chart of a plan: one after each computation of a value or gradient."""
    graph = plan.graph
    if plan.keep_mask.all():
        states = keep_all_states(graph)
    else:
        states = canonical_strategy(Plan.from_masks(graph, plan.masks)).states
    return [state for state in states if state.node >= 0]


def stacked(plan: Plan, state: State) -> list[tuple[str, int]]:
    """Return the parts of a bar from the bottom to the top, as pairs (style, size in bytes)."""
    values = state.values & ~state.cache
    parts = (state.cache, values & ~state.recomputed, values & state.recomputed, state.gradients)
    return [(style, plan.graph.memory_of(nodes)) for (style, _), nodes in zip(LEGEND, parts, strict=True)]


def draw_legend(canvas: Canvas, x: float, y: float) -> None:
    """Draw the legend in one row. x is its left edge and y its base line, in pixels."""
    for style, words in LEGEND:
        canvas.box(x, y - 10, 11, 11, style, rx=2)
        canvas.text(x + 16, y, words, "muted")
        x += 32 + 6.3 * len(words)
    canvas.add("path", "thin", d=f"M{x:.1f} {y - 4:.1f}h18")
    canvas.text(x + 23, y, "freed at last use", "muted")


def _scene(graph: Graph, plans: Mapping[str, Plan]) -> Scene:
    bars = {name: bar_states(plan) for name, plan in plans.items()}
    count = max(map(len, bars.values()))
    tallest = max(bar.live for strip in bars.values() for bar in strip)
    pitch = (WIDTH - LEFT - RIGHT) / count
    canvas = Canvas()
    canvas.text(20, 22, "Live memory over one training step", "title")
    top = 56.0
    for name, strip in bars.items():
        _draw_strip(canvas, name, plans[name], strip, top, pitch, tallest)
        top += HEIGHT + GAP
    draw_legend(canvas, LEFT, top - 4)
    frames = []
    for i in range(count):
        patch = {}
        for j, strip in enumerate(bars.values()):
            x = LEFT + (i + 1) * pitch
            patch[f"veil{j}"] = {"x": x, "width": max(WIDTH - RIGHT - x, 0) if i + 1 < len(strip) else 0}
        frames.append(Frame(patch, " ".join(_words(graph, name, strip, i) for name, strip in bars.items())))
    chapters = ((0, "Start"), (len(graph) - 1, "Forward pass done"), (count - 1, "End"))
    return Scene(WIDTH, top + 8, "Live memory over one training step", tuple(canvas.elements), tuple(frames), chapters)


def _draw_strip(
    canvas: Canvas, name: str, plan: Plan, bars: list[State], top: float, pitch: float, tallest: int
) -> None:
    bottom, right = top + HEIGHT, WIDTH - RIGHT
    j = sum(element.key.startswith("veil") for element in canvas.elements)
    peak = max(bar.live for bar in bars)

    def y(size: float) -> float:
        return bottom - size / max(tallest, 1) * HEIGHT

    share = f"recomputes {plan.overhead / float(plan.graph.time.sum()):.0%} of the forward pass"
    canvas.text(LEFT, top - 8, f"{name}: peak {peak}, {share if plan.overhead else 'recomputes nothing'}", "heading")
    for i, state in enumerate(bars):
        base = 0
        for style, size in stacked(plan, state):
            if size:
                canvas.box(LEFT + i * pitch + 0.6, y(base + size), pitch - 1.2, y(base) - y(base + size), style)
            base += size
    steps = "".join(
        f"{'L' if i else 'M'}{LEFT + i * pitch:.1f} {y(state.live_until_last_use):.1f}h{pitch:.1f}"
        for i, state in enumerate(bars)
    )
    canvas.add("path", "thin", d=steps)
    canvas.text(LEFT - 6, y(peak) + 4, str(peak), "muted-end")
    canvas.box(right, top - 2, 0, HEIGHT + 2, "ground", f"veil{j}")
    canvas.add("path", "axis", d=f"M{LEFT} {top}V{bottom}H{right}")


def _words(graph: Graph, name: str, bars: list[State], i: int) -> str:
    if i >= len(bars) - 1:
        peak, last_use = max(bar.live for bar in bars), max(bar.live_until_last_use for bar in bars)
        return f"{name}: peak {peak}, or {last_use} if freed at last use."
    state = bars[i]
    verb = {"compute": "computes", "recompute": "recomputes", "backward": "computes the gradient of"}[state.verb]
    return f"{name} {verb} {graph.names[state.node]}, {state.live} live."
