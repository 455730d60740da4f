"""Cost models: the forward cost T_v of each node of the graph, in milliseconds, in FLOP or in the units of the paper.

A cost model gives each forward call a cost. The cost of a node is the sum over its calls. A view has no call and costs
0. Only the paper's model differs: a convolution costs 10, and any other node, also a view, costs 1.

The default model, ``"time"``, takes the measured times of a calibrated trace. For any other trace, it estimates times
by a roofline with documented figures of the device.
"""

from __future__ import annotations

import functools
import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np
import torch
from torch.fx import Node
from torch.utils import _pytree as pytree
from torch.utils.flop_counter import flop_registry

from recompviz.core.base.arguments import shown
from recompviz.core.graphs.cost_arrays import rounded_times
from recompviz.pytorch.internals.devices.runtimes import runtime
from recompviz.pytorch.internals.operators import is_random
from recompviz.pytorch.tracing.device_speeds import speed_of
from recompviz.pytorch.tracing.folding import Folded

if TYPE_CHECKING:
    from numpy.typing import NDArray

aten = torch.ops.aten

CostName = Literal["time", "paper", "flops", "roofline", "measured"]

# The unit of rounded times is a fraction of the forward pass: at most 1/1,000, and at most 1/8 of the mean node.
LEAST_PARTS = 1000
PARTS_PER_NODE = 8


@dataclass(frozen=True)
class Roofline:
    """The roofline model of a device; frozen. It estimates the time of a call from the call's operations and bytes.

    A call takes ``seconds_per_call`` plus the longer of two times: the time of its arithmetic, and the time to read and
    write its tensors.

    Attributes
    ----------
    flops_per_second : float
        Peak floating-point operations per second, above 0.
    bytes_per_second : float
        Peak bytes read and written per second, above 0.
    seconds_per_call : float
        Time to launch a call, in seconds, 0 or more.

    Raises
    ------
    ValueError
        If a number is outside its range or not finite.
    TypeError
        If an attribute is not a number.

    References
    ----------
    Williams, Waterman, Patterson, *Roofline: An Insightful Visual Performance Model*, CACM 2009.

    Examples
    --------
    >>> Roofline(flops_per_second=2e12, bytes_per_second=1e12).seconds(flops=1e12, moved=1e11)
    0.5
    """

    flops_per_second: float
    bytes_per_second: float
    seconds_per_call: float = 0.0

    def __post_init__(self) -> None:
        for name in ("flops_per_second", "bytes_per_second"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise TypeError(f"{name} is {shown(value)}, expected a number above 0, for example 1e12")
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} is {value}, expected a finite number above 0")
        if not (math.isfinite(self.seconds_per_call) and self.seconds_per_call >= 0):
            raise ValueError(f"seconds_per_call is {self.seconds_per_call}, expected 0 or more")

    def seconds(self, flops: float, moved: float) -> float:
        """Return the estimated time of one call, in seconds.

        Parameters
        ----------
        flops : float
            Floating-point operations of the call.
        moved : float
            Bytes that the call reads and writes.
        """
        return self.seconds_per_call + max(flops / self.flops_per_second, moved / self.bytes_per_second)


Costs: TypeAlias = CostName | Roofline


def unit_of(costs: Costs, calibrated: bool = False) -> str:
    """Return the unit of a cost model as text, for display.

    Parameters
    ----------
    costs : "time", "paper", "flops", "roofline", "measured" or Roofline
        The cost model; :meth:`recompviz.Trace.with_costs` explains each.
    calibrated : bool
        Whether the trace has measured times. This matters only for ``"time"``.

    Raises
    ------
    ValueError
        If ``costs`` is none of these. The message lists them.

    Examples
    --------
    >>> unit_of("time"), unit_of("time", calibrated=True), unit_of("flops"), unit_of(Roofline(1e12, 1e11))
    ('ms (estimated)', 'ms (measured)', 'FLOP', 'ms (roofline)')
    """
    if isinstance(costs, Roofline):
        return "ms (roofline)"
    units: dict[CostName, str] = {
        "time": "ms (measured)" if calibrated else "ms (estimated)", "paper": "units of the paper", "flops": "FLOP",
        "roofline": "ms (roofline)", "measured": "ms (measured)",
    }  # fmt: skip
    if not isinstance(costs, str) or costs not in units:
        choices = ", ".join(map(repr, get_args(CostName)))
        raise ValueError(f"costs {shown(costs)} are unknown; choose {choices} or a Roofline(…)")
    return units[costs]


def priced(folded: Folded, costs: Costs, device: torch.device) -> Folded:
    """Return a copy of a traced training step with the costs of another cost model. Only ``graph.time`` differs.

    Parameters
    ----------
    folded : Folded
    costs : "time", "paper", "flops", "roofline", "measured" or Roofline
        The cost model; :meth:`recompviz.Trace.with_costs` explains each.
    device : torch.device
        The device for which times are estimated, by its documented figures or a measured roofline.

    Raises
    ------
    ValueError
        If there is no such cost model, if it is ``"measured"`` and the step has no measured times, or if it is
        ``"roofline"`` and the device is not in this machine or is the meta device.
    """
    unit_of(costs)  # raises ValueError if unknown
    times = _paper_times(folded) if costs == "paper" else node_times(folded, _call_costs(folded, costs, device))
    if costs == "time":
        times = rounded_times(times, max(LEAST_PARTS, PARTS_PER_NODE * len(times)))
    return replace(folded, graph=replace(folded.graph, time=times))


def node_times(folded: Folded, call_costs: Sequence[float]) -> NDArray[np.float64]:
    """Return the forward cost T_v of each node, the sum of the costs of the node's calls, as an array of shape (#V,).

    Parameters
    ----------
    folded : Folded
    call_costs : sequence of float
        One cost for each forward call, in the order of the joint graph. Costs of all backward calls may follow; they
        are not used.

    Raises
    ------
    ValueError
        If the number of costs is neither the number of forward calls nor that of all calls.
    """
    joint = folded.joint
    if len(call_costs) not in (joint.forward_count, len(joint.calls)):
        raise ValueError(
            f"{len(call_costs)} call costs for {joint.forward_count} forward calls ({len(joint.calls)} calls in all); "
            "give one for each forward call, in the order of the joint graph"
        )
    return np.array([sum(call_costs[c] for c in calls) for calls in folded.node_calls], np.float64)


def _paper_times(folded: Folded) -> NDArray[np.float64]:
    """Return the paper's T_v: 10 for a convolution, and 1 for any other node. A transposed convolution gets 1."""

    def is_convolution(node: Node) -> bool:
        return node.target is aten.convolution.default and not node.args[6]

    return np.array(
        [10.0 if any(is_convolution(folded.call_node[c]) for c in calls) else 1.0 for calls in folded.node_calls]
    )


def _call_costs(folded: Folded, costs: Costs, device: torch.device) -> Sequence[float]:
    nodes = folded.call_node[: folded.joint.forward_count]
    if costs == "measured" and not folded.joint.seconds:
        raise ValueError('costs "measured" need each call\'s time: run recompviz.calibrate(trace) first')
    if costs == "measured" or (costs == "time" and folded.joint.seconds):
        return [1000 * seconds for seconds in folded.joint.seconds]
    if costs == "flops":
        return [flops(node) for node in nodes]
    if costs == "time":
        return estimated_times(folded, device)
    roofline = costs if isinstance(costs, Roofline) else measure_roofline(device, _main_dtype(nodes))
    return [1000 * roofline.seconds(flops(node), bytes_moved(node)) for node in nodes]


def estimated_times(folded: Folded, device: torch.device) -> list[float]:
    """Estimate the milliseconds of each forward call from the documented figures of the device."""
    nodes = folded.call_node[: folded.joint.forward_count]
    speed = speed_of(device)
    roofline = documented_roofline(device, _main_dtype(nodes))
    times = []
    for node in nodes:
        made = sum(t.numel() for t in _tensors(node.meta.get("val"))[:1])
        seconds = roofline.seconds(flops(node), bytes_moved(node))
        times.append(1000 * (seconds + speed.draw * made * is_random(node.target)))
    return times


# -------------------------------------------------------------------- counting


def flops(node: Node) -> float:
    """Count the floating-point operations of a call.

    Convolutions, matrix products and attention have formulas in :mod:`torch.utils.flop_counter`. These formulas count
    a multiplication and an addition as two operations. Any other operator counts one operation for each element that it
    returns.
    """
    value = node.meta.get("val")
    formula: Callable[..., Any] | None = flop_registry.get(getattr(node.target, "overloadpacket", None))
    if formula is None:
        return float(sum(tensor.numel() for tensor in _tensors(value)))
    arguments, keywords = pytree.tree_map_only(Node, lambda n: n.meta.get("val"), (node.args, node.kwargs))
    return float(formula(*arguments, **keywords, out_val=value))


def bytes_moved(node: Node) -> float:
    """Count the bytes that a call reads and writes: the bytes of its input and output tensors, each tensor once."""
    return float(sum(operand_bytes(node)))


def operand_bytes(node: Node) -> list[int]:
    """Return the bytes of each tensor that a call reads or returns, each tensor once.

    Parameters
    ----------
    node : torch.fx.Node
        A call of the joint graph. Its metadata describe its tensors.
    """
    tensors = [t for each in (*node.all_input_nodes, node) for t in _tensors(each.meta.get("val"))]
    return [t.numel() * t.element_size() for t in tensors]


def _tensors(value: Any) -> list[torch.Tensor]:
    return [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, torch.Tensor)]


# -------------------------------------------------------------------- the roofline of a device


def documented_roofline(device: torch.device, dtype: torch.dtype = torch.float32) -> Roofline:
    """Return the roofline of a device from the figures of :func:`speed_of`. Nothing is measured.

    Parameters
    ----------
    device : torch.device
    dtype : torch.dtype
        The dtype of the arithmetic.

    Examples
    --------
    >>> documented_roofline(torch.device("cpu"))
    Roofline(flops_per_second=50000000000.0, bytes_per_second=10000000000.0, seconds_per_call=2e-06)
    """
    speed = speed_of(device)
    return Roofline(speed.flops_per_second(dtype), speed.traffic, speed.launch)


def _made(nodes: Sequence[Node]) -> list[torch.Tensor]:
    return [t for node in nodes for t in _tensors(node.meta.get("val"))]


def _main_dtype(nodes: Sequence[Node]) -> torch.dtype:
    """Return the most frequent floating-point dtype among the results; float32 if there is none."""
    types = Counter(t.dtype for t in _made(nodes) if t.dtype.is_floating_point)
    return types.most_common(1)[0][0] if types else torch.float32


@functools.cache
def measure_roofline(device: torch.device, dtype: torch.dtype = torch.float32) -> Roofline:
    """Measure the roofline of a device with a matrix product and a copy.

    The measurement takes a few tenths of a second and runs once in a process for each device and dtype. Launch times
    are not measured: ``seconds_per_call`` is 0.

    Parameters
    ----------
    device : torch.device
    dtype : torch.dtype
        The dtype of the matrices. Most devices multiply short dtypes faster.

    Raises
    ------
    ValueError
        If the device is the meta device, which computes nothing, or a device that is not in this machine.
    """
    if device.type == "meta":
        raise ValueError("the meta device computes nothing; give the real one's numbers: costs=Roofline(…, …)")
    if not runtime(device).is_available():
        raise ValueError(
            f"this machine has no {device.type.upper()} device to measure; give its numbers: costs=Roofline(…, …)"
        )
    side, block = (1024, 2**26) if device.type == "cpu" else (4096, 2**28)
    with torch.inference_mode():
        a = torch.ones(side, side, device=device, dtype=dtype)
        out = torch.empty_like(a)
        product = _least_seconds(lambda: torch.mm(a, a, out=out), device)
        source = torch.ones(block, device=device, dtype=torch.uint8)
        target = torch.empty_like(source)
        copy = _least_seconds(lambda: target.copy_(source), device)
    return Roofline(2 * side**3 / product, 2 * block / copy)


def _least_seconds(action: Callable[[], object], device: torch.device, repeats: int = 4) -> float:
    """Return the shortest of several runs of an action, in seconds. One run before them warms up."""

    def run() -> float:
        runtime(device).synchronize()
        start = time.perf_counter()
        action()
        runtime(device).synchronize()
        return time.perf_counter() - start

    run()
    return min(run() for _ in range(repeats))
