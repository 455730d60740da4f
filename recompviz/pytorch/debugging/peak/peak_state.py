"""The peak of the peak: each live block with what autograd, later operators and the user's objects want of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from recompviz.core.base.units import format_bytes
from recompviz.core.reports.memory_report import SourceLine
from recompviz.core.steps.joint import Category
from recompviz.core.steps.schedule import Phase
from recompviz.pytorch.debugging.recorder.recording import LiveBlock, Recording
from recompviz.pytorch.debugging.recorder.watched import Block, Operand, Operator, Saved
from recompviz.pytorch.debugging.references.held import HeldAfterStep, growth_by_retainer
from recompviz.pytorch.debugging.references.reference_path import Key, ReferencePath, Retainer, retainer_of
from recompviz.pytorch.internals.user_lines import OUTSIDE

# so many retainers are watched for the lines that put things into them
MOST_RETAINERS = 32


@dataclass(frozen=True, eq=False)
class PeakState:
    """The peak of a recording, and who holds what there.

    Attributes
    ----------
    recording : Recording
    held : mapping of int to list of ReferencePath
        By block that the step of the peak made: the paths on which it is reached.
    between : tuple of HeldAfterStep
        What was held before the first of the recorded steps and after each.
    placed : mapping of (root, path) to SourceLine
        By retainer: the line that puts most into it.
    """

    recording: Recording
    held: Mapping[int, list[ReferencePath]] = field(default_factory=dict)
    between: tuple[HeldAfterStep, ...] = ()
    placed: Mapping[Key, SourceLine] = field(default_factory=dict)

    def settled(self, held: Mapping[int, list[ReferencePath]]) -> PeakState:
        """The same peak, once it is known who holds what."""
        return self._with(replace(self, held=held))

    def with_lines(self, placed: Mapping[Key, SourceLine]) -> PeakState:
        """The same peak, once it is known which lines put things where they are kept."""
        return self._with(replace(self, placed=placed))

    def _with(self, other: PeakState) -> PeakState:
        """Hand on what was computed of the recorded steps: the watcher has seen more since."""
        names = ("at", "step", "end", "live", "reads", "has_backward")
        other.__dict__.update({name: self.__dict__[name] for name in names if name in self.__dict__})
        return other

    @property
    def operators(self) -> list[Operator]:
        """Every operator watched."""
        return self.recording.watcher.operators

    @cached_property
    def at(self) -> int:
        """The number of the operator that runs at the peak."""
        op = self.recording.peak_operator
        return op.number if op is not None else 0

    @cached_property
    def step(self) -> int:
        """The step of the peak."""
        op = self.recording.peak_operator
        return op.step if op is not None else 0

    @cached_property
    def end(self) -> int:
        """The number of the first operator after the step of the peak."""
        starts = self.recording.watcher.step_starts
        return starts[self.step + 1] if self.step + 1 < len(starts) else len(self.operators)

    @cached_property
    def live(self) -> tuple[LiveBlock, ...]:
        """The transient blocks."""
        return self.recording.at_peak

    @cached_property
    def reads(self) -> dict[int, list[int]]:
        """By block: the operators that read it, in order."""
        found: dict[int, list[int]] = defaultdict(list)
        for op in self.operators:
            for operand in op.reads:
                if not found[operand.block] or found[operand.block][-1] != op.number:
                    found[operand.block].append(op.number)
        return found

    def age(self, live: LiveBlock) -> int:
        """How many steps before that of the peak the block was made."""
        return self.step - live.block.step if live.block is not None else 0

    def last_read(self, live: LiveBlock) -> Operator | None:
        """The operator that read it last, the one of the peak included."""
        numbers = self.reads.get(live.block.number, []) if live.block is not None else []
        before = [n for n in numbers if n <= self.at and self.operators[n].short not in ("detach", "alias")]
        return self.operators[before[-1]] if before else None

    def next_read(self, live: LiveBlock) -> Operator | None:
        """The operator of the same step that reads it next."""
        numbers = self.reads.get(live.block.number, []) if live.block is not None else []
        after = [n for n in numbers if self.at < n < self.end and self.operators[n].short != "detach"]
        return self.operators[after[0]] if after else None

    def read_in_step(self, live: LiveBlock) -> bool:
        """Whether an operator of the step of the peak reads it."""
        return live.block is not None and self.number_read_in_step(live.block.number)

    def number_read_in_step(self, block: int) -> bool:
        """The same of a block by its number."""
        start = self.recording.watcher.step_starts[self.step]
        return any(start <= n < self.end for n in self.reads.get(block, []))

    def saved_of(self, operand: Operand) -> list[Saved]:
        """What autograd nodes have saved of an operand's block."""
        return self.recording.watcher.blocks[operand.block].saved

    def read_a_step_later(self, live: LiveBlock) -> bool:
        """Whether it is a state that is carried on: what its operator made a step before was read in the step after."""
        block, starts = live.block, self.recording.watcher.step_starts
        if block is None or block.maker < 0 or block.step < 1:
            return False
        maker = block.maker - starts[block.step] + starts[block.step - 1]
        blocks = self.recording.watcher.blocks
        earlier = next((b.number for b in blocks if (b.maker, b.position) == (maker, block.position)), -1)
        return any(starts[block.step] <= n < self.end for n in self.reads.get(earlier, []))

    def waiting(self, live: LiveBlock) -> list[Saved]:
        """What autograd nodes that have still to run have saved of it."""
        return [saved for saved in self._saved(live) if self._ends(saved) >= self.at]

    def retained(self, live: LiveBlock) -> list[Saved]:
        """What nodes that have run, and were told to keep the graph, have saved of it."""
        runs = self.recording.watcher.runs
        return [s for s in self._saved(live) if self._ends(s) < self.at and runs[s.sequence].keeps_graph]

    def _saved(self, live: LiveBlock) -> list[Saved]:
        return live.block.saved if live.block is not None else []

    def _ends(self, saved: Saved) -> int:
        run = self.recording.watcher.runs.get(saved.sequence)
        return run.last if run is not None else len(self.operators)

    def runs_in_step(self, saved: Saved) -> bool:
        """Whether the node that saved it runs its backward in the step of the peak."""
        return self._ends(saved) < self.end

    @cached_property
    def has_backward(self) -> bool:
        """Whether the step of the peak runs a backward pass."""
        start = self.recording.watcher.step_starts[self.step]
        return any(op.phase is Phase.BACKWARD for op in self.operators[start : self.end])

    def forward_of(self, op: Operator | None) -> Operator | None:
        """The forward operator that an operator of the backward pass belongs to; itself for a forward one."""
        if op is None or op.phase is not Phase.BACKWARD or not op.node:
            return op
        number = self.recording.watcher.operator_of_node.get(op.sequence)
        return self.operators[number] if number is not None else None

    def paths_to(self, live: LiveBlock) -> list[ReferencePath]:
        """On which paths it is reached: at the peak, or when the step before was over if it is older."""
        if live.block is None:
            return []
        old = self.between[self.step].paths if self.age(live) and self.between else {}
        return old.get(live.block.number) or self.held.get(live.block.number, [])

    def retainer(self, live: LiveBlock) -> tuple[ReferencePath, Retainer] | None:
        """What keeps it: of the paths to it the one that grows, else a container, an attribute, a variable."""
        made = max(live.block.step, 0) if live.block is not None else 0
        before = self.between[made].containers if self.between else frozenset()
        paths = [(path, retainer_of(path, before)) for path in self.paths_to(live) if path.referrers]

        def blame(one: tuple[ReferencePath, Retainer]) -> tuple[int, bool, bool, bool]:
            path, retainer = one
            return (
                -self.growth(retainer.key),
                not path.outlives,
                retainer.referrer.kind == "variable",
                not retainer.collection,
            )

        return min(paths, key=blame, default=None)

    def growth(self, key: Key) -> int:
        """Bytes by which a retainer grows with each step; 0 if it does not grow with every one."""
        return self._growths.get(key, 0)

    @cached_property
    def _growths(self) -> dict[Key, int]:
        return growth_by_retainer(self.between[1:], self._sizes)

    @cached_property
    def _sizes(self) -> dict[int, int]:
        return {block.number: self.recording.rounded(block.size) for block in self.recording.watcher.blocks}

    @cached_property
    def retainers(self) -> dict[Key, Retainer]:
        """What keeps the blocks alive at the peak, the largest first, but for variables that are soon gone."""
        sums: dict[Key, int] = defaultdict(int)
        found: dict[Key, Retainer] = {}
        for one in self.live:
            path = self.retainer(one) if one.block is not None and not one.block.role else None
            if path is not None and not path[0].local:
                sums[path[1].key] += one.size
                found[path[1].key] = path[1]
        return {key: found[key] for key in sorted(sums, key=lambda key: -sums[key])[:MOST_RETAINERS]}

    def kept_for(self, saved: list[Saved]) -> str:
        """``backward of layer1/relu``, for the first of the nodes."""
        number = self.recording.watcher.operator_of_node.get(saved[0].sequence)
        more = len({s.sequence for s in saved}) - 1
        also = f" and {more} more" if more else ""
        if number is None:
            return f"a backward{also}"
        op = self.operators[number]
        return f"backward of {op.module + '/' if op.module else ''}{op.short}{also}"

    # ---------------------------------------------------------------- in words

    def label(self, live: LiveBlock) -> str:
        """A name for people."""
        if live.block is None:
            return f"workspace of {_name(live.operator)}" if live.operator is not None else "unattributed"
        return self.block_label(live.block)

    def block_label(self, block: Block) -> str:
        """A name for people: what it was given, or the variable it was assigned to, or module and operator."""
        if block.name:
            return block.name
        if block.maker < 0:
            if paths := self.held.get(block.number):
                return f"`{paths[0].expression}`"
            seen = self.operators[block.first_seen] if block.first_seen < len(self.operators) else None
            return f"made outside, read by {_name(seen)}" if seen is not None else "made outside"
        op = self.operators[block.maker]
        name = f"backward of {_name(self.forward_of(op) or op)}" if op.phase is Phase.BACKWARD else _name(op)
        variable = self._variable(op)
        return f"{variable} ({name})" if variable else name

    def _variable(self, op: Operator) -> str:
        """The name that a forward operator's line gives its result, if no later operator of the line makes that."""
        if op.line is None or op.phase is not Phase.FORWARD or op.line.function == OUTSIDE:
            return ""
        following = next((o for o in self.operators[op.number + 1 : op.number + 40] if o.makes), None)
        same = following is not None and following.line == op.line and following.phase is op.phase
        return "" if same else op.line.assigned

    def category(self, live: LiveBlock) -> Category:
        """What it is for."""
        if live.block is None:
            return Category.WORKSPACE if live.operator is not None else Category.OTHER
        return self.block_category(live.block)

    def block_category(self, block: Block) -> Category:
        """What a block is for."""
        if block.role:
            return _CATEGORIES[block.role]
        if block.maker < 0:
            return Category.INPUT
        op = self.operators[block.maker]
        if op.optimizer:
            return Category.WORKSPACE
        if op.phase is Phase.BACKWARD:
            return Category.GRADIENT
        if op.phase is Phase.RECOMPUTE:
            return Category.RECOMPUTED
        return Category.KEPT if block.saved else Category.TRANSIENT

    def why(self, live: LiveBlock) -> str:
        """Who keeps it, in words."""
        block = live.block
        if block is None:
            return f"workspace inside {_name(live.operator)}" if live.operator else "outside every operator"
        parts = []
        age = self.age(live)
        if block.role:
            parts.append(
                _ROLES[block.role] + (f", kept from {age} step{'s' if age > 1 else ''} ago" if age and live else "")
            )
        if kept := self.retained(live):
            parts.append(f"the graph is retained after {self.kept_for(kept)} ran")
        if waits := self.waiting(live):
            parts.append(
                f"saved for {self.kept_for(waits)}"
                + ("" if self.runs_in_step(waits[0]) else ", which does not run in this step")
            )
        maker = live.operator
        if maker is not None and maker.phase is Phase.RECOMPUTE:
            parts.append("recomputed" + (f" by the checkpoint at {maker.checkpoint.place}" if maker.checkpoint else ""))
        following = self.next_read(live)
        if not parts and following is not None:
            kind = "gradient in flight, " if maker and maker.phase is Phase.BACKWARD else ""
            parts.append(f"{kind}read next by {_name(following)}")
        if not parts and maker is not None and maker.number == self.at:
            parts.append(f"being made by {_name(maker)}")
        path = None if block.role else self.retainer(live)
        if path is not None and not (parts and path[0].local):
            parts.append(f"held by {path[0].text}")
        if not parts and self.last_read(live) is not None:
            parts.append(f"in use by {_name(self.last_read(live))}")
        if age and not block.role:
            parts.append(f"made {age} step{'s' if age > 1 else ''} ago")
        return "; ".join(parts) or "no later use seen, freed soon after"


_CATEGORIES = {
    "parameter": Category.PARAMETER,
    "buffer": Category.BUFFER,
    "gradient": Category.PARAMETER_GRADIENT,
    "optimiser state": Category.OPTIMIZER,
    "input": Category.INPUT,
    "target": Category.TARGET,
}
_ROLES = {
    "parameter": "parameter",
    "buffer": "buffer",
    "gradient": "gradient, until it is set to None",
    "optimiser state": "state of the optimiser",
    "input": "input, held by the caller",
    "target": "target, held by the caller",
}


def _name(op: Operator | None) -> str:
    """Module path and operator."""
    if op is None:
        return "nothing"
    if op.optimizer:
        return f"{op.optimizer}.step/{op.short}"
    return f"{op.module}/{op.short}" if op.module else op.short


operator_name = _name


def times(count: int, size: int) -> str:
    """``3 blocks, 12 MiB``."""
    return f"{count} block{'s' if count > 1 else ''}, {format_bytes(size)}"
