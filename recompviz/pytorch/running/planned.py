"""``apply``: a module that trains like the model, within the plan's memory.

It has the model's parameters and ``state_dict``; calling it returns the loss, and ``backward()`` on
that recomputes what the plan does not keep. A call that the trace does not hold for (another
shape, dtype, device, training flag, attribute) is met by a new trace, or by plain eager execution
where there is nothing to plan, and said once; never by a wrong answer.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.utils import _pytree as pytree

from recompviz.core.base.errors import InfeasibleBudget, RecompvizError
from recompviz.core.live.search import KIND as LIVE
from recompviz.core.plans.plan import Plan
from recompviz.pytorch.internals.autograd import autocast_off, keeps_graph
from recompviz.pytorch.running.program import Mark, Program, write_program
from recompviz.pytorch.tracing.signature import Signature
from recompviz.pytorch.tracing.traced_step import Trace, simulate
from recompviz.pytorch.tracing.tracer import trace_again

# traces kept for other batch shapes, least recently used dropped
_MOST_TRACES = 8


class PlanWarning(UserWarning):
    """A call was met by something else than the plan's own program."""


class SecondBackward(RecompvizError, RuntimeError):
    """``backward()`` ran again through a step whose values were freed by the first time."""


class PlannedModule(nn.Module):
    """The model's training step under a plan; made by :func:`apply`.

    ``planned(*inputs, *targets, **kwargs)`` returns the scalar loss.
    """

    def __init__(self, trace: Trace, plan: Plan) -> None:
        super().__init__()
        self.step = trace.step
        self.training = trace.model.training
        self._input_count = len(trace.arguments[0])
        self._plan = plan
        self._programs: dict[Signature, tuple[Trace, Plan, Program]] = {}
        self._told: set[str] = set()
        self._home = trace
        if not trace.estimated:
            self._remember(trace, plan)

    @property
    def plan(self) -> Plan:
        """The plan it was made with."""
        return self._plan

    @property
    def trace(self) -> Trace:
        """The trace it was made from."""
        return self._home

    @property
    def program(self) -> Program:
        """The program of the plan it was made with; ``.source`` is its text."""
        self._refuse_estimated()
        return self._home_program

    # ---------------------------------------------------------------- running

    def forward(self, *values: Any, **kwargs: Any) -> torch.Tensor:
        """The scalar loss of one step.

        Parameters
        ----------
        *values
            The inputs, then the targets, as many as were traced.
        **kwargs
            Keyword arguments of the model.
        """
        arguments = (values[: self._input_count], kwargs, values[self._input_count :])
        if not torch.is_grad_enabled():
            self._tell("gradients are switched off: there is no backward pass to plan for; runs eagerly")
            return self._eager(arguments)
        signature = Signature.of(self.step, arguments)
        found = self._programs.get(signature)
        if found is None:
            found = self._retrace(arguments, signature)
        return self._run(found[0], found[2], arguments)

    def _run(self, trace: Trace, program: Program, arguments: Any) -> torch.Tensor:
        values = placeholder_values(trace, arguments)
        loss: torch.Tensor = _PlannedStep.apply(  # type: ignore[no-untyped-call]
            program, trace.folded.mutated_positions, *values
        )
        return loss

    def marked(self, mark: Mark, *values: Any, **kwargs: Any) -> Callable[[], torch.Tensor]:
        """A function that gives the loss, each step of the schedule run inside ``mark(step)``; for measuring."""
        arguments = (values[: self._input_count], kwargs, values[self._input_count :])
        self._refuse_estimated()
        difference = self._home.signature.difference(Signature.of(self.step, arguments))
        if difference:
            raise RecompvizError(f"cannot measure this plan on another step than it was traced for: {difference}")
        program = write_program(self._home.folded, self._home.schedule(self._plan), mark)
        return lambda: self._run(self._home, program, arguments)

    def _refuse_estimated(self) -> None:
        if self._home.estimated:
            raise RecompvizError(
                f"this plan is of a trace without memory, estimated for {self._home.device}: it has no program to "
                "measure or read; trace the model where it runs"
            )

    def _eager(self, arguments: Any) -> torch.Tensor:
        result: torch.Tensor = self.step(*arguments)
        return result

    # ---------------------------------------------------------------- other calls than the traced one

    def _remember(self, trace: Trace, plan: Plan) -> tuple[Trace, Plan, Program]:
        program = write_program(trace.folded, trace.schedule(plan))
        if trace is self._home:
            self._home_program = program
        while len(self._programs) >= _MOST_TRACES:
            oldest = next(key for key in self._programs if key != self._home.signature)
            del self._programs[oldest]
        self._programs[trace.signature] = trace, plan, program
        return self._programs[trace.signature]

    def _retrace(self, arguments: Any, signature: Signature) -> tuple[Trace, Plan, Program]:
        difference = self._home.signature.difference(signature)
        if self._home.estimated:
            difference = f"the plan was estimated for {self._home.device} without memory"
        self._tell(f"{difference}: traced anew")
        other = trace_again(self._home, arguments)
        if other.estimated:
            raise RecompvizError("the step is called on the meta device, where nothing can run; move model and inputs")
        return self._remember(other, carry_over(self._plan, self._home, other))

    def _tell(self, what: str) -> None:
        if what not in self._told:
            self._told.add(what)
            warnings.warn(f"recompviz: {what} (said once)", PlanWarning, stacklevel=4)

    # ---------------------------------------------------------------- looking like the model

    def train(self, mode: bool = True) -> PlannedModule:
        """Switch the model, and the loss if it is a module, between training and evaluation."""
        super().train(mode)
        return self

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """The model's own ``state_dict``."""
        return self.step.model.state_dict(*args, **kwargs)

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Load the model's own ``state_dict``."""
        return self.step.model.load_state_dict(state_dict, *args, **kwargs)

    def named_parameters(self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True) -> Iterator[Any]:
        """The model's parameters under their own names, then the loss's, if it has any."""
        yield from self.step.model.named_parameters(prefix, recurse, remove_duplicate)
        if isinstance(self.step.loss, nn.Module):
            yield from self.step.loss.named_parameters(f"{prefix}loss", recurse, remove_duplicate)


def apply(trace: Trace, plan: Plan) -> PlannedModule:
    """The model's training step under a plan, as a module that returns the loss.

    Parameters
    ----------
    trace : Trace
    plan : Plan
        Of ``trace``'s graph; several plans of one trace can be applied, each module its own.

    Raises
    ------
    PlanMismatch
        If the plan is for another graph.

    Examples
    --------
    >>> import torch, recompviz as rv
    >>> model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
    >>> x, y = torch.ones(4, 8), torch.zeros(4, 1)
    >>> t = rv.trace(model, x, targets=(y,), loss=torch.nn.functional.mse_loss)
    >>> planned = rv.apply(t, t.plan("1 MiB"))
    >>> planned(x, y).backward()
    >>> model[0].weight.grad.shape
    torch.Size([8, 8])
    """
    return PlannedModule(trace, trace.check(plan))


def carry_over(plan: Plan, old: Trace, new: Trace) -> Plan:
    """The plan for another trace of the same model, for example of a smaller last batch.

    Where the graph has the same shape, the same values are kept; otherwise the plan of the new
    graph that fits the total bytes the old one took, or the least one there is.
    """
    if (
        old.graph.names == new.graph.names
        and old.graph.edges.shape == new.graph.edges.shape
        and bool((old.graph.edges == new.graph.edges).all())
    ):
        return plan.on(new.graph)
    table = new.plans("live" if plan.kind == LIVE else "time")
    try:
        return table.plan(simulate(old, plan).peak)
    except InfeasibleBudget as error:
        return table.plan(error.least)


def placeholder_values(trace: Trace, arguments: Any) -> list[Any]:
    """The present values of the joint graph's placeholders, the tangent apart."""
    parameters = dict(trace.step.named_parameters(remove_duplicate=False))
    buffers = dict(trace.step.named_buffers(remove_duplicate=False))
    leaves = pytree.tree_leaves(arguments)
    sources: dict[str, Any] = {"parameter": parameters, "buffer": buffers, "input": leaves}
    return [sources[role][which] for _, (role, which) in trace.folded.placeholders if role != "tangent"]


class _PlannedStep(torch.autograd.Function):
    """The seam to autograd: the program's two functions as one differentiable operator."""

    @staticmethod
    def forward(ctx: Any, program: Program, mutated: frozenset[int], *values: Any) -> torch.Tensor:
        with autocast_off():
            (loss,), ctx.saved_values = program.forward(list(values))
        # tensors go through autograd's own keeper, which notices if one is overwritten before backward;
        # what the step itself overwrites is read by operators that do not care
        kept = [i for i in program.reads_in_backward if isinstance(values[i], torch.Tensor) and i not in mutated]
        ctx.kept = kept
        ctx.save_for_backward(*(values[i] for i in kept))
        ctx.others = [None if i in kept or i not in program.reads_in_backward else v for i, v in enumerate(values)]
        ctx.program = program
        # a new tensor on the same storage: the saved values may hold the loss, and must not hold their own graph
        detached: torch.Tensor = loss.detach()
        return detached

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, tangent: torch.Tensor) -> tuple[Any, ...]:
        program: Program = ctx.program
        if ctx.saved_values is None:
            raise SecondBackward(
                "backward() ran a second time through a step whose values were freed; "
                "ask for retain_graph=True the first time"
            )
        values = list(ctx.others)
        for i, tensor in zip(ctx.kept, ctx.saved_tensors, strict=True):
            values[i] = tensor
        if keeps_graph():
            saved = list(ctx.saved_values)
        else:
            saved, ctx.saved_values = ctx.saved_values, None
        with autocast_off():
            gradients = program.backward([values[i] for i in program.reads_in_backward], saved, [tangent])
        return (None, None, *gradients)
