"""The program of a plan: its schedule as two generated Python functions.

``forward`` runs the forward steps and returns the outputs and the saved values. ``backward`` takes the saved values
and runs the recomputation and backward steps in the schedule's order. A variable is set to None right after the step at
which the schedule frees its value. Views take no memory, so they are made again where they are needed. If the real
strides of a tensor do not allow a traced view, the program makes a copy instead. A random operator that runs twice uses
the same generator state both times.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import Node
from torch.fx.node import map_arg

from recompviz.core.base.errors import RecompvizError
from recompviz.core.steps.schedule import Phase, Schedule
from recompviz.pytorch.executing.equal_views import VIEWS, EqualViews
from recompviz.pytorch.internals.devices.runtimes import runtime
from recompviz.pytorch.internals.fake_tensors import size_as_text
from recompviz.pytorch.internals.fast_calls import fast_call
from recompviz.pytorch.internals.node_origin import first_tensor
from recompviz.pytorch.internals.operators import lstm_for_training
from recompviz.pytorch.internals.profiler import named_range
from recompviz.pytorch.tracing.call_list import ARRIVE
from recompviz.pytorch.tracing.folding import Folded

# a context manager around each step of the schedule, for measuring
StepMark = Callable[[int], contextlib.AbstractContextManager[None]]
# runs the operator call of a step, for measuring: call(step, function, *arguments, **keyword arguments) → result
CallRunner = Callable[..., Any]


@dataclass(frozen=True, eq=False)
class Program:
    """The two functions of a plan, and the values that pass between them; frozen.

    Attributes
    ----------
    forward : callable
        ``forward(inputs) -> (outputs, saved values)``; all three are lists.
    backward : callable
        ``backward(inputs, saved values, tangents) -> gradients``; all four are lists. ``inputs`` are the inputs of the
        forward function at the positions ``reads_in_backward``. ``tangents`` are the gradients of the outputs.
        The gradient of an input that gets none is None.
    source : str
        The Python source of both functions.
    saved_storages : tuple of int
        The index of each saved value's storage in the joint graph; −1 for a generator's state.
    reads_in_backward : tuple of int
        Positions of the forward function's inputs that the backward function reads.

    Notes
    -----
    Both functions empty the lists they are given, so that each value is freed after its last use.
    """

    forward: Callable[[list[Any]], tuple[list[Any], list[Any]]]
    backward: Callable[[list[Any], list[Any], list[Any]], list[torch.Tensor | None]]
    source: str
    saved_storages: tuple[int, ...]
    reads_in_backward: tuple[int, ...]


def write_program(
    folded: Folded, schedule: Schedule, mark: StepMark | None = None, call: CallRunner | None = None
) -> Program:
    """Generate the forward and the backward function that run a schedule.

    Parameters
    ----------
    folded : Folded
    schedule : Schedule
    mark : callable (int) → context manager, optional
        Each step of the schedule that calls an operator runs inside ``mark(number of the step)``.
    call : callable (int, function, ...) → result, optional
        Runs the operator call of each step: the program calls ``call(number of the step, function, ...)`` with the
        positional and named arguments of the operator.

    Returns
    -------
    Program

    Raises
    ------
    RecompvizError
        If the schedule reads a value at a step at which it is not alive.
    """
    scope: dict[str, Any] = {"_runtime": runtime, "_mark": mark, "_call": call}
    inputs_of = {node for node, (role, _) in folded.placeholders if role in ("parameter", "buffer", "input", "target")}
    views = EqualViews(set(folded.call_node), inputs_of)
    ahead = _Writer(folded, schedule, scope, views, marked=mark is not None)
    behind = _Writer(folded, schedule, scope, views, marked=mark is not None)
    border = folded.joint.forward_count

    for i in range(border):
        ahead.step(i)
    outputs = [ahead.name_of(node) if isinstance(node, Node) else "None" for node in folded.outputs]
    roots = _roots(folded)
    saved = [node for s in sorted(schedule.saved) for node in roots[s]]
    states = [f"_state{c}" for c in sorted(schedule.recomputed) if folded.joint.calls[c].random]
    saved_names = [ahead.name_of(node) for node in saved] + states

    tangents = [node for node, (role, _) in folded.placeholders if role == "tangent"]
    for node in (*tangents, *saved):
        behind.hold(node)
    for i in range(border, len(schedule)):
        behind.step(i)
    gradients = [behind.name_of(g) if isinstance(g, Node) else "None" for g in _gradients(folded, views)]

    inputs = [node.name for node, (role, _) in folded.placeholders if role != "tangent"]
    read = [name for name in inputs if name in behind.placeholders_read]
    source = (
        "def forward(_inputs):\n"
        + _unpack(inputs, "_inputs")
        + "".join(f"    {line}\n" for line in ahead.finished())
        + f"    return [{', '.join(outputs)}], [{', '.join(saved_names)}]\n\n\n"
        + "def backward(_inputs, _saved, _tangents):\n"
        + _unpack(read, "_inputs")
        + _unpack(saved_names, "_saved")
        + _unpack([node.name for node in tangents], "_tangents")
        + "".join(f"    {line}\n" for line in behind.finished())
        + f"    return [{', '.join(gradients)}]\n"
    )
    exec(compile(source, "<recompviz program>", "exec"), scope)
    return Program(
        scope["forward"],
        scope["backward"],
        source,
        tuple(folded.storage_of[node] for node in saved) + (-1,) * len(states),
        tuple(i for i, name in enumerate(inputs) if name in behind.placeholders_read),
    )


def _unpack(names: list[str], source: str) -> str:
    """Lines that unpack a list into names and empty it, so that the names alone hold the values."""
    return f"    [{', '.join(names)}] = {source}\n    {source}.clear()\n" if names else ""


def _gradients(folded: Folded, views: EqualViews) -> list[Node | None]:
    """Return the gradients, without views that have no effect. Two gradients never become the same tensor in this way.

    If they did, AccumulateGrad would copy one of them.
    """
    equal = [views.equal(node) if node is not None else None for node in folded.gradients]
    return [
        other if other in views.calls and equal.count(other) == 1 else node
        for node, other in zip(folded.gradients, equal, strict=True)
    ]


class _Writer:
    """Writes the lines of one function, and tracks which names hold which storage."""

    def __init__(
        self, folded: Folded, schedule: Schedule, scope: dict[str, Any], views: EqualViews, marked: bool
    ) -> None:
        self.folded, self.schedule, self.scope, self.views, self.marked = folded, schedule, scope, views, marked
        self.lines: list[str] = []
        self.alive: set[Node] = set()
        self.holders: dict[int, list[Node]] = {}
        self.placeholders_read: set[str] = set()
        self._call_of = {node: c for c, node in enumerate(folded.call_node)}
        self._reads = 0
        self._last_read: dict[Node, int] = {}
        self._viewed: list[tuple[Node, int]] = []  # (what was viewed, the read that did it)

    def finished(self) -> list[str]:
        """The lines, with ``name = None`` after each view that was the last to read a name."""
        lines = []
        for line in self.lines:
            indent, viewed, number = line.partition(_VIEWED)
            if not viewed:
                lines.append(line)
                continue
            source, read = self._viewed[int(number)]
            if self._last_read[source] == read:
                lines.append(f"{indent}{source.name} = None")
        return lines

    def _read(self, node: Node) -> None:
        """Note that the text written now reads the name of a node."""
        self._reads += 1
        self._last_read[node] = self._reads

    def step(self, i: int) -> None:
        """Write one step of the schedule: the call, the names of its outputs, and the names that it frees."""
        c, phase = self.schedule.calls[i], self.schedule.phases[i]
        node, call = self.folded.call_node[c], self.folded.joint.calls[c]
        block: list[str] = []
        outer, self.lines = self.lines, block
        if call.info.op == ARRIVE:  # the tangents are arguments
            self._free(i)
            self.lines = outer + block
            return
        expression = self._expression(node, i if self.scope["_call"] is not None else None)
        twice = call.random and c in self.schedule.recomputed
        if twice and phase is Phase.FORWARD:
            block.append(f"_state{c} = _runtime({self._constant(_device_of(node))}).generator_state()")
        work = [f"{node.name} = {expression}"]
        outputs = _outputs(node)
        if outputs != [node]:
            work += [f"{part.name} = {node.name}[{part.args[1]}]" for part in outputs]
            work += [f"{node.name} = None"] if len(outputs) == len(node.users) else []
        for output in outputs:
            self.hold(output)
        if twice and phase is not Phase.FORWARD:
            work = [
                f"with _runtime({self._constant(_device_of(node))}).replay(_state{c}):",
                *(f"    {w}" for w in work),
            ]
            work.append(f"_state{c} = None")
        block += work
        self._free(i)
        self.lines = outer
        if self.marked:
            self.lines.append(f"with _mark({i}):")
            self.lines += [f"    {line}" for line in block]
        else:
            self.lines += block

    def _free(self, i: int) -> None:
        """Write the line that sets to None the names of the storages that step ``i`` frees."""
        for s in self.schedule.frees[i]:
            dead = [holder for holder in self.holders.pop(s, ()) if holder in self.alive]
            self.alive.difference_update(dead)
            if dead:
                self.lines.append(" = ".join(holder.name for holder in dead) + " = None")

    def hold(self, node: Node) -> None:
        """Record that the node's name now holds its storage."""
        self.alive.add(node)
        s = self.folded.storage_of.get(node)
        if s is not None:
            self.holders.setdefault(s, []).append(node)

    def name_of(self, node: Node) -> str:
        """Return the node's name; first write the lines that make it if it is a view."""
        self._read(node)
        if node in self.alive:
            return node.name
        if node.op == "placeholder":
            self.placeholders_read.add(node.name)
            return node.name
        if (size := self._size(node)) is not None:
            return size
        if node.op == "get_attr":
            return self._constant(_attribute(self.folded.fx, str(node.target)))
        if node in self._call_of:
            raise RecompvizError(
                f"the schedule reads {node.name} ({node.target}) where it is not alive; please report this model"
            )
        if _is_getitem(node):
            line = f"{node.name} = {self._text(node.args[0])}[{node.args[1]}]"
        else:
            line = f"{node.name} = {self._expression(node)}"
        self.lines.append(line)
        if node.target in VIEWS and (viewed := self.views.argument(node)) in self.alive:
            self.lines.append(f"{_VIEWED}{len(self._viewed)}")
            self._viewed.append((viewed, self._last_read[viewed]))
        self.hold(node)
        if node not in self.folded.storage_of:  # a tuple of views is freed together with the storage that it looks at
            for source in node.all_input_nodes:
                if (s := self.folded.storage_of.get(source)) is not None:
                    self.holders.setdefault(s, []).append(node)
        return node.name

    def _size(self, node: Node) -> str | None:
        """Return a dynamic size as an expression of the sizes among the inputs; None if it is no such expression.

        The graph reads the size from a tensor, which the plan may have freed.
        """
        value = node.meta.get("val")
        if not isinstance(value, torch.SymInt):
            return None
        inputs = {one.name: one.meta.get("val") for one, _ in self.folded.placeholders}
        text, read = size_as_text(value, inputs)
        self.placeholders_read.update(read)
        return text

    def _expression(self, node: Node, step: int | None = None) -> str:
        """Return the text of a call. If ``step`` is a number, the call is run by the function given for that."""
        arguments = list(node.args)
        if node.target in VIEWS:
            arguments[0] = self.views.argument(node)
        elif self.views.without_dimension(node):
            arguments[2] = False
        texts = [self._text(argument) for argument in arguments]
        texts += [f"{key}={self._text(value)}" for key, value in node.kwargs.items()]
        # this line is written after those of the views that it needs
        for source in _nodes_in([arguments, node.kwargs]):
            self._read(self.views.equal(source))
        # A fake tensor's strides may differ from the real one's, so that a view that was traced is not possible. A
        # reshape copies where the strides do not allow a view, as eager does.
        target: Any = torch.reshape if node.target in VIEWS else node.target
        target = lstm_for_training if node.target is torch.ops.aten.mkldnn_rnn_layer.default else target
        function = self._constant(fast_call(target), _name_of(target))
        return (
            f"{function}({', '.join(texts)})" if step is None else f"_call({', '.join([str(step), function, *texts])})"
        )

    def _text(self, value: Any) -> str:
        if isinstance(value, Node):
            return self.name_of(self.views.equal(value))
        if isinstance(value, (list, tuple)):
            inner = ", ".join(self._text(item) for item in value)
            return f"[{inner}]" if isinstance(value, list) else f"({inner},)" if len(value) else "()"
        if value is None or (isinstance(value, (bool, int, str)) and type(value) in (bool, int, str)):
            return repr(value)
        if type(value) is float and math.isfinite(value):
            return repr(value)
        return self._constant(value)

    def _constant(self, value: Any, key: str = "") -> str:
        """Return a name in the functions' scope for an object that has no literal."""
        key = key or _name_of(value)
        key = f"_{key}" if key.isidentifier() else "_constant"
        name, n = key, 1
        while name in self.scope and self.scope[name] is not value:
            n += 1
            name = f"{key}_{n}"
        self.scope[name] = value
        return name


def _name_of(value: Any) -> str:
    return str(getattr(value, "__name__", type(value).__name__)).replace(".", "_")


def _nodes_in(arguments: Any) -> list[Node]:
    """The nodes among the arguments of a call."""
    found: list[Node] = []
    map_arg(arguments, found.append)
    return found


# Where a line of a view was written, before it is known whether a later line reads what was viewed.
_VIEWED = "viewed:"


def _roots(folded: Folded) -> dict[int, list[Node]]:
    """Map each storage made in the step to the fx nodes that its call returns for it."""
    roots: dict[int, list[Node]] = {}
    for node in folded.call_node:
        for output in _outputs(node):
            if (s := folded.storage_of.get(output)) is not None:
                roots.setdefault(s, []).append(output)
    return roots


def _outputs(node: Node) -> list[Node]:
    """Return the fx nodes of a call's results: the call itself, or the items taken out of its tuple."""
    return [node] if isinstance(node.meta.get("val"), torch.Tensor) else [u for u in node.users if _is_getitem(u)]


def _is_getitem(node: Node) -> bool:
    return node.op == "call_function" and getattr(node.target, "__name__", "") == "getitem"


def _attribute(module: Any, path: str) -> Any:
    for part in path.split("."):
        module = getattr(module, part)
    return module


def _device_of(node: Node) -> str:
    tensor = first_tensor(node.meta.get("val"))
    return tensor.device.type if tensor is not None else "cpu"


def profiler_mark(step: int) -> contextlib.AbstractContextManager[None]:
    """Return a named range of the profiler that attributes allocations to step number ``step`` of a schedule."""
    return named_range(f"rv:{step}")
