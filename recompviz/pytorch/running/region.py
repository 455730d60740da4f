"""A region: one graph that Dynamo captured, run under a plan that may differ at every call.

AOTAutograd fixes how many tensors a compiled forward pass saves. Which values those are is fixed here, at each call,
by the program of the chosen plan: the saved values fill the first *slots*, and an empty tensor stands in the others.
The first slot is a tensor without bytes whose shape holds the number of the program, so that the backward pass runs
the program that the forward pass ran.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from recompviz.core.steps.schedule import Schedule, make_schedule
from recompviz.pytorch.internals.autograd import autocast_off
from recompviz.pytorch.running.program import Mark, Program, write_program

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recompviz.pytorch.tracing.folding import Folded

# called at each forward pass of a region; answers which node values are kept, or None for all of them
Choose = Callable[["Region"], "NDArray[np.bool_] | None"]


@dataclass(frozen=True, eq=False)
class Numbered:
    """A program of a region, with its number and what its forward pass saves."""

    program: Program
    schedule: Schedule
    token: torch.Tensor
    checked: tuple[int, ...]  # positions of inputs that autograd checks for changes
    unchecked: tuple[int, ...]  # positions of inputs that the region itself overwrites
    padding: tuple[torch.Tensor, ...]
    unchecked_padding: tuple[torch.Tensor, ...]


class Region:
    """One captured graph and its programs.

    Parameters
    ----------
    folded : Folded
        Folded with ``output_count``.
    choose : callable (Region) → keep mask or None
        Chooses the plan at each forward pass.

    Attributes
    ----------
    slots : int
        The number of tensors that the forward pass saves, version-checked ones.
    unchecked_slots : int
        The number of saved inputs that the region overwrites; autograd must not check those.
    symbols : tuple of int
        Positions of the inputs that are sizes.
    """

    def __init__(self, folded: Folded, choose: Choose) -> None:
        self.folded, self.choose = folded, choose
        given = [node for node, (role, _) in folded.placeholders if role != "tangent"]
        self.symbols = tuple(i for i, node in enumerate(given) if not isinstance(node.meta["val"], torch.Tensor))
        self.input_count = len(given)
        self._overwritten = frozenset(i for i, node in enumerate(given) if node in folded.mutated)
        keep_all = self._write(np.ones(len(folded.graph), np.bool_))
        random_calls = sum(call.random for call in folded.joint.calls[: folded.joint.forward_count])
        inputs = len(given) - len(self.symbols) - len(self._overwritten)
        # token, inputs, saved values, generator states
        self.slots = 1 + inputs + len(keep_all[0].saved_storages) + random_calls
        self.unchecked_slots = len(self._overwritten)
        self._programs: list[Numbered] = []
        self._by_mask: dict[bytes, Numbered] = {}
        self.mark: Mark | None = None
        self.keep_all = np.ones(len(folded.graph), np.bool_)

    def fits(self, mask: NDArray[np.bool_]) -> bool:
        """Whether a plan saves no more values than there are slots."""
        schedule = make_schedule(self.folded.joint, mask.tolist())
        return len(schedule.saved) + self.input_count + 1 <= self.slots

    def program(self, mask: NDArray[np.bool_] | None) -> Numbered:
        """The program of a keep mask, written when it is first needed."""
        mask = self.keep_all if mask is None else mask
        key = mask.tobytes() + (b"marked" if self.mark is not None else b"")
        if key not in self._by_mask:
            program, schedule = self._write(mask)
            reads = [i for i in program.reads_in_backward if i not in self.symbols]
            checked = tuple(i for i in reads if i not in self._overwritten)
            unchecked = tuple(i for i in reads if i in self._overwritten)
            missing = self.slots - 1 - len(checked) - len(program.saved_storages)
            if missing < 0:
                raise AssertionError(f"a plan saves {-missing} values more than the region has slots")
            numbered = Numbered(
                program,
                schedule,
                torch.empty((len(self._programs), 0)),
                checked,
                unchecked,
                (_EMPTY,) * missing,
                (_EMPTY,) * (self.unchecked_slots - len(unchecked)),
            )
            self._programs.append(numbered)
            self._by_mask[key] = numbered
        return self._by_mask[key]

    def _write(self, mask: NDArray[np.bool_]) -> tuple[Program, Schedule]:
        schedule = make_schedule(self.folded.joint, mask.tolist())
        return write_program(self.folded, schedule, getattr(self, "mark", None)), schedule

    def forward(self, arguments: list[Any]) -> list[Any]:
        """Run the forward pass; empties the list of arguments.

        Returns
        -------
        list
            The outputs, the slots and the sizes.
        """
        chosen = self.program(self.choose(self))
        given = list(arguments)
        arguments.clear()
        checked = [given[i] for i in chosen.checked]
        # a tensor of its own on the same storage: its version counter is not that of the buffer
        unchecked = [given[i].data for i in chosen.unchecked]
        sizes = [given[i] for i in self.symbols]
        with autocast_off():
            outputs, saved = chosen.program.forward(given)
        return [
            *outputs, chosen.token, *checked, *saved, *chosen.padding, *unchecked, *chosen.unchecked_padding, *sizes,
        ]  # fmt: skip

    def backward(self, arguments: list[Any]) -> list[torch.Tensor | None]:
        """Run the backward pass of the program that the forward pass ran; empties the list of arguments."""
        sizes = dict(zip(self.symbols, arguments, strict=False))
        first = len(self.symbols)
        last = first + self.slots + self.unchecked_slots
        chosen = self._programs[arguments[first].shape[0]]
        program = chosen.program
        inputs_end = first + 1 + len(chosen.checked)
        saved = arguments[inputs_end : inputs_end + len(program.saved_storages)]
        inputs = dict(zip(chosen.checked, arguments[first + 1 : inputs_end], strict=True))
        inputs |= zip(chosen.unchecked, arguments[first + self.slots : last], strict=False)
        tangents = arguments[last:]
        arguments.clear()
        read = [sizes[i] if i in sizes else inputs.pop(i) for i in program.reads_in_backward]
        with autocast_off():
            gradients: list[torch.Tensor | None] = program.backward(read, saved, tangents)
            return gradients


_EMPTY = torch.empty(0)
