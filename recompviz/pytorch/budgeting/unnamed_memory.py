"""Memory that the user did not name: tensors that eager code of a recorded step reads or leaves for the next step.

Examples are targets, a teacher that is not compiled, and a loss that the caller keeps until the next step. On CUDA, the
allocator counts all this memory. On the CPU, the recording shows which storages the operators read, and which blocks
are not freed.

A storage is recognized by a weak reference that was made when the recording stopped, and not by its address, because a
new tensor may have the address of one that was freed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from recompviz.pytorch.internals.profiler import older_reads

if TYPE_CHECKING:
    from recompviz.core.steps.allocations import Allocations
    from recompviz.pytorch.internals.tensors import StorageWeakRef

# Smaller blocks that a step leaves behind are not counted, for example the loss.
LEAST_LEFT = 4096


def still_alive(living: Mapping[int, StorageWeakRef]) -> set[int]:
    """Return the addresses of the storages that still exist. ``living`` maps addresses to references to storages."""
    return {address for address, storage in living.items() if not storage.expired()}


def read_before(profile: Any, device: str, known: Iterable[int], rounded: Callable[[int], int]) -> int:
    """Count the bytes of the storages that existed before the step and that code outside the regions reads.

    Storages in ``known`` are left out.

    Parameters
    ----------
    profile : torch.profiler.profile
        The profile of the step. It has the storages that each operator reads.
    device : str
        The type of the device.
    known : iterable of int
        Addresses of storages that are counted elsewhere.
    rounded : callable (int) → int
        Returns the bytes that the allocator takes for a size.
    """
    reads, counted = older_reads(profile, device), set(known)
    return sum(rounded(size) for address, size in reads.items() if size and address not in counted)


def left_behind(blocks: Allocations, alive: Iterable[int], known: Iterable[int]) -> int:
    """Count the bytes of blocks that the step allocated, and that tensors still refer to when the next step starts.

    Blocks of less than 4,096 bytes are left out.

    Parameters
    ----------
    blocks : Allocations
        The allocations and frees of the step.
    alive : iterable of int
        Addresses of the storages that tensors referred to when the recording stopped, and that are alive now.
    known : iterable of int
        Addresses of storages that are counted elsewhere.
    """
    wanted = set(alive) - set(known)
    return sum(
        int(size)
        for address, size, death in zip(blocks.address, blocks.size, blocks.death, strict=True)
        if death < 0 and size >= LEAST_LEFT and int(address) in wanted
    )
