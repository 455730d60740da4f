"""The autograd graphs that the training step of the peak builds, derived from the operators that read each block.

A *graph operator* is a forward operator that autograd records, because one of its inputs requires a gradient. Graph
operators are in one *part* if one reads a result of the other and this result requires a gradient. Tensors of one
element, such as losses, do not connect parts: two losses that are only added are in different parts, and a backward
pass of each needs only its own part.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from recompviz.core.steps.schedule import Phase
from recompviz.pytorch.debugging.peak.peak_state import PeakState
from recompviz.pytorch.debugging.recorder.watched import Operand, Operator


@dataclass(frozen=True, eq=False)
class StepGraph:
    """The autograd graphs of the training step of the peak; frozen.

    Attributes
    ----------
    peak : PeakState
        The state at the peak.
    """

    peak: PeakState

    @cached_property
    def operators(self) -> tuple[Operator, ...]:
        """The graph operators (forward operators that autograd records), in the order in which they ran."""
        own = self.peak.operators[self.peak.start : self.peak.end]
        return tuple(op for op in own if op.phase is Phase.FORWARD and op.grad_enabled and _reads_graph(op))

    @cached_property
    def parts(self) -> Mapping[int, int]:
        """Number of a graph operator → number of its part. A part has the number of its first operator."""
        leaves = self.peak.recording.steps.leaves
        parent: dict[int, int] = {}

        def root(number: int) -> int:
            while parent[number] != number:
                parent[number] = parent[parent[number]]
                number = parent[number]
            return number

        writer: dict[int, int] = {}
        for op in self.operators:
            parent[op.number] = op.number
            for operand in op.reads:
                before = writer.get(operand.block)
                connects = operand.needs_grad and operand.block not in leaves and not _is_number(operand)
                if connects and before is not None:
                    first, second = sorted((root(before), root(op.number)))
                    parent[second] = first
            for operand in (*op.makes, *op.views):
                writer[operand.block] = op.number
        return {number: root(number) for number in parent}

    @cached_property
    def leaves_behind(self) -> Mapping[int, frozenset[int]]:
        """Number of a graph operator → the numbers of the blocks of the leaf tensors behind its result.

        These are the leaf tensors that require a gradient and on which the result depends.
        """
        leaves = self.peak.recording.steps.leaves
        behind: dict[int, frozenset[int]] = {}
        found: dict[int, frozenset[int]] = {}
        for op in self.operators:
            mine: set[int] = set()
            for operand in op.reads:
                if operand.needs_grad:
                    mine |= {operand.block} if operand.block in leaves else behind.get(operand.block, frozenset())
            found[op.number] = frozenset(mine)
            for operand in (*op.makes, *op.views):
                behind[operand.block] = behind.get(operand.block, frozenset()) | found[op.number]
        return found

    @cached_property
    def node_operator(self) -> Mapping[int, int]:
        """Sequence number of an autograd node of the step → the number of the graph operator that made the node."""
        numbers = {op.number for op in self.operators}
        return {
            sequence: number
            for sequence, number in self.peak.recording.steps.operator_of_node.items()
            if number in numbers
        }

    @cached_property
    def backward_of_part(self) -> Mapping[int, tuple[Operator, ...]]:
        """Number of a part → its backward operators. Parts without backward operators are left out."""
        found: dict[int, list[Operator]] = defaultdict(list)
        for op in self.peak.operators[self.peak.start : self.peak.end]:
            forward = self.peak.forward_of(op) if op.phase is Phase.BACKWARD and op.node else None
            if forward is not None and forward.number in self.parts:
                found[self.parts[forward.number]].append(op)
        return {part: tuple(operators) for part, operators in found.items()}

    def part_of_operator(self, op: Operator | None) -> int | None:
        """Return the number of an operator's part. A backward operator belongs to the part of its forward operator.

        Return None if the operator is None or belongs to no part.
        """
        forward = self.peak.forward_of(op)
        return self.parts.get(forward.number) if forward is not None else None

    def allocations_of(self, operators: frozenset[int]) -> list[int]:
        """Return the numbers of the allocations between the start of one of these operators and of the next operator.

        These are mainly the results and the workspace of the operators.
        """
        recording = self.peak.recording
        births = recording.allocations.at[recording.allocations.birth].tolist()
        return [i for i, at in enumerate(births) if at in operators]


def _reads_graph(op: Operator) -> bool:
    return any(operand.needs_grad for operand in op.reads)


def _is_number(operand: Operand) -> bool:
    return all(size == 1 for size in operand.shape)
