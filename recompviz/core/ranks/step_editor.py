"""Insert calls into a joint graph, for example the collectives of a distributed training step.

Inserted calls belong to no node of G, so every plan of G stays valid. They never run a second time. A storage that an
inserted call makes is alive until the last call that reads it. So a call that only reads a storage ends its lifetime.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from recompviz.core.graphs.node_info import NodeInfo
from recompviz.core.steps.joint import Call, Category, JointGraph, Storage


class StepEditor:
    """Collects new storages and calls, and then makes the changed joint graph.

    A *place* is the number of a call of the joint graph; a call is inserted before the call with this number. Calls
    that are inserted at the same place run in the order in which they were inserted, those of the forward pass first.

    Parameters
    ----------
    joint : JointGraph

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
        """Add a storage, and return its number. Without a call that makes it, it exists before the training step."""
        self._storages.append(Storage(size, -1, category, label))
        return len(self._storages) - 1

    def resize(self, storage: int, size: int) -> None:
        """Set the bytes of a storage."""
        self._storages[storage] = replace(self._storages[storage], size=size)

    def pin(self, call: int) -> None:
        """Let every plan keep the outputs of a call of the joint graph."""
        self._pinned.add(call)

    def share(self, call: int, made: int, other: int) -> None:
        """Let a call write its output ``made`` into another storage, which exists already."""
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
        """Insert a call before the call with the number ``place``.

        Parameters
        ----------
        place : int
            From 0 to the number of calls.
        key : str
            The name of the call in timelines.
        makes, reads : iterable of int
            The storages that it allocates, and those that it reads.
        workspace : int
            Bytes that it uses while it runs.
        backward : bool
            Whether it belongs to the backward pass. A place in the backward pass needs True, and one in the forward
            pass False. The place between the two passes allows both.
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
            As for :class:`JointGraph`; by default those of the joint graph.
        clones : iterable of (int, int), optional
            As for :class:`JointGraph`; by default those of the joint graph.
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
