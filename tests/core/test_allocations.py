"""The reader of allocation events against a dictionary of live blocks, for sequences with missing events."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from recompviz.core.steps.allocations import AllocationEvent, read_allocations

# few addresses, so that frees and allocations of one address meet in every order
EVENTS = st.lists(
    st.builds(
        AllocationEvent,
        at=st.integers(0, 9),
        address=st.integers(1, 4),
        size=st.integers(-3, 100),
        scope=st.sampled_from(["", "relu"]),
    ),
    max_size=40,
)


@given(EVENTS)
def test_live_bytes_and_blocks_equal_those_of_a_dictionary(events: list[AllocationEvent]) -> None:
    live: dict[int, AllocationEvent] = {}
    sums, unseen = [0], 0
    for event in events:
        if event.size > 0:
            unseen += event.address in live
            live[event.address] = event
        elif event.size < 0:
            live.pop(event.address, None)
        sums.append(sum(one.size for one in live.values()))
    found = read_allocations(events)
    assert found.peak == max(sums) == found.live.max(initial=0)
    assert found.unseen_frees == unseen
    alive = found.alive_after(len(found.delta) - 1).tolist()
    assert {(int(found.address[i]), int(found.size[i]), found.scopes[i]) for i in alive} == {
        (one.address, one.size, one.scope) for one in live.values()
    }


@given(EVENTS)
def test_each_block_is_allocated_once_and_freed_at_most_once_with_its_size(events: list[AllocationEvent]) -> None:
    found = read_allocations(events)
    for block, (size, birth, death) in enumerate(zip(found.size, found.birth, found.death, strict=True)):
        own = [i for i in range(len(found.delta)) if found.block[i] == block]
        assert own == ([birth] if death < 0 else [birth, death])
        assert [int(found.delta[i]) for i in own] == [size, -size][: len(own)]
