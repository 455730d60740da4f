"""Execute a plan: the forward and backward pass of a region, one graph that Dynamo captured, run under the plan.

Each run of a region may follow another plan. AOTAutograd fixes the number of tensors that a compiled forward pass
saves. The place of each saved tensor is a *slot*. At each run, the program of the chosen plan fills the slots. The
first slot holds a token, which is a tensor of three integers on the CPU: the numbers of the region, the program and the
run. By these numbers, the backward pass runs the same program. The next slots hold the inputs that the backward pass
reads, and the saved values. Empty tensors fill the other slots.
"""

from __future__ import annotations

import collections
import contextlib
import itertools
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import torch

from recompviz.core.base.errors import RecompvizError
from recompviz.core.steps.schedule import Schedule, make_schedule
from recompviz.pytorch.executing.live_outputs import note_outputs
from recompviz.pytorch.executing.program import Program, write_program
from recompviz.pytorch.internals.autograd import autocast_off, below_autograd, function_modes_off
from recompviz.pytorch.internals.devices.runtimes import device_of
from recompviz.pytorch.internals.gradient_order import parameters_of_aliases, replicated
from recompviz.pytorch.internals.operators import is_foreign
from recompviz.pytorch.internals.tensors import StorageWeakRef
from recompviz.pytorch.internals.undone import undone

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recompviz.pytorch.internals.captures import Capture
    from recompviz.pytorch.tracing.folding import Folded


_region_numbers = itertools.count(1)
# where the newest tokens are, or were
_token_addresses: collections.deque[int] = collections.deque(maxlen=4096)


class SavedTensorsChanged(RecompvizError, RuntimeError):
    """The hooks of ``torch.autograd.graph.saved_tensors_hooks`` unpacked other tensors than were packed."""

    def __init__(self) -> None:
        super().__init__(
            "the tensors that a planned region saved came back changed, because hooks of "
            "torch.autograd.graph.saved_tensors_hooks pack them; let the hooks change floating-point tensors only, or "
            "leave them out: the plan recomputes what the total requires"
        )


# The forward or the backward pass of a region.
Stage = Literal["f", "b"]


class RunObserver(Protocol):
    """Observes one run of a region (a captured graph), for a recording or a measurement."""

    def stage_of(self, stage: Stage) -> contextlib.AbstractContextManager[None]:
        """Return a context manager in which the forward (``"f"``) or backward (``"b"``) pass runs."""

    def mark(self, step: int) -> contextlib.AbstractContextManager[None]:
        """Return a context manager in which one step of the schedule runs."""

    def outputs(self, run: Run, outputs: list[Any]) -> None:
        """Receive the outputs of the forward pass."""

    def tangents(self, tangents: list[Any]) -> None:
        """Receive the gradients of the outputs, before the backward pass runs."""


class Chooser(Protocol):
    """Chooses which values each run of a region (a captured graph) keeps for its backward pass."""

    def add(self, region: Region) -> None:
        """Register a new region. Called once for each region with a backward pass, before its first run."""

    def remove(self, region: Region) -> None:
        """Forget a region that will not run again, or that could not be compiled."""

    def choose(self, run: Run) -> NDArray[np.bool_] | None:
        """Return for each node whether its value is kept in a run that starts now; None keeps every value."""

    def note_inference(self, run: Run, peak: int) -> None:
        """Note a run of a graph without a backward pass. The run starts now and allocates up to ``peak`` bytes."""


class Run:
    """One run of a region (a captured graph): its forward pass, and the backward pass that may follow.

    Attributes
    ----------
    region : Region
    arguments : list or None
        The arguments of the forward pass; None once the plan is chosen.
    sizes : tuple
        The arguments that are not tensors. These are the dynamic sizes.
    observer : RunObserver or None
        Set by the chooser to observe this run.
    freed : bool
        Whether autograd has freed the graph of this run.
    ran_backward : bool
        Whether the backward pass has started.
    mask : numpy.ndarray of bool or None
        For each node, whether its value is kept. None before the plan is chosen, and if every value is kept.
    token : weakref.ref or None
        Refers to the token, which is the first tensor that the run saves. It is freed together with the graph of this
        run. None before the plan is chosen.
    when_freed : callable (Run) → None, or None
        Called when autograd frees the graph of this run, after its backward pass or without one.
    """

    __slots__ = ("arguments", "freed", "mask", "observer", "ran_backward", "region", "sizes", "token", "when_freed")

    def __init__(self, region: Region, arguments: list[Any]) -> None:
        self.region = region
        self.arguments: list[Any] | None = arguments
        self.observer: RunObserver | None = None
        self.freed = False
        self.ran_backward = False
        self.mask: NDArray[np.bool_] | None = None
        self.token: weakref.ref[torch.Tensor] | None = None
        self.when_freed: Callable[[Run], None] | None = None
        self.sizes = tuple(arguments[i] for i in region.symbols)

    def inputs(self) -> dict[int, tuple[StorageWeakRef, int]]:
        """Return a weak reference to the storage of each input and the bytes of the storage, by the storage's address.

        Parameters, buffers, sizes and tensors on another type of device than the region are left out. Call this method
        before the plan is chosen.
        """
        found: dict[int, tuple[StorageWeakRef, int]] = {}
        for i, role in self.region.other_inputs:
            value = (self.arguments or [])[i]
            if role != "buffer" and isinstance(value, torch.Tensor) and value.device.type == self.region.device.type:
                storage = value.untyped_storage()
                reference = StorageWeakRef(storage)
                found[storage.data_ptr()] = reference, self.region.folded.joint.rounded(storage.nbytes())
        return found


@dataclass(frozen=True, eq=False)
class NumberedProgram:
    """A program of a region (a captured graph), and how its saved tensors fill the slots of the region; frozen.

    A slot is the place of one tensor that the compiled forward pass saves.

    Attributes
    ----------
    number : int
        The index of the program among the programs of the region.
    program : Program
    schedule : Schedule
        The schedule that the program runs.
    checked : tuple of int
        Positions of the inputs that the backward pass reads and that autograd checks for changes.
    unchecked : tuple of int
        Positions of the inputs that the backward pass reads and that the region itself overwrites.
    padding, unchecked_padding : tuple of torch.Tensor
        The empty tensors that fill the remaining slots. ``padding`` is for the slots that autograd checks for changes,
        ``unchecked_padding`` for the slots that it does not check.
    read : tuple of int
        The positions of the inputs that the backward pass reads, among the arguments of the backward pass.
    saved : slice
        The positions of the saved values among the arguments of the backward pass.
    """

    number: int
    program: Program
    schedule: Schedule
    checked: tuple[int, ...]
    unchecked: tuple[int, ...]
    padding: tuple[torch.Tensor, ...]
    unchecked_padding: tuple[torch.Tensor, ...]
    read: tuple[int, ...]
    saved: slice


class Region:
    """One captured graph, and the programs that run it under different plans.

    Parameters
    ----------
    folded : Folded
        The graph, folded by :func:`recompviz.pytorch.tracing.folding.fold` with its argument ``output_count``.
    chooser : Chooser
        Chooses the plan at each run.
    capture : Capture, optional
        The place of the graph in the user's code, and the graph break that ended it.

    Attributes
    ----------
    slots : int
        The number of tensors that the forward pass saves and that autograd checks for changes.
    unchecked_slots : int
        The number of inputs that the region itself overwrites. Each has a slot that autograd does not check.
    symbols : tuple of int
        Positions of the inputs that are dynamic sizes, not tensors.
    device : torch.device
        The device of the first tensor in the graph that is not on the CPU; the CPU if all tensors are on the CPU.
    input_count : int
        The number of inputs, dynamic sizes included.
    parameter_positions : tuple of int
        Positions of the inputs that are parameters.
    other_inputs : tuple of (int, str)
        The positions and roles of the inputs that are not parameters.
    keep_all : numpy.ndarray of bool, shape (#V,)
        The plan that keeps every value.
    """

    def __init__(self, folded: Folded, chooser: Chooser, capture: Capture | None = None) -> None:
        self.folded, self.chooser, self.capture = folded, chooser, capture
        given = [node for node, (role, _) in folded.placeholders if role != "tangent"]
        self.device = device_of(node.meta.get("val") for node in folded.fx.graph.nodes)
        self.symbols = tuple(i for i, node in enumerate(given) if not isinstance(node.meta["val"], torch.Tensor))
        self.input_count = len(given)
        self.parameter_positions = tuple(
            i for i, (_, (role, _which)) in enumerate(folded.placeholders) if role == "parameter"
        )
        self.other_inputs = tuple(
            (i, role)
            for i, (_, (role, _which)) in enumerate(folded.placeholders)
            if role not in ("parameter", "tangent")
        )
        self._overwritten = frozenset(i for i, node in enumerate(given) if node in folded.mutated)
        self.keep_all = np.ones(len(folded.graph), np.bool_)
        joint = folded.joint
        random_calls = sum(call.random for call in joint.calls[: joint.forward_count])
        tensors = len(given) - len(self.symbols) - len(self._overwritten)
        saved = len(make_schedule(joint, self.keep_all.tolist()).saved)
        # the token, inputs, saved values, generator states
        self.slots = 1 + tensors + saved + random_calls
        self.unchecked_slots = len(self._overwritten)
        self._programs: list[NumberedProgram] = []
        self._by_mask: dict[tuple[bytes, bool], NumberedProgram] = {}
        made = [(i, folded.storage_of.get(node)) for i, node in enumerate(folded.outputs) if node is not None]
        # positions of the outputs that the region allocates itself
        self._made = tuple(i for i, s in made if s is not None and joint.storages[s].maker >= 0)
        self._number = next(_region_numbers)
        self._run_count = 0
        self._runs: dict[int, Run] = {}  # those whose graphs exist
        self._observer: RunObserver | None = None
        self._has_foreign = any(is_foreign(node.target) for node in folded.call_node)

    def fits(self, mask: NDArray[np.bool_]) -> bool:
        """Return whether the compiled forward pass has enough slots for the tensors that a plan saves."""
        schedule = make_schedule(self.folded.joint, mask.tolist())
        random_calls = sum(self.folded.joint.calls[c].random for c in schedule.recomputed)
        inputs = self.input_count - len(self.symbols) - self.unchecked_slots
        if 1 + inputs + len(schedule.saved) + random_calls <= self.slots:  # even if the backward pass reads every input
            return True
        program = write_program(self.folded, schedule)
        return 1 + len(self._checked(program)) + len(program.saved_storages) <= self.slots

    def _checked(self, program: Program) -> tuple[int, ...]:
        """Return the positions of the inputs that the backward pass of a program reads and the region leaves alone."""
        left_alone = (i for i in program.reads_in_backward if i not in self.symbols)
        return tuple(i for i in left_alone if i not in self._overwritten)

    def program(self, mask: NDArray[np.bool_] | None = None, marked: bool = False) -> NumberedProgram:
        """Return the program for a plan. The program is generated at the first call and then cached.

        Parameters
        ----------
        mask : numpy.ndarray of bool, shape (#V,), optional
            For each node, whether its value is kept. If left out, every value is kept.
        marked : bool
            Whether each step of the schedule runs inside the mark of the run's observer.

        Raises
        ------
        AssertionError
            If the plan saves more tensors than the region has slots; see :meth:`fits`.
        """
        mask = self.keep_all if mask is None else mask
        key = mask.tobytes(), marked
        if key not in self._by_mask:
            schedule = make_schedule(self.folded.joint, mask.tolist())
            program = write_program(self.folded, schedule, self._mark if marked else None)
            checked = self._checked(program)
            unchecked = tuple(i for i in program.reads_in_backward if i in self._overwritten)
            missing = self.slots - 1 - len(checked) - len(program.saved_storages)
            if missing < 0:
                raise AssertionError(f"a plan saves {-missing} values more than the region has slots")
            empty = torch.empty(0)
            # the arguments of the backward pass: sizes, token, checked inputs, saved values, padding, unchecked inputs
            first = len(self.symbols)
            place = {i: k for k, i in enumerate(self.symbols)}
            place |= {i: first + 1 + k for k, i in enumerate(checked)}
            place |= {i: first + self.slots + k for k, i in enumerate(unchecked)}
            first += 1 + len(checked)
            self._by_mask[key] = NumberedProgram(
                len(self._programs),
                program,
                schedule,
                checked,
                unchecked,
                (empty,) * missing,
                (empty,) * (self.unchecked_slots - len(unchecked)),
                tuple(place[i] for i in program.reads_in_backward),
                slice(first, first + len(program.saved_storages)),
            )
            self._programs.append(self._by_mask[key])
        return self._by_mask[key]

    def _mark(self, step: int) -> contextlib.AbstractContextManager[None]:
        return self._observer.mark(step) if self._observer is not None else contextlib.nullcontext()

    def forward(self, arguments: list[Any]) -> list[Any]:
        """Run the forward pass under the plan that the chooser selects.

        Parameters
        ----------
        arguments : list
            The inputs of the graph. The list is emptied.

        Returns
        -------
        list
            The outputs, the saved tensors (slots) and the dynamic sizes.
        """
        given = parameters_of_aliases(arguments, self.parameter_positions) if replicated() else list(arguments)
        arguments.clear()
        run = Run(self, given)
        run.mask = self.chooser.choose(run)
        run.arguments = None
        chosen = self.program(run.mask, run.observer is not None)
        self._run_count += 1
        # the memory is NumPy's, so that no measurement counts it; hooks for saved tensors may copy the token, and
        # torch.utils.checkpoint compares the shapes of what two runs save
        token = torch.from_numpy(np.array((self._number, chosen.number, self._run_count), np.int64))
        _token_addresses.append(token.data_ptr())
        self._runs[self._run_count] = run
        run.token = weakref.ref(token, partial(_set_freed, self._runs, self._run_count))
        checked = [given[i] for i in chosen.checked]
        # a tensor of its own on the same storage: its version counter is not that of the buffer
        unchecked = [given[i].data for i in chosen.unchecked]
        sizes = [given[i] for i in self.symbols]
        with autocast_off(), below_autograd(), self._modes_off():
            if run.observer is None:
                outputs, saved = chosen.program.forward(given)
            else:
                with self._observing(run.observer, "f"):
                    outputs, saved = chosen.program.forward(given)
                run.observer.outputs(run, outputs)
        self.note_outputs(outputs)
        return [
            *outputs, token, *checked, *saved, *chosen.padding, *unchecked, *chosen.unchecked_padding, *sizes,
        ]  # fmt: skip

    def note_outputs(self, outputs: list[Any]) -> None:
        """Remember the outputs that the region allocated, for as long as they are alive."""
        own = [outputs[i] for i in self._made]
        note_outputs(own, [self.folded.joint.rounded(value.untyped_storage().nbytes()) for value in own])

    def backward(self, arguments: list[Any]) -> list[torch.Tensor | None]:
        """Run the backward pass of the program that the forward pass ran.

        Parameters
        ----------
        arguments : list
            The dynamic sizes, the saved tensors (slots), and the gradients of the outputs. The list is emptied.

        Returns
        -------
        list of torch.Tensor or None
            The gradients of the inputs; None for an input without a gradient.

        Raises
        ------
        SavedTensorsChanged
            If hooks for saved tensors have changed the token, so that it names no program of this region.
        """
        first = len(self.symbols)
        last = first + self.slots + self.unchecked_slots
        region, number, run_number = _numbers_in(arguments[first])
        if region != self._number or not 0 <= number < len(self._programs):
            raise SavedTensorsChanged
        run = self._runs.get(run_number)
        # a second backward pass of the same graph is not observed
        observer = run.observer if run is not None and not run.ran_backward else None
        if run is not None:
            run.ran_backward = True
        chosen = self._programs[number]
        program = chosen.program
        saved = arguments[chosen.saved]
        tangents = arguments[last:]
        read = [arguments[place] for place in chosen.read]
        arguments.clear()
        gradients: list[torch.Tensor | None]
        with autocast_off(), below_autograd(), self._modes_off():
            if observer is None:
                gradients = program.backward(read, saved, tangents)
            else:
                observer.tangents(tangents)
                with self._observing(observer, "b"):
                    gradients = program.backward(read, saved, tangents)
        return gradients

    def _modes_off(self) -> contextlib.AbstractContextManager[None]:
        """Hide the operators from modes, except where the code of another package may need a default device."""
        return contextlib.nullcontext() if self._has_foreign else function_modes_off()

    def saved_values(self, output: torch.Tensor) -> list[torch.Tensor] | None:
        """Return the saved values that autograd keeps for the run that made an output.

        The values have the order of :attr:`Program.saved_storages`. The result is None if no run of this region made
        the output.

        Raises
        ------
        RuntimeError
            If autograd has freed the saved values.
        """
        node: Any = output.grad_fn
        while node is not None and not hasattr(node, "saved_tensors"):  # views of the output
            node = next((other for other, _ in node.next_functions), None)
        saved: tuple[torch.Tensor, ...] = getattr(node, "saved_tensors", None) or ()
        region, number, _ = _numbers_in(saved[0]) if len(saved) >= self.slots else (0, 0, 0)
        if region != self._number:
            return None
        chosen = self._programs[number]
        first = 1 + len(chosen.checked)
        return list(saved[first : first + len(chosen.program.saved_storages)])

    @contextlib.contextmanager
    def _observing(self, observer: RunObserver, stage: Stage) -> Any:
        with undone(partial(setattr, self, "_observer", None)):
            self._observer = observer
            with observer.stage_of(stage):
                yield

    def parameters(self, arguments: Sequence[Any]) -> list[torch.Tensor]:
        """Return the parameters among the arguments of a run."""
        return [arguments[i] for i in self.parameter_positions]


def token_addresses() -> frozenset[int]:
    """Return the addresses of the tokens of the newest runs.

    A token is a tensor of 24 bytes on the CPU that each run saves first. Tokens do not count as memory of a step.
    """
    return frozenset(_token_addresses)


def _numbers_in(token: torch.Tensor) -> tuple[int, ...]:
    """Return the numbers of region, program and run in a token; zeros if the tensor is none."""
    if token.dtype != torch.int64 or token.numel() != 3:
        return 0, 0, 0
    return tuple((token if token.device.type == "cpu" else token.cpu()).numpy().tolist())


def _set_freed(runs: dict[int, Run], number: int, _token: weakref.ref[torch.Tensor]) -> None:
    """Note that autograd has freed the graph of a run."""
    run = runs.pop(number)
    run.freed = True
    if run.when_freed is not None:
        run.when_freed(run)
