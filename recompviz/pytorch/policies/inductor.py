"""``rv.Partitioner`` lets a plan decide which values a graph saves, while Inductor makes the kernels.

Inductor asks its partitioner to split each joint graph into a forward and a backward graph. The backward graph
recomputes every value that it needs and that the forward graph does not save. The split is made once, when the graph is
compiled.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.fx import GraphModule

from recompviz.core.base.arguments import shown
from recompviz.core.base.errors import InfeasibleBudget
from recompviz.core.base.units import format_bytes, parse_total
from recompviz.core.planning.step_plans import Outside, step_plans
from recompviz.pytorch.internals.devices.runtimes import device_of, runtime
from recompviz.pytorch.internals.inductor_code import graph_key
from recompviz.pytorch.internals.memory_window import memory_window
from recompviz.pytorch.internals.optimizers import state_tensors
from recompviz.pytorch.internals.partitioner import (
    CustomPartitionerFn,
    Split,
    copied_joint,
    default_split,
    is_plain_joint,
)
from recompviz.pytorch.internals.profiler import allocation_events
from recompviz.pytorch.internals.user_lines import warn_user
from recompviz.pytorch.policies.inductor_joint import InductorJoint, PlannedGraph, gradient_bytes, resident_bytes
from recompviz.pytorch.policies.split_candidates import SimulatedPlans, SplitCandidates
from recompviz.pytorch.tracing.optimizer_state import state_bytes
from recompviz.pytorch.tracing.step import TraceError, expect_optimizer


class UnplannedPartition(UserWarning):
    """A graph cannot be planned, or none of its plans fits. The training step may take more memory than ``total``."""


class Partitioner(CustomPartitionerFn):
    """A partitioner for Inductor that splits each joint graph so that a training step fits a total.

    Each graph is split once, when it is compiled. PyTorch's own split is used if it fits. Otherwise a search
    finds plans, and they are simulated. For a few of these plans, Inductor generates code without compiling kernels,
    and the buffers in this code are counted. Among the plans with counted buffers that fit, the plan that recomputes
    least is used.

    Parameters
    ----------
    total : int, float or str
        The most bytes that a training step may take, or a string such as ``"10 GiB"``. It includes parameters,
        gradients, inputs, optimizer state, and the buffers of the forward and backward pass.
    optimizer : torch.optim.Optimizer, optional
        If given, the total includes the optimizer's state, all parameters that the optimizer has, and their gradients.
        If left out, only parameters, buffers, inputs and gradients that are in the captured graphs count.

    Attributes
    ----------
    graphs : list of PlannedGraph
        One for each joint graph that can be planned, in the order of compilation.
    outside : int
        Bytes by which the measured peak was above the predicted peak in the last measurement of :meth:`calibrate`; 0
        before the first measurement, and if the measured peak was not above the predicted peak.

    Raises
    ------
    TypeError
        If ``total`` is neither a number nor a string, or ``optimizer`` is not an optimizer.
    ValueError
        If ``total`` is not a size of at least 1 byte.
    InfeasibleBudget
        When the first graph is compiled and no plan of it fits, before the training step allocates anything. Dynamo
        wraps this error in its own.

    Warns
    -----
    UnplannedPartition
        If PyTorch splits a graph that cannot be planned, for example because it contains flex attention; if no plan
        of a later graph fits the bytes that the earlier graphs leave; or if no plan of the first graph fits and
        Inductor's code cannot be counted.

    Notes
    -----
    *Several graphs.* If Dynamo breaks a model into several graphs, each graph is split before the next one is known. A
    graph may use the part of the total that the earlier graphs leave. :meth:`calibrate` divides the total again, over
    all graphs of a step.

    *PyTorch's own split* is also rejected if its backward graph draws a random seed again, or reads a buffer that the
    forward pass has overwritten. PyTorch (2.13, 2.14) does not check this, and such a split gives wrong gradients.

    *Memory that is not known when a graph is compiled*: memory of code outside the graphs (a loss, its gradients),
    memory that kernels use internally, and gradients that accumulate over several backward passes. :meth:`calibrate`
    measures these.

    *Random numbers.* Inductor draws a seed and saves it, so a recomputed dropout drops the same elements. With
    ``fallback_random``, the results of random operators are saved. Results of collectives are always saved.

    *Dynamic shapes.* A symbolic size counts with its value in the example with which the graph was compiled. With
    larger sizes, a training step takes more.

    *Checkpoints* (``torch.utils.checkpoint``) inside a graph are replaced by the plan.

    Examples
    --------
    >>> import recompviz as rv
    >>> partitioner = rv.Partitioner(total="10 GiB")
    >>> partitioner.predicted is None  # no graph is compiled yet
    True

    For one model, or for every model that is compiled from now on::

        compiled = torch.compile(model, options={"custom_partitioner_fn": partitioner})
        torch._inductor.config.custom_partitioner_fn = partitioner
    """

    def __init__(self, total: int | float | str, *, optimizer: torch.optim.Optimizer | None = None) -> None:
        self.total = parse_total(total)
        expect_optimizer(optimizer)
        self.optimizer = optimizer
        self.outside = 0
        self.graphs: list[PlannedGraph] = []
        self._identity, self._version = uuid.uuid4().hex, 0
        self._devices: set[str] = set()
        # by the code of the graph, in the order of compilation
        self._known: dict[str, InductorJoint] = {}
        self._plans: dict[str, SimulatedPlans] = {}
        self._state: tuple[tuple[int, ...], int] | None = None  # identities of the trained parameters, bytes
        self._rows: dict[str, int] = {}  # plans that were chosen for all graphs of a step together

    def uuid(self) -> Any:
        """Return the key under which Inductor caches a graph. It changes with each graph, so no cached graph is used.

        If Inductor took a graph from its cache, this partitioner would not be called, and the bytes of this graph would
        not be counted.
        """
        return f"{self._identity} {self._version}"

    def __reduce__(self) -> Any:
        # Inductor pickles its settings to make a key of a cache
        return _restored, (self.total, self.uuid())

    @property
    def predicted(self) -> int | None:
        """The predicted peak of a training step in bytes, parameters included; None before a graph was planned."""
        if not self.graphs:
            return None
        held, most = 0, 0
        for i, graph in enumerate(self.graphs):
            gradients = gradient_bytes(later.outside for later in self.graphs[i + 1 :])  # their backward passes ran
            most = max(most, held + graph.memory.forward, held + graph.memory.backward + gradients)
            held += graph.memory.held
        return self._resident() + most

    def __call__(
        self, gm: GraphModule, joint_inputs: Sequence[object], **options: Any
    ) -> tuple[GraphModule, GraphModule]:
        """Split a joint graph into a forward and a backward graph; called by Inductor."""
        if not joint_inputs or not is_plain_joint(gm):
            if joint_inputs:  # a subgraph has none, and the graph that contains it warns
                self._warn_unplanned(gm, "it contains a subgraph or an operator with side effects")
            return default_split(gm, joint_inputs, options)
        try:
            return self._planned(gm, joint_inputs, options)
        except TraceError as error:
            self._warn_unplanned(gm, str(error))
            return default_split(gm, joint_inputs, options)

    def calibrate(self, step: Callable[[], object]) -> int:
        """Measure a training step, and plan again if it takes more than the total.

        The first call of ``step`` compiles the model, and the second call is measured. If the measured peak is above
        the total, the compiled code is dropped (``torch.compiler.reset``). If the step has several graphs, the total is
        divided again over all of them. The step is compiled and measured once more, with :attr:`outside` as a part of
        the total. Afterwards, :attr:`predicted` includes :attr:`outside`. If no graph can be planned, the step is only
        measured.

        Parameters
        ----------
        step : callable
            Runs one training step: forward, backward, optimizer step, ``zero_grad``. It is called twice, or four times
            if the step is planned again.

        Returns
        -------
        int
            The peak of the last measurement in bytes, parameters included.

        Raises
        ------
        TypeError
            If ``step`` is not callable.
        ProfilerBusy
            If another profiler is running.
        InfeasibleBudget
            If no combination of plans fits. Dynamo wraps this error in its own if the model is one graph.
        """
        if not callable(step):
            raise TypeError(f"step is {shown(step)}, expected a function that runs one training step without arguments")
        measured = self._measure(step)
        if measured > self.total and self.graphs:
            if len(self.graphs) > 1:
                self._choose_together()
            torch.compiler.reset()
            self.graphs = []
            self._version += 1
            measured = self._measure(step)
        return measured

    def _measure(self, step: Callable[[], object]) -> int:
        """Measure a step, set :attr:`outside`, and return the measured peak."""
        step()
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]] if self.optimizer else []
        device = device_of([*parameters, *(torch.empty(0, device=name) for name in self._devices)])
        with memory_window(device) as window:
            step()
        inside: set[int] = set()
        before, now, most = 0, 0, 0  # blocks that are freed here and were there before the step, such as gradients
        for event in allocation_events(window.profiled, device.type):
            now += event.size
            most = max(most, now)
            if event.size > 0:
                inside.add(event.address)
            elif event.size < 0 and event.address not in inside:
                before -= event.size
            else:
                inside.discard(event.address)
        self.outside = 0
        measured = self._before_step() + before + most
        self.outside = max(0, measured - (self.predicted or 0))
        return measured

    def _before_step(self) -> int:
        """Bytes of parameters, buffers, inputs and optimizer state."""
        tensors = state_tensors([self.optimizer] if self.optimizer else [])
        state = sum(runtime(t.device).rounded(t.untyped_storage().nbytes()) for t in tensors)
        return resident_bytes(graph.outside for graph in self.graphs) + state

    def _choose_together(self) -> None:
        """Choose the plans of all graphs of a step together."""
        room = self.total - self._resident()
        for key, graph in self._known.items():
            if key not in self._plans:  # PyTorch's split was used
                self._plans[key] = SimulatedPlans.of(graph, key)
        options = [SplitCandidates(graph, self._plans[key]).options() for key, graph in self._known.items()]
        front = step_plans(options, [Outside()] * len(options))
        point = front.fitting(room)
        if point is None:
            raise InfeasibleBudget(self.total, self.total - room + front.least, "total")
        self._rows = dict(zip(self._known, front.choices[point], strict=True))

    def _warn_unplanned(self, gm: GraphModule, reason: str) -> None:
        warn_user(
            f"a graph of {len(gm.graph.nodes)} nodes is split by PyTorch's own partitioner, without a budget: {reason}",
            UnplannedPartition,
        )

    def _planned(self, gm: GraphModule, inputs: Sequence[object], options: dict[str, Any]) -> Split:
        """Split a joint graph by PyTorch's own split if it fits, otherwise by a plan."""
        self._version += 1
        joint = copied_joint(gm)
        static = options.get("static_lifetime_input_indices") or []
        graph = InductorJoint.of(joint, options["num_fwd_outputs"], static)
        room = self.total - self._resident(graph) - sum(known.memory.held for known in self.graphs)
        self._devices.add(str(device_of(node.meta.get("val") for node in joint.graph.nodes)))
        key = graph_key(gm, options["num_fwd_outputs"], static)
        if key in self._rows:
            row, candidates = self._rows[key], SplitCandidates(graph, self._plans[key])
            self.graphs.append(candidates.planned(row))
            return candidates.split(row)
        self._known[key] = graph
        split = default_split(copied_joint(gm), inputs, options)
        # cheap checks first; the saved values and all gradients need not be in use at the same time
        if graph.saved_by(split) <= room and graph.computes_right(split):
            memory = graph.counted(split)
            if memory is not None and memory.peak <= room:
                self.graphs.append(graph.planned("PyTorch", memory, True, 0.0))
                return split
        self._plans[key] = SimulatedPlans.of(graph, key)
        candidates = SplitCandidates(graph, self._plans[key])
        best = candidates.least_recomputation(room)
        row = candidates.leanest if best is None else best
        if best is None:
            self._refuse(gm, candidates, room)
        self.graphs.append(candidates.planned(row))
        return candidates.split(row)

    def _refuse(self, gm: GraphModule, candidates: SplitCandidates, room: int) -> None:
        """Raise an error if the graph is the first one and its bytes were counted; otherwise warn that no plan fits."""
        least = self.total - room + candidates.memory(candidates.leanest).peak
        if candidates.exact and not self.graphs:
            raise InfeasibleBudget(self.total, least, "total")
        warn_user(
            f"no plan of a graph of {len(gm.graph.nodes)} nodes fits the total {format_bytes(self.total)}; the step "
            f"may take {format_bytes(least)}. Call partitioner.calibrate(step), which divides the total over all "
            "graphs, or raise the total",
            UnplannedPartition,
        )

    def _resident(self, more: InductorJoint | None = None) -> int:
        """Bytes in use before the step, with the bytes that code outside the graphs takes.

        ``more`` is a graph that is not in :attr:`graphs` yet.
        """
        graphs = [graph.outside for graph in self.graphs] + ([more.outside] if more else [])
        resident = resident_bytes(graphs) + self.outside
        if self.optimizer is None:
            return resident
        trained = [p for group in self.optimizer.param_groups for p in group["params"] if p.requires_grad]
        device = device_of(trained)
        others = sum(runtime(device).rounded(p.untyped_storage().nbytes()) for p in trained) - gradient_bytes(graphs)
        # parameters that no graph has, and their gradients
        return resident + self._optimizer_state(trained) + 2 * max(0, others)

    def _optimizer_state(self, trained: list[torch.Tensor]) -> int:
        """Bytes of the optimizer's state; counted again if other parameters are trained."""
        assert self.optimizer is not None
        identities = tuple(map(id, trained))
        if self._state is None or self._state[0] != identities:
            self._state = identities, state_bytes(self.optimizer)
        return self._state[1]


def _restored(total: int, _identity: str) -> Partitioner:
    return Partitioner(total)
