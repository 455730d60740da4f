"""The state at the peak: the operators that read each live block, and the autograd nodes and objects that hold it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from recompviz.core.reports.process_memory import ProcessMemory
from recompviz.core.reports.source_line import SourceLine
from recompviz.core.steps.schedule import Phase
from recompviz.pytorch.debugging.recorder.recording import LiveBlock, Recording
from recompviz.pytorch.debugging.recorder.watched import Block, Operand, Operator, Saved
from recompviz.pytorch.debugging.references.cycles import Cycle
from recompviz.pytorch.debugging.references.held import HeldAfterStep, growth_by_retainer, trend
from recompviz.pytorch.debugging.references.process_tensors import OutsideTensor
from recompviz.pytorch.debugging.references.reference_path import Key, ReferencePath, Retainer, retainer_of

# the largest number of retainers that are watched for the lines that store into them
MOST_RETAINERS = 32
# operators that read no elements
_NO_READ = ("detach", "alias")


@dataclass(frozen=True, eq=False)
class PeakState:
    """The state at the peak of a recording, with the objects that hold blocks at the peak; frozen.

    A block is one storage, and a live block is an allocation alive at the peak. Operators, blocks and training steps
    are numbered from 0. The *step of the peak* is the training step that contains the peak. A *retainer* is the object
    that keeps a block alive after the training step that made the block.

    Attributes
    ----------
    recording : Recording
        The watched training steps with their allocations.
    paths : mapping of int to list of ReferencePath
        Number of a block → the reference paths to the block that exist at the peak.
    between : tuple of HeldAfterStep
        The objects that hold blocks before the first recorded training step, and after each one.
    stored_at : mapping of (root, expression) to SourceLine
        For each retainer, the user's line that stores the most bytes in it. Retainers without a known line are missing.
    held_by_caller : frozenset of int
        The numbers of the blocks that the caller of the loss holds while the loss is computed: outputs of the model.
    outside : tuple of OutsideTensor
        Tensors of the process that the steps do not touch, largest first.
    touched : frozenset of str
        The variables through which the steps reach tensors.
    cycles : tuple of Cycle
        Reference cycles that held tensors after the recorded steps.
    files : tuple of str
        The user's files in which global variables may be assigned.
    process : ProcessMemory or None
        The bytes in use before the first step; None if they are unknown.
    """

    recording: Recording
    paths: Mapping[int, list[ReferencePath]] = field(default_factory=dict)
    between: tuple[HeldAfterStep, ...] = ()
    stored_at: Mapping[Key, SourceLine] = field(default_factory=dict)
    held_by_caller: frozenset[int] = frozenset()
    outside: tuple[OutsideTensor, ...] = ()
    touched: frozenset[str] = frozenset()
    cycles: tuple[Cycle, ...] = ()
    files: tuple[str, ...] = ()
    process: ProcessMemory | None = None

    @property
    def operators(self) -> tuple[Operator, ...]:
        """The watched operators, in the order in which they ran."""
        return self.recording.operators

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The storages that were seen, in the order in which they were seen first."""
        return self.recording.blocks

    @property
    def live(self) -> tuple[LiveBlock, ...]:
        """The allocations alive at the peak that were made after the first recorded training step began."""
        return self.recording.live

    @cached_property
    def at(self) -> int:
        """The number of the operator that started last before the peak; 0 if none had started."""
        return max(self.recording.at_peak, 0)

    @cached_property
    def step(self) -> int:
        """The number of the training step that contains the peak."""
        return self.recording.peak_step

    @cached_property
    def start(self) -> int:
        """The number of the first operator in the training step of the peak."""
        return self.recording.steps.start_of(self.step)

    @cached_property
    def end(self) -> int:
        """The number of the first operator after the training step of the peak.

        If no operator follows, it is the number of recorded operators.
        """
        return self.recording.steps.start_of(self.step + 1)

    # ---------------------------------------------------------------- operators

    @cached_property
    def reads(self) -> Mapping[int, list[int]]:
        """Number of a block → the numbers of the operators that read the block, ascending.

        Blocks that no operator read are missing.
        """
        found: dict[int, list[int]] = defaultdict(list)
        for op in self.operators:
            for operand in op.reads:
                if not found[operand.block] or found[operand.block][-1] != op.number:
                    found[operand.block].append(op.number)
        return dict(found)

    def _reads_of(self, live: LiveBlock) -> list[int]:
        return self.reads.get(live.block.number, []) if live.block is not None else []

    def last_read(self, live: LiveBlock) -> Operator | None:
        """Return the last operator that read a block, up to and including the operator at the peak; None if none did.

        ``detach`` and ``alias`` do not count.
        """
        before = [n for n in self._reads_of(live) if n <= self.at and self.operators[n].short not in _NO_READ]
        return self.operators[before[-1]] if before else None

    def next_read(self, live: LiveBlock) -> Operator | None:
        """Return the first operator after the peak, in the same training step, that reads a block; None if none does.

        ``detach`` does not count.
        """
        after = [n for n in self._reads_of(live) if self.at < n < self.end and self.operators[n].short != "detach"]
        return self.operators[after[0]] if after else None

    def read_in_step(self, live: LiveBlock) -> bool:
        """Return whether any operator in the training step of the peak reads a block, before or after the peak."""
        return live.block is not None and self.number_read_in_step(live.block.number)

    def number_read_in_step(self, block: int) -> bool:
        """Return whether any operator in the training step of the peak reads the block with this number."""
        return any(self.start <= n < self.end for n in self.reads.get(block, []))

    def read_one_step_later(self, live: LiveBlock) -> bool:
        """Return whether a training step after the one that made a block will probably read the block.

        One training step earlier, the operator at the same position made another block. The result is True if an
        operator of a later step, up to the step of the peak, read that other block.
        """
        block, starts = live.block, self.recording.steps.step_starts
        if block is None or block.maker < 0 or block.step < 1:
            return False
        maker = block.maker - starts[block.step] + starts[block.step - 1]
        earlier = next((b.number for b in self.blocks if (b.maker, b.position) == (maker, block.position)), -1)
        return any(starts[block.step] <= n < self.end for n in self.reads.get(earlier, []))

    @cached_property
    def has_backward(self) -> bool:
        """Whether the training step of the peak runs a backward operator."""
        return any(op.phase is Phase.BACKWARD for op in self.operators[self.start : self.end])

    def forward_of(self, op: Operator | None) -> Operator | None:
        """Return the forward operator of a backward operator, or None if it is not known.

        An operator of another phase, a backward operator outside all autograd nodes, and None are returned unchanged.
        """
        if op is None or op.phase is not Phase.BACKWARD or not op.node:
            return op
        number = self.recording.steps.operator_of_node.get(op.sequence)
        return self.operators[number] if number is not None else None

    def age(self, live: LiveBlock) -> int:
        """Return how many training steps before the step of the peak a block was first seen; 0 if there is no block."""
        return self.step - live.block.step if live.block is not None else 0

    # ---------------------------------------------------------------- what autograd saved

    def saved_of(self, operand: Operand) -> tuple[Saved, ...]:
        """Return the tensors that autograd nodes saved and that share the storage of an operand."""
        return self.blocks[operand.block].saved

    def waiting(self, live: LiveBlock) -> list[Saved]:
        """Return the tensors on a block that autograd nodes saved and still need at the peak.

        A node needs its saved tensors if its backward has not finished at the peak, or never runs.
        """
        return [saved for saved in _saved(live) if self._ends(saved) >= self.at]

    def retained(self, live: LiveBlock) -> list[Saved]:
        """Return the tensors on a block that autograd nodes saved and still retain after their own backward.

        The backward of these nodes ended before the peak, with ``retain_graph`` or ``create_graph``.
        """
        runs = self.recording.steps.runs
        return [s for s in _saved(live) if self._ends(s) < self.at and runs[s.sequence].keeps_graph]

    def _ends(self, saved: Saved) -> int:
        run = self.recording.steps.runs.get(saved.sequence)
        return run.last if run is not None else len(self.operators)

    def runs_in_step(self, saved: Saved) -> bool:
        """Return whether the node that saved a tensor finishes its backward before the step of the peak ends."""
        return self._ends(saved) < self.end

    # ---------------------------------------------------------------- who holds it

    def paths_to(self, live: LiveBlock) -> list[ReferencePath]:
        """Return the reference paths to a block; empty if none was found.

        For a block of an earlier training step, the paths are those that existed when the step of the peak began, if
        there were any. Otherwise they are the paths at the peak.
        """
        if live.block is None:
            return []
        old = self.between[self.step].paths if self.age(live) and self.between else {}
        return old.get(live.block.number) or self.paths.get(live.block.number, [])

    def retainer(self, live: LiveBlock) -> tuple[ReferencePath, Retainer] | None:
        """Return the object that most likely keeps a block alive, and the reference path that contains the object.

        Every reference path to the block has one candidate. The candidate with the most growth per training step is
        returned. If several grow equally, a path that outlives the training step is taken first, then an object rather
        than a variable, then a collection rather than another object.

        Returns
        -------
        (ReferencePath, Retainer) or None
            None if no reference path to the block was found.
        """
        made = max(live.block.step, 0) if live.block is not None else 0
        before = self.between[made].containers if self.between else frozenset()
        candidates = [(path, retainer_of(path, before)) for path in self.paths_to(live) if path.referrers]

        def order(candidate: tuple[ReferencePath, Retainer]) -> tuple[int, bool, bool, bool]:
            path, retainer = candidate
            variable = retainer.referrer.kind == "variable"
            return -self.growth(retainer.key), not path.outlives, variable, not retainer.collection

        return min(candidates, key=order, default=None)

    def node_growth(self, key: Key) -> int:
        """Return by how many autograd nodes a graph grows per training step, on average; 0 if it does not grow.

        ``key`` is the (root, expression) of a tensor with a graph, or of a collection of such tensors.
        """
        return trend([held.nodes_in(key) for held in self.between[1:]])

    def is_store(self, key: Key) -> bool:
        """Return whether an object does not grow, but still holds tensors that no recorded operator has touched.

        A replay buffer that is full is such an object. ``key`` is the (root, expression) of the object.
        """
        return not self.growth(key) and bool(self.between) and self.between[-1].unseen.get(key, 0) > 0

    def growth(self, key: Key) -> int:
        """Return by how many bytes the blocks that a retainer holds grow per training step, on average.

        The number is 0 if the retainer does not grow, as :func:`~recompviz.pytorch.debugging.references.held.trend`
        defines growth.

        Parameters
        ----------
        key : (root, expression)
            The key of the retainer.
        """
        return self._growths.get(key, 0)

    @cached_property
    def _growths(self) -> Mapping[Key, int]:
        sizes = {block.number: self.recording.rounded(block.size) for block in self.blocks}
        return growth_by_retainer(self.between[1:], sizes)

    @cached_property
    def retainers(self) -> Mapping[Key, Retainer]:
        """The retainers of blocks alive at the peak, by key. The retainer that holds the most bytes comes first.

        A retainer is the object that keeps a block alive. Blocks with a role, such as parameters and inputs, do not
        count. Blocks that only a local variable of the training step or of its loop holds count only if the bytes or
        the autograd nodes behind the variable grow from step to step. There are at most 32 retainers.
        """
        sums: dict[Key, int] = defaultdict(int)
        found: dict[Key, Retainer] = {}
        for one in self.live:
            held = self.retainer(one) if one.block is not None and not one.block.role else None
            if held is not None and self._outlives(*held):
                sums[held[1].key] += one.size
                found[held[1].key] = held[1]
        return {key: found[key] for key in sorted(sums, key=lambda key: -sums[key])[:MOST_RETAINERS]}

    def _outlives(self, path: ReferencePath, retainer: Retainer) -> bool:
        return not path.local or self.growth(retainer.key) > 0 or self.node_growth(retainer.key) > 0


def _saved(live: LiveBlock) -> tuple[Saved, ...]:
    return live.block.saved if live.block is not None else ()
