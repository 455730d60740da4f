"""References are found wherever a program can store a tensor; objects that raise when they are read are skipped."""

from __future__ import annotations

import collections
import functools
import gc
import itertools
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import recompviz as rv

Step = Callable[[], None]
SIZE = 128 * 64 * 4


def features() -> torch.Tensor:
    with torch.no_grad():
        return torch.tanh(torch.randn(128, 64))


@dataclass(slots=True)
class Record:
    out: torch.Tensor


class Kept:
    history: list[torch.Tensor] = []  # noqa: RUF012


def in_a_class() -> Step:
    Kept.history = []
    return lambda: Kept.history.append(features())


def in_a_tensors_attribute() -> Step:
    owner: Any = nn.Parameter(torch.zeros(3))
    owner.kept = []

    def step() -> None:
        owner.kept = [*owner.kept, features()]

    return step


def in_the_keys_of_a_dict() -> Step:
    seen: dict[torch.Tensor, int] = {}

    def step() -> None:
        seen[features()] = 1

    return step


def in_a_hook_of_a_tensor() -> Step:
    weight = torch.zeros(3, requires_grad=True)

    def step() -> None:
        output = features()
        weight.register_hook(lambda gradient: gradient * output.mean())

    return step


def in_slots() -> Step:
    records: list[Record] = []
    return lambda: records.append(Record(features()))


def in_exceptions() -> Step:
    errors: list[Exception] = []

    def step() -> None:
        output = features()
        try:
            raise ValueError(output.shape)
        except ValueError as error:
            errors.append(error)

    return step


def in_an_unbounded_cache() -> Step:
    numbers = itertools.count()

    @functools.cache
    def cached(_number: int) -> torch.Tensor:
        return features()

    return lambda: cached(next(numbers)).sum() and None  # type: ignore[func-returns-value]


def in_a_default() -> Step:
    def step(seen: list[torch.Tensor] = []) -> None:  # noqa: B006
        seen.append(features())

    return step


def in_a_long_list() -> Step:
    numbers: list[Any] = list(range(20_000))
    return lambda: numbers.append(features())


def beside_work_of_changing_length() -> Step:
    kept: list[torch.Tensor] = []
    counts = itertools.cycle([1, 3, 2, 5])

    def step() -> None:
        value = torch.ones(1)
        for _ in range(next(counts)):
            value = value * 2
        kept.append(features())

    return step


@pytest.mark.parametrize(
    ("make", "retainer"),
    [
        (in_a_class, "`Kept.history` (global)"),
        (in_a_tensors_attribute, "`owner.kept` (closure of step)"),
        (in_the_keys_of_a_dict, "`seen` (closure of step)"),
        (in_a_hook_of_a_tensor, "`weight.register_hook` (closure of step)"),
        (in_slots, "`records` (closure of <lambda>)"),
        (in_exceptions, "`errors` (closure of step)"),
        (in_an_unbounded_cache, "`cached` (closure of <lambda>)"),
        (in_a_default, "`seen` (default of step)"),
        (in_a_long_list, "`numbers` (closure of <lambda>)"),
        (beside_work_of_changing_length, "`kept` (closure of step)"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_growing_retainer_is_found_wherever_it_is_stored(make: Callable[[], Step], retainer: str) -> None:
    report = rv.debug(make(), advise=False)
    top = report.top
    assert top is not None
    assert top.retainer == retainer, top.text
    assert top.growth == pytest.approx(SIZE, abs=64)
    assert report.growth[1] - report.growth[0] == pytest.approx(SIZE, abs=64)
    assert ("numbers" in " ".join(report.notes)) == (make is in_a_long_list)


def test_growth_without_a_reference_path_is_reported() -> None:
    model = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 64))
    x = torch.randn(128, 64, requires_grad=True)

    def step() -> None:
        penalty = torch.autograd.grad(model(x).tanh().sum(), x, create_graph=True)[0].square().mean()
        model.zero_grad()
        x.grad = None
        penalty.backward(create_graph=True)

    with pytest.warns(UserWarning, match="create_graph=True"):
        report = rv.debug(step, advise=False)
    assert report.top is not None
    assert report.top.cause == "memory that grows from step to step"
    assert "create_graph" in report.top.fix
    assert report.top.growth == pytest.approx(report.growth[1] - report.growth[0], rel=0.3)
    model.zero_grad()
    gc.collect()


class Refusing:
    @property
    def __class__(self) -> Any:
        raise RuntimeError("no context")

    @__class__.setter
    def __class__(self, kind: type) -> None: ...


class Proxy:
    resolved = 0

    @property
    def __class__(self) -> Any:
        type(self).resolved += 1
        return dict

    @__class__.setter
    def __class__(self, kind: type) -> None: ...


_underscored = Proxy()
of_the_module = Proxy()


class Unreadable:
    @property
    def __dict__(self) -> Any:  # type: ignore[override]
        raise RuntimeError("not now")


class Lazy(list[int]):
    def __iter__(self) -> Any:
        raise AssertionError("reading filled it")


class Mute(str):
    def __repr__(self) -> str:
        raise RuntimeError("no words")


def test_objects_that_raise_when_they_are_read_are_skipped() -> None:
    gone = Record(torch.zeros(1))
    things = [Refusing(), Unreadable(), Lazy([1]), {Mute("x"): torch.zeros(3)}]
    kept: list[Any] = []

    class Alive:
        pass

    dead = weakref.proxy(Alive())

    def step() -> None:
        kept.append(features())
        assert len(things) == 4
        assert type(dead) is weakref.ProxyType
        assert gone is not None

    report = rv.debug(step, advise=False)
    assert report.top is not None
    assert report.top.retainer.startswith("`kept` (")


def test_the_search_for_references_resolves_no_proxy() -> None:
    inside = Proxy()
    kept: list[Any] = []
    Proxy.resolved = 0  # pytest resolves variables of a module when it looks for tests

    def step() -> None:
        kept.append(features())
        assert inside is not None
        assert of_the_module is not None

    report = rv.debug(step, advise=False)
    assert report.top is not None
    assert report.top.retainer.startswith("`kept` (")
    assert Proxy.resolved == 0


def test_debugging_does_not_keep_a_model_alive_that_a_step_makes() -> None:
    alive: weakref.WeakSet[nn.Module] = weakref.WeakSet()
    most = []

    def step() -> None:
        net = nn.Linear(64, 64)
        alive.add(net)
        most.append(len(alive))
        net(torch.randn(8, 64)).mean().backward()

    peaks = {rv.debug(step, steps=steps, advise=False).peak for steps in (1, 4)}
    assert max(most) == 1
    assert len(peaks) == 1


def test_tensors_made_from_one_array_count_once() -> None:
    data, model = np.zeros((256, 64), np.float32), nn.Linear(64, 64)

    def step() -> None:
        model.zero_grad()
        model(torch.from_numpy(data)).square().mean().backward()

    assert len({rv.debug(step, steps=steps, advise=False).peak for steps in (1, 4)}) == 1


def test_a_note_says_that_a_step_starts_threads() -> None:
    def step() -> None:
        thread = threading.Thread(target=features)
        thread.start()
        thread.join()

    report = rv.debug(step, advise=False)
    assert any("threads" in note for note in report.notes)
    assert not rv.debug(features, advise=False).notes


def test_an_in_place_change_that_autograd_refuses_is_refused_while_watching() -> None:
    weight = torch.randn(3, requires_grad=True)

    def step() -> None:
        y = weight.exp()
        y.add_(1)
        torch.autograd.backward(y.sum())

    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        rv.debug(step, advise=False)


def test_gradients_that_no_optimizer_steps_are_reported() -> None:
    teacher, student = nn.Linear(64, 256), nn.Linear(64, 256)
    optimizer = torch.optim.SGD(student.parameters(), 0.1)
    x = torch.randn(32, 64)

    def step() -> None:
        optimizer.zero_grad()
        torch.autograd.backward((student(x) - teacher(x)).square().mean())
        optimizer.step()

    report = rv.debug(step, advise=False)
    found = next(f for f in report.findings if f.cause == "gradients that nothing steps")
    assert found.size == 64 * 256 * 4 + 256 * 4
    assert found.line is not None
    assert "teacher(x)" in found.line.text


def test_float64_values_are_reported_with_the_line_that_makes_the_first() -> None:
    mean, model, x = torch.from_numpy(np.zeros(64)), nn.Linear(64, 64).double(), torch.randn(256, 64)

    def step() -> None:
        centred = x - mean
        model(centred).square().mean().backward()

    report = rv.debug(step, advise=False)
    found = next(f for f in report.findings if f.cause == "values in float64")
    assert found.line is not None
    assert "centred = x - mean" in found.line.text


def test_a_full_bounded_queue_is_not_reported() -> None:
    model, recent = nn.Linear(64, 64), collections.deque([torch.zeros(1)], maxlen=2)
    x = torch.randn(512, 64)

    def step() -> None:
        loss = model(x).square().mean()
        loss.backward()
        recent.append(loss.detach())

    report = rv.debug(step, advise=False)
    surprising = [finding for finding in report.findings if finding.surprising]
    # memory of other tests in this process may lie untouched
    assert not [found.text for found in surprising if found.cause != "memory that the step does not touch"]
