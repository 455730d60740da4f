"""Insert calls into a joint graph, for example the collectives of a distributed training step.

Inserted calls belong to no node of the graph, so every plan of the graph stays valid. They are never recomputed. A
storage that an inserted call allocates is alive until the last call that reads it, unless it is a result of the step.
To free a storage at a certain place, insert a call there that only reads it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from recompviz.core.graphs.node_info import NodeInfo
from recompviz.core.steps.joint import Call, Category, JointGraph, Storage


class StepEditor:
    """Collects new storages and calls, and then makes the changed joint graph.

    A *place* is the index of a call of ``joint``. A call that is inserted at a place runs before the call with this
    index. Calls that are inserted at the same place run in the order in which they were inserted, but calls of the
    forward pass run before those of the backward pass.

    Parameters
    ----------
    joint : JointGraph
        The joint graph to start from. It is not changed.

    Examples
    --------
    A block of 10 bytes that is alive during the second forward call:

    >>> from recompviz.core.steps.examples import chain_step
    >>> from recompviz.core.steps.schedule import make_schedule
    >>> from recompviz.core.steps.simulation import simulate_schedule
    >>> _, joint = chain_step([4, 4, 4])
    >>> editor = StepEditor(joint)
    >>> block = editor.storage(10, Category.TRANSIENT, "block")
    >>> editor.insert(1, "begin", makes=[block])
    >>> editor.insert(2, "end", reads=[block])
    >>> edited = editor.finish()
    >>> simulate_schedule(make_schedule(edited, [True] * 3)).step_ends.tolist()[:5]
    [4, 14, 18, 8, 12]
    """

    def __init__(self, joint: JointGraph) -> None:
        self.joint = joint
        self._storages = list(joint.storages)
        self._reads = [list(call.reads) for call in joint.calls]
        self._makes = [list(call.makes) for call in joint.calls]
        self._pinned = {c for c, call in enumerate(joint.calls) if call.pinned}
        self._new: dict[int, list[tuple[Call, int]]] = {}
        self._new_backward: dict[int, list[tuple[Call, int]]] = {}

    def storage(self, size: int, category: Category, label: str) -> int:
        """Add a storage of ``size`` bytes, and return its index.

        ``category`` and ``label`` are as for :class:`Storage`. If no inserted call allocates the storage, it exists
        before the training step.
        """
        self._storages.append(Storage(size, -1, category, label))
        return len(self._storages) - 1

    def resize(self, storage: int, size: int) -> None:
        """Change the size of the storage with the given index to ``size`` bytes."""
        self._storages[storage] = replace(self._storages[storage], size=size)

    def pin(self, call: int) -> None:
        """Let every plan keep the outputs of the call with the given index."""
        self._pinned.add(call)

    def hold(self, call: int, storages: Iterable[int]) -> None:
        """Let a call of the joint graph read further storages, so that they stay alive until the call ends.

        Storages that the call itself allocates are left out.
        """
        taken = {*self._reads[call], *self._makes[call]}
        self._reads[call] += [s for s in dict.fromkeys(storages) if s not in taken]

    def share(self, call: int, made: int, other: int) -> None:
        """Let a call write its result into a storage that exists already, instead of allocating one.

        Parameters
        ----------
        call : int
            The index of the call.
        made : int
            The storage that the call allocates. Calls that read it read ``other`` instead.
        other : int
            The storage into which the call writes.
        """
        self._makes[call] = [s for s in self._makes[call] if s != made]
        self._reads = [[other if s == made else s for s in reads] for reads in self._reads]

    def insert(
        self,
        place: int,
        key: str,
        makes: Iterable[int] = (),
        reads: Iterable[int] = (),
        workspace: int = 0,
        backward: bool = False,
    ) -> None:
        """Insert a call before the call with the index ``place``.

        Parameters
        ----------
        place : int
            From 0 to the number of calls of ``joint``. The last of these places is after all calls.
        key : str
            The name of the call in timelines.
        makes, reads : iterable of int
            The storages that the call allocates, and the storages that it reads.
        workspace : int
            Bytes that the call needs while it runs, besides its inputs and outputs.
        backward : bool
            Whether the call belongs to the backward pass. It must be True at a place in the backward pass, and False at
            a place in the forward pass. At the place between the two passes, both are allowed.
        """
        call = Call(NodeInfo(key=key, op=key), backward, -1, tuple(reads), tuple(makes), pinned=True)
        (self._new_backward if backward else self._new).setdefault(place, []).append((call, workspace))

    def finish(
        self, results: Iterable[int] | None = None, clones: Iterable[tuple[int, int]] | None = None
    ) -> JointGraph:
        """Return the changed joint graph.

        Parameters
        ----------
        results : iterable of int, optional
            The attribute ``results`` of the new :class:`JointGraph`; by default the attribute of ``joint``.
        clones : iterable of (int, int), optional
            The attribute ``clones`` of the new :class:`JointGraph`; by default the attribute of ``joint``.
        """
        joint = self.joint
        calls: list[Call] = []
        workspace: list[int] = []
        seconds: list[float] = []
        for place in range(len(joint.calls) + 1):
            for new in (self._new, self._new_backward):
                for call, extra in new.get(place, ()):
                    calls.append(call)
                    workspace.append(extra)
                    seconds.append(0.0)
            if place < len(joint.calls):
                old = joint.calls[place]
                pinned = place in self._pinned
                calls.append(
                    replace(old, reads=tuple(self._reads[place]), makes=tuple(self._makes[place]), pinned=pinned)
                )
                workspace.append(joint.workspace[place] if joint.workspace else 0)
                seconds.append(joint.seconds[place] if joint.seconds else 0.0)
        maker: Mapping[int, int] = {s: c for c, call in enumerate(calls) for s in call.makes}
        return replace(
            joint,
            calls=tuple(calls),
            storages=tuple(replace(s, maker=maker.get(i, -1)) for i, s in enumerate(self._storages)),
            results=joint.results if results is None else frozenset(results),
            clones=joint.clones if clones is None else tuple(clones),
            workspace=tuple(workspace) if any(workspace) else (),
            seconds=tuple(seconds) if joint.seconds else (),
        )
