"""The training step of one rank whose parameters are sharded, as PyTorch's ``fully_shard`` runs it (FSDP2).

Each rank holds a part of each parameter. Before the forward pass of a unit, an all-gather fills one buffer, and the
parameters are copied out of this buffer. The buffer is freed when the buffer of the next unit is full. A unit that
reshards frees its gathered parameters after its forward pass, and gathers them again for its backward pass. This second
all-gather is prefetched. Backward passes run in reverse order, and the buffer is filled when the backward pass of the
previous unit in this order starts. After the backward pass of a unit, its gathered parameters are freed, its gradients
are copied into a buffer, and a reduce-scatter makes this rank's part of the gradients. This buffer is freed when the
next unit reduces its gradients.

These blocks are allocated and freed where units start and end, not where operator calls read the parameters. Therefore
two calls are inserted for each block: one allocates it, and one reads it last. The rest of the joint graph is
unchanged, and the same simulation runs.
"""

from __future__ import annotations

from dataclasses import dataclass

from recompviz.core.base.errors import GraphError
from recompviz.core.ranks.sharding import ROOT, ShardedUnit, Sharding, unit_of_calls
from recompviz.core.ranks.step_editor import StepEditor
from recompviz.core.steps.joint import Category, JointGraph


def sharded_step(joint: JointGraph, sharding: Sharding) -> JointGraph:
    """Return the joint graph of one rank of a sharded training step (PyTorch's ``fully_shard``).

    Parameters
    ----------
    joint : JointGraph
        The training step on one device. Its optimizer state must already have the bytes of the rank's own part, because
        this function does not divide the optimizer state.
    sharding : Sharding
        How the parameters are divided.

    Returns
    -------
    JointGraph
        The joint graph of the rank. It has the same nodes as ``joint``, so the plans stay valid.

    Raises
    ------
    GraphError
        If the calls of a unit are not consecutive, because the unit runs several times.
    """
    return _ShardedStep(joint, sharding).made()


@dataclass
class _Span:
    """The calls of a unit and of the units inside it: the first, and the one after the last."""

    start: int
    stop: int


class _ShardedStep:
    """Inserts the collectives of a sharded training step into its joint graph."""

    def __init__(self, joint: JointGraph, sharding: Sharding) -> None:
        self.joint, self.sharding = joint, sharding
        self.units = sharding.units
        self.editor = StepEditor(joint)
        self.unit_of = unit_of_calls(joint, [unit.name for unit in self.units])
        count = joint.forward_count
        self.forward = [self._span(u, range(count)) for u in range(len(self.units))]
        self.backward = [self._span(u, range(count, len(joint.calls))) for u in range(len(self.units))]
        self.results = set(joint.results)
        self.clones = list(joint.clones)
        self.shared: dict[int, int] = {}  # a sum of gradients → the gradient into which autograd adds
        # the storages of gathered parameters that are alive, and the buffer of an all-gather that is not copied yet
        self.gathered: dict[int, list[int]] = {}
        self.buffers: dict[int, int] = {}

    def made(self) -> JointGraph:
        self._add_in_place()
        for unit in self.units:
            for parameter in unit.parameters:
                self.editor.resize(
                    parameter.storage, parameter.padded(self.sharding.shards) * parameter.stored_itemsize
                )
        order = self._forward_pass()
        self._backward_pass(order)
        return self.editor.finish(self.results, self.clones)

    # ---------------------------------------------------------------- borders

    def _span(self, unit: int, calls: range) -> _Span | None:
        """Return the calls of a unit and the units inside it, among ``calls``; None if it has none."""
        name = self.units[unit].name
        inside = {u for u, other in enumerate(self.units) if name == ROOT or f"{other.name}.".startswith(f"{name}.")}
        own = [c for c in calls if self.unit_of[c] in inside]
        if not own:
            return None
        if name != ROOT and len(own) != own[-1] - own[0] + 1:
            other = next(c for c in range(own[0], own[-1]) if self.unit_of[c] not in inside)
            raise GraphError(
                f"the calls of unit {name!r} are not consecutive: {self.joint.keys[other]!r} runs between them; a unit "
                "that runs several times in one step cannot be predicted yet, so shard its parent instead"
            )
        return _Span(own[0], own[-1] + 1)

    def _add_in_place(self) -> None:
        """Let autograd add the gradients of a parameter that several runs of a unit read, into the first of them."""
        joint = self.joint
        gradients = {p.gradient for unit in self.units for p in unit.parameters}
        for c in range(joint.forward_count, len(joint.calls)):
            call = joint.calls[c]
            if len(call.makes) == 1 and call.makes[0] in gradients and call.info.op.startswith("aten.add"):
                reads = [s for s in call.reads if joint.storages[s].maker >= joint.forward_count]
                same = [s for s in reads if joint.storages[s].size == joint.storages[call.makes[0]].size]
                if len(same) == 2 and len(call.reads) == 2:
                    first = min(same, key=lambda s: joint.storages[s].maker)
                    self.editor.share(c, call.makes[0], first)
                    self.results = {first if s == call.makes[0] else s for s in self.results}
                    self.clones = [(first if s == call.makes[0] else s, size) for s, size in self.clones]
                    self.shared[call.makes[0]] = first

    # ---------------------------------------------------------------- the forward pass

    def _forward_pass(self) -> list[int]:
        """Insert gathering and resharding; return the units in the order in which their forward passes end."""
        starts = sorted(
            ((span.start, -span.stop, u) for u, span in enumerate(self.forward) if span is not None),
        )
        ends = sorted(((span.stop, -span.start, u) for u, span in enumerate(self.forward) if span is not None))
        order: list[int] = []
        waiting: int | None = None
        for place in sorted({row[0] for row in (*starts, *ends)}):
            for at, _, u in ends:
                if at == place:
                    order.append(u)
                    if self.units[u].reshard and self.units[u].name != ROOT:
                        self._free_gathered(u, place, backward=False)
                    if self.units[u].name == ROOT and waiting is not None:
                        self.editor.insert(place, "free the last buffer", reads=[waiting])
                        waiting = None
            for at, _, u in starts:
                if at == place and self.units[u].parameters:
                    waiting = self._gather(u, place, waiting)
        return order

    def _gather(self, u: int, place: int, waiting: int | None) -> int:
        """Insert an all-gather in the forward pass. ``waiting`` is the buffer of the unit before, or None."""
        buffer = self._all_gather(u, place, backward=False)
        if waiting is not None:
            self.editor.insert(place, "free the last buffer", reads=[waiting])
        self._copy_out(u, place, backward=False)
        return buffer

    def _all_gather(self, u: int, place: int, backward: bool) -> int:
        unit = self.units[u]
        buffer = self.editor.storage(self._whole(unit), Category.TRANSIENT, f"all-gather buffer of {_name(unit)}")
        # with mixed precision, the parts are converted first
        converted = sum(
            p.padded(self.sharding.shards) * p.itemsize for p in unit.parameters if p.itemsize != p.stored_itemsize
        )
        key = f"all-gather of {_name(unit)}"
        self.editor.insert(place, key, makes=[buffer], workspace=converted, backward=backward)
        self.buffers[u] = buffer
        return buffer

    def _copy_out(self, u: int, place: int, backward: bool) -> None:
        unit = self.units[u]
        shards = self.sharding.shards
        category = Category.KEPT if not backward else Category.RECOMPUTED
        self.gathered[u] = [
            self.editor.storage(
                p.padded(shards) * shards * p.itemsize, category, f"{self.joint.storages[p.storage].label} (gathered)"
            )
            for p in unit.parameters
        ]
        self.editor.insert(
            place,
            f"copy out the parameters of {_name(unit)}",
            makes=self.gathered[u],
            reads=[self.buffers.pop(u)],
            backward=backward,
        )

    def _free_gathered(self, u: int, place: int, backward: bool) -> None:
        if u in self.gathered:
            key = f"reshard {_name(self.units[u])}"
            self.editor.insert(place, key, reads=self.gathered.pop(u), backward=backward)

    def _whole(self, unit: ShardedUnit) -> int:
        """Return the bytes of the gathered parameters of a unit, padded."""
        shards = self.sharding.shards
        return sum(p.padded(shards) * shards * p.itemsize for p in unit.parameters)

    # ---------------------------------------------------------------- the backward pass

    def _backward_pass(self, order: list[int]) -> None:
        """Insert gathering, resharding and reduction; ``order`` has the units as their forward passes ended."""
        spans = [(span, u) for u, span in enumerate(self.backward) if span is not None]
        last = len(self.joint.calls)
        reduced: int | None = None
        done: set[int] = set()
        for place in sorted({at for span, _ in spans for at in (span.start, span.stop)}):
            for _, u in sorted((-s.start, u) for s, u in spans if s.stop == place and self.units[u].name != ROOT):
                reduced = self._after_backward(u, place, reduced)
                done.add(u)
            for _, u in sorted((-s.stop, u) for s, u in spans if s.start == place):
                self._before_backward(u, place, order)
        for u in range(len(self.units)):  # the root, and units without a backward pass of their inputs
            if u not in done:
                reduced = self._after_backward(u, last, reduced)
        if reduced is not None:
            self.editor.insert(last, "free the last buffer", reads=[reduced], backward=True)

    def _before_backward(self, u: int, place: int, order: list[int]) -> None:
        if u not in self.gathered and self.units[u].parameters:
            if u not in self.buffers:
                self._all_gather(u, place, backward=True)
            self._copy_out(u, place, backward=True)
        position = order.index(u) if u in order else 0
        if position > 0:
            ahead = order[position - 1]
            if ahead not in self.gathered and ahead not in self.buffers and self.units[ahead].parameters:
                self._all_gather(ahead, place, backward=True)

    def _after_backward(self, u: int, place: int, reduced: int | None) -> int | None:
        """Insert the reduction of a unit's gradients. ``reduced`` is the buffer of the unit before, or None."""
        unit, shards = self.units[u], self.sharding.shards
        arrived = self._arrive(unit, place)
        self._free_gathered(u, place, backward=True)
        if not arrived:
            return reduced
        if reduced is not None:
            self.editor.insert(place, "free the last buffer", reads=[reduced], backward=True)
        with_gradient = [p for p in unit.parameters if p.gradient >= 0]
        part = sum(p.padded(shards) * p.reduced_itemsize for p in with_gradient)
        buffer = self.editor.storage(part * shards, Category.GRADIENT, f"reduce-scatter buffer of {_name(unit)}")
        self.editor.insert(
            place, f"copy in the gradients of {_name(unit)}", makes=[buffer], reads=arrived, backward=True
        )
        own = self.editor.storage(part, Category.PARAMETER_GRADIENT, f"gradients of {_name(unit)} (this rank's part)")
        workspace = int(part * shards * self.sharding.reduce_workspace)
        self.editor.insert(
            place, f"reduce-scatter of {_name(unit)}", makes=[own], reads=[buffer], workspace=workspace, backward=True
        )
        if any(p.reduced_itemsize != p.stored_itemsize for p in with_gradient):
            converted = sum(p.padded(shards) * p.stored_itemsize for p in with_gradient)
            stored = self.editor.storage(
                converted, Category.PARAMETER_GRADIENT, f"gradients of {_name(unit)} (this rank's part)"
            )
            key = f"convert the gradients of {_name(unit)}"
            self.editor.insert(place, key, makes=[stored], reads=[own], backward=True)
            own = stored
        self.results.add(own)
        return buffer

    def _arrive(self, unit: ShardedUnit, place: int) -> list[int]:
        """Insert the copies that autograd makes of gradients; return the storages of the whole gradients."""
        arrived: list[int] = []
        for parameter in unit.parameters:
            if parameter.gradient < 0:
                continue
            gradient = self.shared.get(parameter.gradient, parameter.gradient)
            self.results.discard(gradient)
            copied = next((row for row in self.clones if row[0] == gradient), None)
            if copied is not None:
                self.clones.remove(copied)
                label = self.joint.storages[parameter.gradient].label
                copy = self.editor.storage(copied[1], Category.PARAMETER_GRADIENT, label)
                self.editor.insert(place, f"copy {label}", makes=[copy], reads=[gradient], backward=True)
                gradient = copy
            arrived.append(gradient)
        return list(dict.fromkeys(arrived))


def _name(unit: ShardedUnit) -> str:
    return unit.name or "the root"
