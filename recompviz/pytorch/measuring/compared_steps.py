"""Two training steps in a row whose results are recorded, so that eager steps and planned steps can be compared.

The first step starts from the current state. The second step starts from the buffers and random generators as the first
step left them, and has other inputs and parameters. If the trace wrongly contains a value of the first step as a
constant, the results of the second step differ. The state is restored afterwards.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils import _pytree as pytree

from recompviz.core.base.errors import Cancelled
from recompviz.core.base.progress import Progress
from recompviz.pytorch.internals.autograd import backward_of_step, leaves_of, trained_outputs, version_counters_kept
from recompviz.pytorch.internals.state import clear_gradients, state_restored
from recompviz.pytorch.internals.tensors import version_of
from recompviz.pytorch.internals.undone import undone
from recompviz.pytorch.measuring.measurement_run import overwritten_parameters
from recompviz.pytorch.tracing.traced_step import Trace

# Real values in the second step are those of the first times a random factor between 1 − CHANGE and 1. The factor keeps
# signs, zeros, and probabilities between 0 and 1.
CHANGE = 0.03
# training steps in a comparison: two eager ones and two others
STEPS = 4

# inputs, keyword arguments, targets
Arguments = tuple[Any, Any, Any]
StepFunction = Callable[[Arguments], Any]


@dataclass(frozen=True, eq=False)
class StepResult:
    """The results of one training step; frozen.

    Attributes
    ----------
    loss : torch.Tensor
        The loss; for a step without a loss, all numbers in the model's outputs as one tensor.
    gradients : dict of str to (torch.Tensor or None)
        The gradients of parameters, of inputs and targets, and of trained tensors outside the model, by name. The value
        is None for a tensor that got no gradient.
    buffers : dict of str to torch.Tensor
        Copies of the buffers after the step, by name.
    held : list of int or None
        The bytes of each value that autograd held between the forward and backward pass; None if the values are not
        known.
    """

    loss: torch.Tensor
    gradients: dict[str, torch.Tensor | None]
    buffers: dict[str, torch.Tensor]
    held: list[int] | None


class TwoSteps:
    """Runs pairs of training steps, in eager PyTorch or with another forward pass.

    Each pair starts from the same state. The second step of a pair starts from the buffers and random generators as the
    first step left them.

    Parameters
    ----------
    trace : Trace
        The traced training step. Its arguments are the batch of the first step.
    change_parameters : bool
        Whether the parameters are scaled while the second step runs.
    progress : callable (done, total), optional
        Called before each training step. Raise :class:`recompviz.Cancelled` in it to stop.
    """

    def __init__(self, trace: Trace, change_parameters: bool, progress: Progress | None = None) -> None:
        self.trace = trace
        self._progress, self._ran = progress, 0
        self.change_parameters = change_parameters
        self.second_arguments: Arguments = changed(trace.arguments)
        # tensors outside the model that eager steps give a gradient, by a name
        self.outside: dict[str, torch.Tensor] = {}

    def eager(self) -> list[StepResult]:
        """Run both steps in eager PyTorch, and return their results.

        Tensors outside the model that get a gradient are noted, so that :meth:`under` compares their gradients, too. If
        the model raises an error for the changed inputs of the second step, both steps use the inputs of the first.
        """

        def run(arguments: Arguments) -> Any:
            # compiled modules run as written, because Inductor's kernels differ in the last bits
            with torch.compiler.set_stance("force_eager"):
                return self.trace.step(*arguments)

        try:
            return self._results(run, find_outside=True)
        except (torch.OutOfMemoryError, Cancelled):
            raise
        except Exception:  # the model may accept only some values, for example sorted lengths
            if self.second_arguments is self.trace.arguments:
                raise
            self.second_arguments = self.trace.arguments
            return self._results(run, find_outside=True)

    def under(self, run: StepFunction, held_by: Callable[[Any], list[torch.Tensor] | None]) -> list[StepResult]:
        """Run both steps with ``run`` as their forward pass, and return their results.

        Call :meth:`eager` first. It finds the tensors outside the model whose gradients belong to the results.

        Parameters
        ----------
        run : callable (arguments) → result
            Takes a tuple (inputs, kwargs, targets), and returns the loss or the outputs.
        held_by : callable (result) → list of torch.Tensor or None
            Takes the result of ``run``. Returns the values that autograd holds for the backward pass; None if they are
            not known.
        """
        return self._results(run, held_by=held_by)

    def _results(
        self,
        run: StepFunction,
        held_by: Callable[[Any], list[torch.Tensor] | None] = lambda _result: None,
        find_outside: bool = False,
    ) -> list[StepResult]:
        trace, step = self.trace, self.trace.step
        before = {id(leaf): (leaf, leaf.grad) for leaf in self.outside.values()}

        def restore() -> None:
            for leaf, gradient in before.values():
                leaf.grad = gradient

        with (
            undone(restore),
            state_restored(step, trace.arguments, overwritten=overwritten_parameters(trace)),
            torch.enable_grad(),
        ):
            found = [self._result(trace.arguments, run, held_by, find_outside, before)]
            altered = changed_in_place(step.parameters()) if self.change_parameters else contextlib.nullcontext()
            with altered:
                found.append(self._result(self.second_arguments, run, held_by, find_outside, before))
            return found

    def _result(
        self,
        arguments: Arguments,
        run: StepFunction,
        held_by: Callable[[Any], list[torch.Tensor] | None],
        find_outside: bool,
        before: dict[int, tuple[torch.Tensor, torch.Tensor | None]],
    ) -> StepResult:
        if self._progress is not None:
            self._progress(min(self._ran, STEPS - 1), STEPS)
        self._ran += 1
        step = self.trace.step
        leaves = {f"argument {i}": leaf for i, leaf in enumerate(pytree.tree_leaves(arguments))}
        named = {**dict(step.named_parameters()), **{k: v for k, v in leaves.items() if _requires_gradient(v)}}
        clear_gradients(step, arguments)
        for leaf in self.outside.values():
            leaf.grad = None
        torch.clear_autocast_cache()  # otherwise the second step would use casts of the first step's parameters
        result = run(arguments)
        if find_outside:
            known = {id(leaf) for leaf in (*named.values(), *self.outside.values())}
            for leaf in (leaf for output in trained_outputs(result) for leaf in leaves_of(output)):
                if id(leaf) not in known:
                    before.setdefault(id(leaf), (leaf, leaf.grad))
                    leaf.grad = None
                    known.add(id(leaf))
                    self.outside[f"tensor {len(self.outside)} outside the model, of shape {list(leaf.shape)}"] = leaf
        held = held_by(result)
        sizes = None if held is None else [value.untyped_storage().nbytes() for value in held]
        del held  # otherwise the backward pass could not free them
        backward_of_step(result)
        trained = {**named, **self.outside}
        return StepResult(
            _numbers(result),
            {name: None if p.grad is None else p.grad.detach() for name, p in trained.items()},
            {name: b.detach().clone() for name, b in step.named_buffers()},
            sizes,
        )


def _numbers(result: Any) -> torch.Tensor:
    """Return the loss, or all numbers in the outputs of a model, as one tensor."""
    if isinstance(result, torch.Tensor):
        return result.detach()
    leaves = [leaf.detach() for leaf in pytree.tree_leaves(result) if isinstance(leaf, torch.Tensor)]
    parts = [torch.view_as_real(leaf) if leaf.is_complex() else leaf for leaf in leaves]
    return torch.cat([part.reshape(-1).double() for part in parts])


def changed(arguments: Arguments) -> Arguments:
    """Return a copy of the arguments with other values, and with the same shapes, dtypes and strides.

    Elements of floating-point tensors are scaled by random factors between 0.97 and 1. Other tensors are reversed along
    their first dimension. The factors are the same at each call. These stay the same: values that are not tensors,
    sparse tensors, tensors of a subclass, tensors that are not leaves, and tensors whose copy would have other strides.

    Examples
    --------
    >>> (inputs,), _, (targets,) = changed(((torch.ones(2),), {}, (torch.tensor([3, 4]),)))
    >>> bool((inputs < 1).all()), targets
    (True, tensor([4, 3]))
    """
    made: dict[int, Any] = {}

    def change(leaf: Any) -> Any:
        if type(leaf) not in (torch.Tensor, torch.nn.Parameter) or leaf.layout is not torch.strided:
            return leaf
        if id(leaf) not in made:
            copy = leaf.detach().clone()
            if copy.stride() != leaf.stride() or not leaf.is_leaf:  # another stride would be another graph
                return leaf
            if leaf.is_floating_point():
                copy.mul_(_factor(copy, len(made)))
            elif leaf.dim():
                copy.copy_(leaf.flip(0))
            made[id(leaf)] = copy.requires_grad_(leaf.requires_grad)
        return made[id(leaf)]

    new: Arguments = pytree.tree_map(change, arguments)
    return new


@contextlib.contextmanager
def changed_in_place(tensors: Iterable[torch.Tensor]) -> Iterator[None]:
    """Scale floating-point tensors in place for a ``with`` block, and restore them bitwise afterwards.

    The elements are multiplied by random factors between 0.97 and 1. If other code wrote to a tensor inside the block,
    the tensor is divided by its factors at the end, so that the change of the other code is kept. It is then not
    restored bitwise. Tensors of a subclass are not changed.
    """
    plain = [t for t in tensors if type(t) in (torch.Tensor, torch.nn.Parameter) and t.is_floating_point()]
    before = [(t, version_of(t), t.detach().to("cpu", copy=True)) for t in plain]
    left = list(enumerate(before))

    def restore() -> None:
        with torch.no_grad(), version_counters_kept(plain):
            while left:
                number, (tensor, version, old) = left[-1]
                if version_of(tensor) == version:
                    tensor.copy_(old)
                else:  # other work trained it meanwhile; that must not be lost
                    tensor.div_(_factor(tensor, number))
                left.pop()

    with undone(restore):
        with torch.no_grad(), version_counters_kept(plain):
            for number, tensor in enumerate(plain):
                tensor.mul_(_factor(tensor, number))
        yield


def _factor(tensor: torch.Tensor, number: int) -> torch.Tensor:
    """Return random factors between 0.97 and 1, the same at each call. The global generator is not used."""
    generator = torch.Generator("cpu").manual_seed(number)
    factor = 1 - CHANGE * torch.rand(tensor.shape, generator=generator, dtype=torch.float32, device="cpu")
    return factor.to(tensor.device, tensor.dtype)


def _requires_gradient(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.requires_grad and value.is_leaf
