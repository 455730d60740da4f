"""The bytes and times of a traced training step at another batch size or sequence length.

The operators of a step are assumed not to depend on these sizes; if they do, an error is raised. The bytes of each
storage are a polynomial of the sizes: of degree 1 in the batch size, and of degree 2 in the length, because attention
makes matrices of length × length. Traces at one other batch size and at two shorter lengths give the coefficients. Each
further size then takes milliseconds instead of a new trace. For a length above the length of the trace, the step is
traced again, because the model may not run at this length.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils import _pytree as pytree

from recompviz.core.graphs.cost_arrays import rounded_times
from recompviz.core.graphs.graph import Graph
from recompviz.core.steps.joint import JointGraph
from recompviz.pytorch.tracing.costs import LEAST_PARTS, PARTS_PER_NODE, estimated_times, node_times, operand_bytes
from recompviz.pytorch.tracing.resized_workspace import resized_workspace
from recompviz.pytorch.tracing.step import TraceError
from recompviz.pytorch.tracing.tables_of_positions import short_table
from recompviz.pytorch.tracing.traced_step import Trace
from recompviz.pytorch.tracing.tracer import trace_again

if TYPE_CHECKING:
    from numpy.typing import NDArray

AxisSizes = Mapping[str, int]

# The figures of all shorter lengths follow from traces at the traced length divided by these numbers.
PARTS_OF_LENGTH = (2, 4)
# A trace of a shorter length than this has no length that can be changed.
SHORTEST_LENGTH = 8
MOST_BATCHES, MOST_LENGTHS = 1024, 64  # times the traced size


@dataclass(frozen=True)
class Axis:
    """The batch size or the sequence length of a training step, and how far it can be changed; frozen.

    Attributes
    ----------
    name : "batch" or "length"
        ``"batch"``: the number of examples. ``"length"``: the length of the token sequences.
    size : int
        The size in the traced step.
    most : int
        The largest size that :meth:`ResizedTraces.at` accepts. Some models run only at shorter lengths.
    """

    name: str
    size: int
    most: int


def axes_of(arguments: Any) -> tuple[Axis, ...]:
    """Return the sizes of a step's arguments that can be changed: the batch size, and the length of token sequences.

    The batch size is the first dimension of the tensors among the inputs and targets; tensors without dimensions do not
    count. The length is the second dimension of the first input that has two or more dimensions, if all such inputs are
    tensors of integers or booleans. The length is left out if it is less than 8 or equal to the batch size. The result
    is empty if the batch size is 0, if a first dimension is neither the batch size nor batch size × length, or if there
    are no tensors with dimensions.

    Parameters
    ----------
    arguments : tuple
        The inputs, keyword arguments and targets.

    Examples
    --------
    >>> axes_of(((torch.zeros(4, 3),), {}, (torch.zeros(4),)))
    (Axis(name='batch', size=4, most=4096),)
    >>> [axis.name for axis in axes_of(((torch.zeros(4, 16, dtype=torch.long),), {}, ()))]
    ['batch', 'length']
    """
    inputs, _, targets = arguments
    tensors = [leaf for leaf in pytree.tree_leaves((inputs, targets)) if isinstance(leaf, torch.Tensor) and leaf.dim()]
    if not tensors:
        return ()
    batch = int(tensors[0].shape[0])
    tokens = [t for t in pytree.tree_leaves(inputs) if isinstance(t, torch.Tensor) and t.dim() > 1]
    integers = [t for t in tokens if not t.is_floating_point() and not t.is_complex()]
    length = int(integers[0].shape[1]) if integers and len(integers) == len(tokens) else 0
    if batch < 1 or any(t.shape[0] not in (batch, batch * length) for t in tensors):
        return ()
    axes = (Axis("batch", batch, MOST_BATCHES * batch),)
    if length < SHORTEST_LENGTH or length == batch:
        return axes
    return (*axes, Axis("length", length, MOST_LENGTHS * length))


def resized_arguments(arguments: Any, axes: tuple[Axis, ...], sizes: AxisSizes) -> Any:
    """Return the arguments of a step at other sizes: examples are repeated or left out, sequences repeated or cut.

    Parameters
    ----------
    arguments : tuple
        The inputs, keyword arguments and targets.
    axes : tuple of Axis
        The axes of these arguments, from :func:`axes_of`; not empty.
    sizes : mapping of str to int
        The new size of some axes.
    """
    old = {axis.name: axis.size for axis in axes}
    new = old | dict(sizes)
    memo: dict[int, torch.Tensor] = {}

    def resized(leaf: Any) -> Any:
        if not isinstance(leaf, torch.Tensor):
            return leaf
        if id(leaf) not in memo:
            memo[id(leaf)] = _resized_tensor(leaf, old, new)
        return memo[id(leaf)]

    return pytree.tree_map(resized, arguments)


def _resized_tensor(tensor: torch.Tensor, old: AxisSizes, new: AxisSizes) -> torch.Tensor:
    changed = tensor.detach()
    for dimension, size in enumerate(tensor.shape):
        wanted = size
        if dimension == 0 and size == old["batch"]:
            wanted = new["batch"]
        elif "length" in old and dimension == 0 and size == old["batch"] * old["length"]:
            wanted = new["batch"] * new["length"]
        elif "length" in old and size == old["length"]:
            wanted = new["length"]
        if wanted != size:
            taken = torch.arange(wanted, device="cpu" if tensor.device.type == "meta" else tensor.device) % size
            changed = changed.index_select(dimension, taken.to(tensor.device))
    if changed.shape == tensor.shape:
        return tensor
    if tensor.dim() == 4 and not tensor.is_contiguous() and tensor.is_contiguous(memory_format=torch.channels_last):
        changed = changed.contiguous(memory_format=torch.channels_last)
    return changed.requires_grad_(tensor.requires_grad)


class ResizedTraces:
    """A traced training step at other batch sizes and sequence lengths.

    Parameters
    ----------
    trace : Trace
        The trace whose figures are resized.
    traced : Trace, optional
        The same trace before it was calibrated. Leave it out only if ``trace`` is not calibrated.

    Attributes
    ----------
    trace : Trace
    axes : tuple of Axis
        The sizes that can be changed; empty if there are none.

    Examples
    --------
    >>> import recompviz as rv
    >>> t = rv.trace(torch.nn.Linear(8, 1), torch.zeros(4, 8), loss=torch.sum)
    >>> resized = ResizedTraces(t)
    >>> graph, joint = resized.at({"batch": 400})
    >>> t.graph.memory.tolist(), graph.memory.tolist()
    ([16, 4], [1600, 4])
    """

    def __init__(self, trace: Trace, traced: Trace | None = None) -> None:
        self.trace = trace
        self.axes = axes_of(trace.arguments)
        self._base = _Figures.of(trace if traced is None else traced)
        self._figures: dict[tuple[str, int], _Figures] = {}

    def trace_at(self, sizes: AxisSizes) -> Trace:
        """Trace the step at other sizes. The new trace is not calibrated. Errors: see :func:`recompviz.trace`."""
        return trace_again(self.trace, resized_arguments(self.trace.arguments, self.axes, sizes))

    def learn(self, sizes: AxisSizes, progress: Callable[[int, int, str, int], None] | None = None) -> None:
        """Make the traces that are missing to compute the bytes and times of the step at the given sizes.

        A call makes at most one trace for each axis. For the batch, a single trace at twice the size gives the figures
        of all batch sizes. For the length, the step is traced at the given length. Once it was traced at a half and at
        a quarter of the original length, no more traces are needed for shorter lengths. If only one of these two traces
        is missing, it is made in place of a trace at the given length.

        Parameters
        ----------
        sizes : mapping of str to int
            The size of some axes, by name.
        progress : callable (done, total, name, size), optional
            Called before each trace with the axis and the size at which the step is traced. Raise
            :class:`recompviz.Cancelled` in it to stop.

        Raises
        ------
        TraceError
            If the step cannot be traced at another size, or has other operators there.
        """
        wanted = [(axis.name, size) for axis in self.axes if (size := self._missing(axis, sizes)) is not None]
        for done, (name, size) in enumerate(wanted):
            if progress is not None:
                progress(done, len(wanted), name, size)
            if name == "length" and size > next(axis.size for axis in self.axes if axis.name == name):
                self._learn_longer(size)
            else:
                self._figures[name, size] = self._figures_of(self.trace_at({name: size}), name, size)

    def _missing(self, axis: Axis, sizes: AxisSizes) -> int | None:
        """Return the size of an axis at which the step must be traced before its figures are known; None for none."""
        size = sizes.get(axis.name, axis.size)
        if size == axis.size or (axis.name, size) in self._figures:
            return None
        if axis.name == "batch":
            return None if ("batch", 2 * axis.size) in self._figures else 2 * axis.size
        missing = [at for at in _lengths_of(axis) if ("length", at) not in self._figures]
        if size > axis.size or len(missing) > 1:
            return size
        return missing[0] if missing else None

    def _figures_of(self, there: Trace, name: str, size: int) -> _Figures:
        figures = _Figures.of(there)
        if figures.structure != self._base.structure:
            raise TraceError(
                f"the training step has other operators at {name} {size}; trace the model with a batch of the "
                "size that you want to see"
            )
        return figures

    def _learn_longer(self, length: int) -> None:
        """Trace the step at a longer length. Raise TraceError with the reason if the model cannot run there."""
        try:
            there = self.trace_at({"length": length})
        except Exception as error:  # of the tracer, or of the model's own code
            reason = str(error).strip().split("\n")[0] or type(error).__name__
            raise TraceError(f"the model has no length {length:,}: {reason}") from error
        if short := short_table(there):
            raise TraceError(f"the model has no length {length:,}: {short}")
        self._figures["length", length] = self._figures_of(there, "length", length)

    def at(self, sizes: AxisSizes) -> tuple[Graph, JointGraph]:
        """Return the graph and the joint graph of the step at other sizes. :meth:`learn` makes missing traces first.

        Bytes that were traced become the bytes that a trace at these sizes finds. Bytes that were measured by a
        calibration change in proportion to the traced bytes. The times of the forward calls change in proportion to the
        times that a roofline estimates. Measured workspace changes as in
        :mod:`recompviz.pytorch.tracing.resized_workspace`.

        Parameters
        ----------
        sizes : mapping of str to int
            The new size of some axes, by name.

        Raises
        ------
        TraceError
            As for :meth:`learn`, and if the step cannot run at a longer length.
        ValueError
            If a size is outside the range of its axis.
        """
        for axis in self.axes:
            if not 1 <= sizes.get(axis.name, axis.size) <= axis.most:
                raise ValueError(f"{axis.name} is {sizes[axis.name]}, expected 1 to {axis.most}")
        self.learn(sizes)
        trace, base = self.trace, self._base
        grown = {name: self._polynomial(name, sizes) for name in ("storages", "nodes", "clones", "tangent")}
        graph, joint = trace.graph, trace.joint
        storages = _scaled(np.array([s.size for s in joint.storages], np.float64), base.storages, grown["storages"])
        resized = replace(
            joint,
            storages=tuple(replace(s, size=int(n)) for s, n in zip(joint.storages, storages, strict=True)),
            clones=tuple((s, int(n)) for (s, _), n in zip(joint.clones, grown["clones"], strict=True)),
            tangent_bytes=int(grown["tangent"][0]),
            workspace=self._workspace(sizes),
            seconds=(),
        )
        estimated = np.maximum(self._polynomial("times", sizes), 0)
        times = graph.time * np.divide(estimated, base.times, out=np.ones_like(estimated), where=base.times > 0)
        times = rounded_times(times, max(LEAST_PARTS, PARTS_PER_NODE * len(times)))
        memory = _scaled(graph.memory.astype(np.float64), base.nodes, grown["nodes"]).astype(np.int64)
        info = tuple(
            dataclasses.replace(one, shape=self._shape(v, one.shape, sizes)) for v, one in enumerate(graph.info)
        )
        return Graph(graph.names, memory, times, graph.edges, info), resized

    def _workspace(self, sizes: AxisSizes) -> tuple[int, ...]:
        """Return the workspace of each call at other sizes, in bytes."""
        base, joint = self._base, self.trace.joint
        changes = np.zeros(len(base.operands), np.bool_)
        for figures in self._figures.values():
            changes |= figures.operands != base.operands
        shrinks = torch.device(self.trace.device).type == "cpu"
        after = self._polynomial("operands", sizes)
        return resized_workspace(joint.workspace, base.call_of, base.operands, after, changes, shrinks=shrinks)

    def _polynomial(self, name: str, sizes: AxisSizes) -> NDArray[np.float64]:
        """Return one array of figures at other sizes: the polynomial in the length, times the growth in the batch."""
        values: NDArray[np.float64] = getattr(self._base, name)
        growth = np.ones_like(values)
        for axis in self.axes:
            size = sizes.get(axis.name, axis.size)
            if (axis.name, size) in self._figures:
                there = getattr(self._figures[axis.name, size], name)
            else:
                points = [(axis.size, values)]
                points += [
                    (at, getattr(figures, name))
                    for (which, at), figures in self._figures.items()
                    if which == axis.name and (which == "batch" or at in _lengths_of(axis))
                ]
                there = _lagrange(points, size)
            growth *= np.divide(there, values, out=np.ones_like(values), where=values != 0)
        return values * growth if name == "times" else np.rint(values * growth)

    def _shape(self, v: int, shape: tuple[int, ...], sizes: AxisSizes) -> tuple[int, ...]:
        """Return the shape of a value: each dimension grows as in the traces at other sizes."""
        found = list(map(float, shape))
        for axis in self.axes:
            size = sizes.get(axis.name, axis.size)
            if size == axis.size:
                continue
            known = (size, 2 * axis.size) if axis.name == "batch" else (size, *_lengths_of(axis))
            at = next(one for one in known if (axis.name, one) in self._figures)
            step = (size - axis.size) / (at - axis.size)
            for i, (here, there) in enumerate(zip(shape, self._figures[axis.name, at].shapes[v], strict=True)):
                found[i] *= 1 + step * (there - here) / here if here else 1
        return tuple(map(round, found))


@dataclass(frozen=True, eq=False)
class _Figures:
    """The figures of one trace that depend on sizes, and its structure, which does not."""

    structure: tuple[Any, ...]
    storages: NDArray[np.float64]
    nodes: NDArray[np.float64]
    clones: NDArray[np.float64]
    tangent: NDArray[np.float64]
    times: NDArray[np.float64]
    operands: NDArray[np.float64]
    call_of: NDArray[np.int64]
    shapes: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, trace: Trace) -> _Figures:
        """Return the figures of a trace that is not calibrated."""
        joint, folded, graph = trace.joint, trace.folded, trace.graph
        operands = [operand_bytes(node) for node in folded.call_node]
        return cls(
            (
                tuple((c.info.op, c.node, c.reads, c.makes, c.views, c.follows) for c in joint.calls),
                tuple((s.maker, s.category) for s in joint.storages),
                tuple(s for s, _ in joint.clones),
                tuple(map(len, operands)),
            ),
            np.array([storage.size for storage in joint.storages], np.float64),
            graph.memory.astype(np.float64),
            np.array([size for _, size in joint.clones], np.float64),
            np.array([joint.tangent_bytes], np.float64),
            node_times(folded, estimated_times(folded, torch.device(trace.device))),
            np.array([size for sizes in operands for size in sizes], np.float64),
            np.repeat(np.arange(len(operands)), [len(sizes) for sizes in operands]),
            tuple(info.shape for info in graph.info),
        )


def _lengths_of(axis: Axis) -> tuple[int, ...]:
    """Return the lengths from which, and the traced one, the figures of all shorter lengths follow."""
    return tuple(axis.size // part for part in PARTS_OF_LENGTH)


def _lagrange(points: list[tuple[int, NDArray[np.float64]]], at: int) -> NDArray[np.float64]:
    """Return the polynomial through points (size, values) at another size."""
    total = np.zeros_like(points[0][1])
    for i, (x, values) in enumerate(points):
        weight = 1.0
        for j, (other, _) in enumerate(points):
            if i != j:
                weight *= (at - other) / (x - other)
        total = total + weight * values
    return total


def _scaled(now: NDArray[np.float64], traced: NDArray[np.float64], grown: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return measured sizes in proportion to the growth of the traced ones."""
    return np.where(
        now == traced, grown, np.rint(now * np.divide(grown, traced, out=np.ones_like(now), where=traced > 0))
    )
