"""What eager code of a step reads, and what a step leaves for the next one, counts without being named."""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

import recompviz as rv
from recompviz.pytorch.budgeting.recorded_models import RecordedModels
from recompviz.pytorch.budgeting.unnamed_memory import still_alive
from recompviz.pytorch.internals.memory_window import memory_window
from recompviz.pytorch.internals.profiler import allocation_events, named_range, older_reads
from recompviz.pytorch.internals.tensors import address_of, living_storages
from recompviz.pytorch.running.compiled import budget_of

WIDTH, BATCH = 48, 256
VALUES = BATCH * WIDTH * 4
Loop = Callable[[Any, Tensor, Tensor], Any]


@pytest.fixture(autouse=True)
def _quick_search(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RecordedModels, "search_seconds", 0.0)
    gc.collect()


def _layers(count: int = 3) -> nn.Sequential:
    return nn.Sequential(*[layer for _ in range(count) for layer in (nn.Linear(WIDTH, WIDTH), nn.Tanh())])


def test_reads_of_older_storages_are_found_with_the_bytes_that_they_span() -> None:
    older, other, inside = torch.randn(8, 16), torch.randn(4, 16), torch.randn(16)
    with memory_window(torch.device("cpu"), reads=True) as window:
        made = torch.cat([other, older[2:4]]) * 2
        with named_range("rv:1"):
            made = made + inside
        made = made + made[0]
    found = older_reads(window.profiled, "cpu")
    assert {found[address_of(t)] for t in (older, other)} == {older.nbytes, other.nbytes}
    assert address_of(inside) not in found
    assert address_of(made) not in found


def test_only_storages_of_tensors_that_live_are_found() -> None:
    tensors = [torch.randn(8) for _ in range(3)]
    addresses = [address_of(tensor) for tensor in tensors]
    view = tensors.pop(0)[2:]
    del tensors[0]
    living = living_storages()
    assert set(addresses) & living.keys() == {address_of(view), address_of(tensors[0])}
    assert still_alive({address: living[address] for address in addresses if address in living}) == {
        address_of(view),
        address_of(tensors[0]),
    }
    del view
    assert set(addresses) & still_alive(living) == {address_of(tensors[0])}


def test_a_new_tensor_at_the_address_of_one_that_is_gone_is_another_tensor() -> None:
    """The allocator gives a freed address again: only the reference says which tensor it was."""
    memory = bytearray(64)
    first = torch.frombuffer(memory, dtype=torch.uint8)
    address, living = address_of(first), living_storages()
    assert address in still_alive(living)
    del first
    again = torch.frombuffer(memory, dtype=torch.uint8)
    assert address_of(again) == address
    assert address not in still_alive(living)


class Wrapping(Tensor):
    @classmethod
    def __torch_dispatch__(cls, function: Any, *_arguments: Any) -> Any:
        raise AssertionError(function)


def test_a_tensor_without_a_storage_of_its_own_has_no_address() -> None:
    wrapper: Any = Tensor._make_wrapper_subclass  # type: ignore[attr-defined]
    kinds = [wrapper(Wrapping, (2, 3)), torch.eye(2).to_sparse(), FakeTensorMode().from_tensor(torch.ones(2))]
    assert [address_of(tensor) for tensor in kinds] == [0, 0, 0]
    assert 0 not in living_storages()


def _counted(loop: Loop, steps: int = 5) -> int:
    """The bytes in use before a planned step."""
    torch.manual_seed(0)
    model, x, target = _layers(), torch.randn(BATCH, WIDTH), torch.randn(BATCH, WIDTH)
    compiled = rv.compile(model, total="1 GiB")
    kept = None
    for _ in range(steps):
        kept = loop(compiled, x, target)
        model.zero_grad()
    assert budget_of(compiled).planned is not None
    del kept
    return (1 << 30) - budget_of(compiled).room_left


def _plain(compiled: Any, x: Tensor, _target: Tensor) -> None:
    compiled(x).sum().backward()


def test_targets_that_only_the_loss_reads_count() -> None:
    def with_targets(compiled: Any, x: Tensor, target: Tensor) -> None:
        (compiled(x) * target).sum().backward()

    assert _counted(with_targets) - _counted(_plain) == VALUES


def test_inputs_and_targets_count_wherever_the_next_batch_lies() -> None:
    """Each step has tensors of its own. Those of the next step often have the addresses of the last ones, swapped."""
    torch.manual_seed(0)
    model = _layers()
    counted = set()
    compiled = rv.compile(model, total="1 GiB")
    for step in range(8):
        x, target = torch.randn(BATCH, WIDTH), torch.randn(BATCH, WIDTH)
        if step % 2:
            x, target = target, x
        (compiled(x) * target).sum().backward()
        model.zero_grad()
        if step >= 4:
            counted.add((1 << 30) - budget_of(compiled).room_left)
        del x, target
    assert len(counted) == 1
    assert counted == {_counted(lambda compiled, x, target: (compiled(x) * target).sum().backward())}


def test_a_teacher_that_is_not_compiled_counts_where_it_runs_after_the_model() -> None:
    teacher = _layers(5)

    def distilled(compiled: Any, x: Tensor, _target: Tensor) -> None:
        output = compiled(x)
        with torch.no_grad():
            wanted = teacher(x)
        (output * wanted).sum().backward()

    assert _counted(distilled) - _counted(_plain) == sum(p.nbytes for p in teacher.parameters())


def test_a_loss_that_is_kept_until_the_next_step_counts_with_its_storage() -> None:
    def returned(compiled: Any, x: Tensor, target: Tensor) -> Tensor:
        loss = F.mse_loss(compiled(x), target)
        loss.backward()
        return loss.detach()

    assert F.mse_loss(torch.zeros(8, 8), torch.ones(8, 8)).untyped_storage().nbytes() == 256
    assert _counted(returned) - _counted(_plain) == 2 * VALUES  # with the targets


def test_what_is_named_or_known_counts_once() -> None:
    model, teacher, x = _layers(), _layers(), torch.randn(BATCH, WIDTH)
    counted = []
    for holds in (None, [teacher, lambda: x]):
        compiled = rv.compile(copy.deepcopy(model), total="1 GiB", holds=holds)
        optimizer = torch.optim.Adam(compiled.parameters())
        for _ in range(5):
            output = compiled(x)
            with torch.no_grad():
                wanted = teacher(x) + x
            (output * wanted).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        counted.append((1 << 30) - budget_of(compiled).room_left)
    assert counted[0] == counted[1]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::recompviz.pytorch.budgeting.recording_attempts.UnplannedStep")
def test_a_loop_with_targets_an_eager_teacher_and_a_kept_loss_stays_within_the_total() -> None:
    def trained(total: int | str | None) -> tuple[list[float], int]:
        torch.manual_seed(0)
        model, teacher, x, y = _layers(6), _layers(4), torch.randn(BATCH, WIDTH), torch.randn(BATCH, WIDTH)
        compiled = model if total is None else rv.compile(model, total=total)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        tensors = [*model.parameters(), *teacher.parameters(), x, y]

        def step() -> Tensor:
            output = compiled(x)
            with torch.no_grad():
                wanted = teacher(y)
            loss = F.smooth_l1_loss(output, wanted)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            return loss.detach()

        losses, most = [], 0
        for _ in range(4):
            last = step()
            losses.append(last.item())
        for _ in range(3):
            with memory_window(torch.device("cpu")) as window:
                following = step()
            now = last.untyped_storage().nbytes() + sum(tensor.nbytes for tensor in tensors)
            last = following
            losses.append(last.item())
            for event in allocation_events(window.profiled, "cpu"):
                now += event.size
                most = max(most, now)
        return losses, most

    eager, _ = trained(None)
    losses, most = trained("1 GiB")
    assert losses == eager
    for share in (1.0, 0.92):
        total = int(share * most)
        losses, peak = trained(total)
        assert losses == eager
        assert 0.8 * total < peak <= total
