"""Sharded and replicated steps: lifetimes of gathered parameters and reduction buffers, against a replay by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import combinations, product

import numpy as np
import pytest

import recompviz as rv
from recompviz.core.graphs.graph import Graph
from recompviz.core.graphs.node_info import NodeInfo
from recompviz.core.plans.plan import Plan
from recompviz.core.ranks import kept_units
from recompviz.core.ranks.batch_actions import Action
from recompviz.core.ranks.interleaved import RankPlace, interleaved_passes
from recompviz.core.ranks.kept_units import _best, _States
from recompviz.core.ranks.pipeline import stage_passes, stage_timeline
from recompviz.core.ranks.replicated_step import replicated_step
from recompviz.core.ranks.resharding import GatherTime, reshard_front, reshard_point
from recompviz.core.ranks.sharded_step import sharded_step
from recompviz.core.ranks.sharding import ShardedParameter, ShardedUnit, Sharding, pin_outside, unit_of_calls
from recompviz.core.ranks.splits import best_split
from recompviz.core.ranks.stage_place import StagePlace
from recompviz.core.ranks.stage_steps import stage_steps
from recompviz.core.ranks.unit_plan import UnitPlan, fingerprint, from_text, to_text, unit_plans
from recompviz.core.steps.joint import Call, Category, JointGraph, Storage
from recompviz.core.steps.schedule import make_schedule
from recompviz.core.steps.simulation import simulate_schedule

WEIGHT, VALUE = 12, 10  # bytes of each parameter (3 rows of one float) and of each value


def layers(count: int) -> tuple[Graph, JointGraph, tuple[ShardedUnit, ...]]:
    """A chain of layers, each with one parameter, and a loss. Layer i multiplies value i−1 by its parameter."""
    storages = [Storage(WEIGHT, -1, Category.PARAMETER, f"layers.{i}.w") for i in range(count)]
    calls, infos = [], []
    values = []
    for i in range(count):
        values.append(len(storages))
        storages.append(Storage(VALUE, i, Category.KEPT, f"v{i}"))
        infos.append(NodeInfo(key=f"layers.{i}/mul", op="aten.mul", module=f"layers.{i}"))
        calls.append(Call(infos[-1], False, i, (i, *values[-2:-1]), (values[-1],)))
    loss = len(storages)
    storages.append(Storage(4, count, Category.OUTPUT, "loss"))
    infos.append(NodeInfo(key="loss/sum", op="aten.sum", module="loss"))
    calls.append(Call(infos[-1], False, count, (values[-1],), (loss,)))
    gradient = len(storages)
    storages.append(Storage(VALUE, count + 1, Category.GRADIENT, "gradient"))
    calls.append(Call(NodeInfo(key="loss'", module="loss"), True, -1, (), (gradient,)))
    units, results = [], {loss}
    for i in reversed(range(count)):
        place = len(calls)
        of_weight, of_value = len(storages), len(storages) + 1
        storages.append(Storage(WEIGHT, place, Category.PARAMETER_GRADIENT, f"gradient of layers.{i}.w"))
        storages.append(Storage(VALUE, place, Category.GRADIENT, f"gradient of v{i - 1}"))
        reads = (i, gradient, *values[max(0, i - 1) : i])
        info = NodeInfo(key=f"layers.{i}'", module=f"layers.{i}")
        calls.append(Call(info, True, -1, reads, (of_weight, of_value)))
        results.add(of_weight)
        gradient = of_value
        units.append(ShardedUnit(f"layers.{i}", (ShardedParameter(i, of_weight, 3, 1),)))
    chain = Graph.from_edges([(i, i + 1) for i in range(count)], memory=[VALUE] * count + [4])
    graph = replace(chain, info=tuple(infos))
    joint = JointGraph(tuple(calls), tuple(storages), frozenset(results))
    return graph, joint, (ShardedUnit("", (), False), *reversed(units))


def unequal_layers(rows: list[int]) -> tuple[Graph, JointGraph, Sharding]:
    """The chain of layers with parameters of these numbers of rows, for two ranks."""
    graph, joint, units = layers(len(rows))
    sizes = {i: 4 * n for i, n in enumerate(rows)}
    sizes |= {unit.parameters[0].gradient: 4 * n for unit, n in zip(units[1:], rows, strict=True)}
    storages = tuple(replace(s, size=sizes.get(i, s.size)) for i, s in enumerate(joint.storages))
    own = [
        replace(unit, parameters=(replace(unit.parameters[0], rows=n),))
        for unit, n in zip(units[1:], rows, strict=True)
    ]
    return graph, replace(joint, storages=storages), Sharding((units[0], *own), 2)


class Replay:
    """Adds up bytes as PyTorch's hooks allocate and free them, written down from the engine's order by hand."""

    def __init__(self) -> None:
        self.alive: dict[str, int] = {}
        self.peak = 0

    def add(self, name: str, size: int) -> None:
        assert name not in self.alive
        self.alive[name] = size
        self.peak = max(self.peak, sum(self.alive.values()))

    def free(self, name: str) -> None:
        self.alive.pop(name, None)


def replayed_peak(count: int, shards: int, reshard: list[bool]) -> int:
    part = -(-3 // shards) * 4
    whole = part * shards
    at = Replay()
    for i in range(count):
        at.add(f"gather {i}", whole)
        at.free(f"gather {i - 1}")
        at.add(f"weight {i}", whole)
        at.add(f"v{i}", VALUE)
        if reshard[i]:
            at.free(f"weight {i}")
    at.free(f"gather {count - 1}")
    at.add("loss", 4)
    at.free(f"v{count - 1}")
    at.add(f"gradient {count - 1}", VALUE)
    ahead = count - 1  # the hook of the root gathers the last layer
    if reshard[ahead]:
        at.add(f"gather {ahead}", whole)
    for i in reversed(range(count)):
        if reshard[i]:
            at.add(f"weight {i}", whole)
            at.free(f"gather {i}")
        if i and reshard[i - 1]:
            at.add(f"gather {i - 1}", whole)
        at.add(f"gradient of weight {i}", WEIGHT)
        at.add(f"gradient {i - 1}", VALUE)
        at.free(f"gradient {i}")
        at.free(f"v{i - 1}")
        if i == 0:
            at.free("gradient -1")
        at.free(f"weight {i}")
        at.free(f"reduce {i + 1}")
        at.add(f"reduce {i}", whole)
        at.free(f"gradient of weight {i}")
        at.add(f"part {i}", part)
    return at.peak


@pytest.mark.parametrize("shards", [2, 3, 4])
@pytest.mark.parametrize("kept", [(), (0,), (1, 3), (0, 1, 2, 3)])
def test_a_sharded_step_has_the_peak_of_the_engines_order(shards: int, kept: tuple[int, ...]) -> None:
    count = 4
    graph, joint, units = layers(count)
    reshard = [i not in kept for i in range(count)]
    chosen = (units[0], *(ShardedUnit(u.name, u.parameters, r) for u, r in zip(units[1:], reshard, strict=True)))
    step = sharded_step(joint, Sharding(chosen, shards))
    timeline = simulate_schedule(make_schedule(step, [True] * len(graph)))
    assert timeline.transient_peak == replayed_peak(count, shards, reshard)
    assert timeline.static == count * -(-3 // shards) * 4
    # what is left: the loss and this rank's part of each gradient
    assert int(timeline.live[-1]) == 4 + count * -(-3 // shards) * 4


def test_keeping_parameters_gathered_takes_more_memory_after_the_forward_pass() -> None:
    graph, joint, units = layers(5)
    ends = []
    for reshard in (True, False):
        chosen = (units[0], *(ShardedUnit(unit.name, unit.parameters, reshard) for unit in units[1:]))
        timeline = simulate_schedule(make_schedule(sharded_step(joint, Sharding(chosen, 3)), [True] * len(graph)))
        ends.append(int(timeline.step_ends[timeline.step_labels.index("loss/sum")]))
    assert ends[1] - ends[0] == 5 * WEIGHT


def test_mixed_precision_holds_parts_and_gathered_parameters_of_other_sizes() -> None:
    graph, joint, units = layers(2)
    halves = tuple(
        ShardedUnit(u.name, tuple(ShardedParameter(p.storage, p.gradient, 4, 1, 2, 4, 4) for p in u.parameters))
        for u in units
    )
    timeline = simulate_schedule(make_schedule(sharded_step(joint, Sharding(halves, 2)), [True] * len(graph)))
    gathered = [b.size for b in timeline.alive_at(_event(timeline, "layers.0/mul")) if "(gathered)" in b.label]
    assert gathered == [2 * 4]  # four rows of two bytes
    assert timeline.static == 2 * 2 * 4  # two rows of four bytes for each layer


def _event(timeline: rv.Timeline, label: str) -> int:
    return int(np.flatnonzero(timeline.step == timeline.step_labels.index(label))[0])


def test_a_unit_that_runs_twice_is_refused() -> None:
    _, joint, units = layers(3)
    # layers 0 and 2 as one module, around layer 1
    calls = [
        Call(
            NodeInfo(key=c.info.key, module=c.info.module.replace("layers.2", "layers.0")),
            c.backward,
            c.node,
            c.reads,
            c.makes,
        )
        for c in joint.calls
    ]
    twice = JointGraph(tuple(calls), joint.storages, joint.results)
    with pytest.raises(rv.GraphError, match="not consecutive"):
        sharded_step(twice, Sharding(units[:2], 2))


def test_values_outside_units_and_at_their_borders_are_kept_by_every_plan() -> None:
    graph, joint, _ = layers(4)
    pinned = pin_outside(joint, ["layers.1", "layers.2"])
    # layer 0 and the loss are outside; each value crosses a border
    assert [call.pinned for call in pinned.calls[: joint.forward_count]] == [True] * 5
    alone = pin_outside(joint, ["layers"])
    assert unit_of_calls(joint, ["layers"])[:4] == [0] * 4
    assert [call.pinned for call in alone.calls[: joint.forward_count]] == [False, False, False, True, True]
    assert make_schedule(alone, [False] * len(graph)).recomputed == {0, 1, 2}


@pytest.mark.parametrize("view", [False, True])
def test_a_replicated_step_holds_buckets_of_the_bytes_of_its_gradients(view: bool) -> None:
    graph, joint, _ = layers(3)
    before = simulate_schedule(make_schedule(joint, [True] * len(graph)))
    after = simulate_schedule(make_schedule(replicated_step(joint, view), [True] * len(graph)))
    assert after.static - before.static == 3 * WEIGHT
    assert int(before.live[-1]) - int(after.live[-1]) == (3 * WEIGHT if view else 0)


def test_unit_plans_survive_the_way_to_another_process_and_differences_are_seen() -> None:
    graph, _, units = layers(3)
    plans = unit_plans(graph, [True, False, True, True], [unit.name for unit in units[1:]])
    assert [plan.keep for plan in plans] == [(True,), (False,), (True,)]
    assert from_text(to_text(plans)) == plans
    other = (*plans[:2], UnitPlan("layers.2", ("aten.mul",), (False,)))
    assert fingerprint(plans) == fingerprint(list(plans)) != fingerprint(other)
    shaped = [UnitPlan("0", ("aten.mm",), (True,), ("float32",), (("weight", (2, 3)),))]
    assert from_text(to_text(shaped)) == tuple(shaped)
    for wrong in ("{", "[[1]]", '[["a",["b"],[1,0],[],[]]]', '[["a",["b"],[1],["x","y"],[]]]'):
        with pytest.raises(rv.PlanMismatch):
            from_text(wrong)


def test_no_choice_of_gathered_units_is_better_than_the_front() -> None:
    graph, joint, units = layers(5)
    sharding, gather, plan = Sharding(units, 3), GatherTime(1.0, 10.0), rv.Plan.keep_all(graph)
    front = reshard_front(graph, joint, sharding, [plan], gather)
    names = [unit.name for unit in units[1:]]
    for count in range(6):
        for kept in combinations(names, count):
            point = reshard_point(graph, joint, sharding, kept, plan, gather)
            assert any(best.time <= point.time and best.peak <= point.peak for best in front)
    assert front[0].kept == tuple(names)
    assert front[0].gathering == 0


@pytest.mark.parametrize("kind", ["1f1b", "gpipe"])
@pytest.mark.parametrize(("stage", "stages", "micro_batches"), [(0, 1, 3), (0, 4, 4), (2, 4, 7), (3, 4, 9)])
def test_the_passes_of_a_stage_are_in_a_valid_order(kind: str, stage: int, stages: int, micro_batches: int) -> None:
    place = StagePlace(stage, stages, micro_batches, kind)  # type: ignore[arg-type]
    open_: set[int] = set()
    most = 0
    order = place.order()
    assert sorted(order) == [(backward, i) for backward in (False, True) for i in range(micro_batches)]
    for backward, i in order:
        if backward:
            open_.remove(i)
        else:
            open_.add(i)
        most = max(most, len(open_))
    assert most == place.in_flight


def stage(count: int) -> tuple[Graph, JointGraph, int]:
    """The chain of layers as a stage that is neither first nor last, and the storage of the gradient that it sends."""
    graph, whole, _ = layers(count)
    calls, storages = list(whole.calls), list(whole.storages)
    output, loss = calls[count - 1].makes[0], calls[count].makes[0]
    storages[output] = replace(storages[output], category=Category.OUTPUT)
    arrival = calls[count + 1]
    del calls[count]  # the loss
    made = len(storages)
    storages.append(Storage(VALUE, -1, Category.INPUT, "inputs"))
    # the first layer reads the input, forward and backward
    calls[0] = replace(calls[0], reads=(*calls[0].reads, made))
    calls[-1] = replace(calls[-1], reads=(*calls[-1].reads, made))
    maker = {s: c for c, call in enumerate(calls) for s in call.makes}
    storages = [replace(s, maker=maker.get(i, -1)) for i, s in enumerate(storages)]
    sent = calls[-1].makes[1]
    storages[sent] = replace(storages[sent], category=Category.PARAMETER_GRADIENT)
    assert calls[count] is arrival
    results = whole.results - {loss} | {output, sent}
    chain = Graph.from_edges([(i, i + 1) for i in range(count - 1)], memory=[VALUE] * count)
    return replace(chain, info=graph.info[:count]), JointGraph(tuple(calls), tuple(storages), results), sent


def run_backward_of_layers(at: Replay, count: int, m: int) -> None:
    """Run the backward passes of the layers for micro-batch m."""
    for i in reversed(range(count)):
        at.add(f"gradient of weight {i}, {m}", WEIGHT)
        at.add(f"gradient {i - 1} of {m}", VALUE)
        at.free(f"gradient {i} of {m}")
        at.free(f"v{i - 1} of {m}")
        if m:  # added to the first one
            at.free(f"gradient of weight {i}, {m}")


def replayed_stage(count: int, place: StagePlace) -> int:
    """The peak of a stage, written down by hand from the engine's order."""
    at = Replay()
    kept_request = place.in_flight - 2 if place.kind == "1f1b" else -1
    for backward, m in place.order():
        if not backward:
            for i in range(count):
                at.add(f"v{i} of {m}", VALUE)
            continue
        run_backward_of_layers(at, count, m)  # the gradient of the output is in a buffer that stays
        if place.kind == "gpipe":  # all requests are kept, so outputs and sent gradients as well
            continue
        at.free(f"gradient -1 of {m - 1}")  # sent, and dropped when the next one is there
        if m != kept_request or m >= place.micro_batches - place.in_flight:
            at.free(f"v{count - 1} of {m}")
        if m == place.micro_batches - place.in_flight and kept_request >= 0:
            at.free(f"v{count - 1} of {kept_request}")
    return at.peak


@pytest.mark.parametrize("kind", ["1f1b", "gpipe"])
@pytest.mark.parametrize(("position", "micro_batches"), [(1, 4), (1, 9), (2, 6)])
def test_a_stage_has_the_peak_of_the_engines_order(kind: str, position: int, micro_batches: int) -> None:
    graph, joint, sent = stage(3)
    place = StagePlace(position, 4, micro_batches, kind)  # type: ignore[arg-type]
    steps = stage_steps(joint, place, [], [sent])
    timeline = stage_timeline(steps, place, [True] * len(graph))
    assert timeline.transient_peak == replayed_stage(3, place)
    assert timeline.static == 3 * WEIGHT + 2 * VALUE * micro_batches  # with the buffers of both directions
    assert int(timeline.live[-1]) == 3 * WEIGHT  # the gradients of the parameters


def replayed_on_demand(count: int, place: StagePlace) -> Replay:
    """The peak of a stage that is neither first nor last, written down by hand from the order of PyTorch 2.15."""
    at, output = Replay(), f"v{count - 1} of {{}}".format
    batches, warm_up, gpipe = place.micro_batches, place.in_flight, place.kind == "gpipe"
    for backward, m in place.order():
        if not backward:
            at.add(f"input of {m}", VALUE)
            for i in range(count):
                at.add(f"v{i} of {m}", VALUE)
            if gpipe and m == batches - 1:
                for j in range(batches):
                    at.free(output(j))
            elif not gpipe and m < warm_up:
                at.free(output(m - 1))  # sent while this forward pass ran
            continue
        at.add(f"received {m}", VALUE)
        if gpipe or m > batches - warm_up:  # a variable of the schedule held the last one
            at.free(f"received {m - 1}")
        at.free(output(m + warm_up - 1))  # sent with this receive
        run_backward_of_layers(at, count, m)
        if not gpipe:
            at.free(f"gradient -1 of {m - 1}")
            if m <= batches - warm_up:
                at.free(f"received {m}")
        at.free(f"input of {m}")
    return at


@pytest.mark.parametrize("kind", ["1f1b", "gpipe"])
@pytest.mark.parametrize(("position", "micro_batches"), [(1, 4), (1, 9), (2, 6)])
def test_a_stage_that_allocates_what_it_receives_has_the_peak_of_the_engines_order(
    kind: str, position: int, micro_batches: int
) -> None:
    graph, joint, sent = stage(3)
    place = StagePlace(position, 4, micro_batches, kind, on_demand=True)  # type: ignore[arg-type]
    steps = stage_steps(joint, place, [], [sent])
    timeline = stage_timeline(steps, place, [True] * len(graph))
    assert timeline.transient_peak == replayed_on_demand(3, place).peak
    assert timeline.static == 3 * WEIGHT
    assert int(timeline.live[-1]) == 3 * WEIGHT
    assert timeline.live.min() >= 0
    earlier = replace(place, on_demand=False)
    assert timeline.peak < stage_timeline(stage_steps(joint, earlier, [], [sent]), earlier, [True] * len(graph)).peak


def test_autograd_holds_an_output_that_was_sent_if_it_saved_it() -> None:
    graph, joint, sent = stage(2)
    output, first = joint.calls[1].makes[0], joint.forward_count + 1
    calls = list(joint.calls)
    calls[first] = replace(calls[first], reads=(*calls[first].reads, output))  # as the backward pass of a ReLU
    saving = replace(joint, calls=tuple(calls))
    place = StagePlace(1, 4, 4, on_demand=True)
    ends = []
    for one in (joint, saving):
        timeline, at = stage_passes(stage_steps(one, place, [], [sent]), place, [True] * len(graph))
        ends.append([int(timeline.live[np.searchsorted(timeline.step, end) - 1]) for end in at])
    # F0 F1 F2 B0 F3 B1 B2 B3: without it, an output is dropped when the next pass has run or begins
    assert np.subtract(*reversed(ends)).tolist() == [0, VALUE, 3 * VALUE, 2 * VALUE, 3 * VALUE, 2 * VALUE, VALUE, 0]


def test_a_rank_with_several_stages_allocates_what_it_receives() -> None:
    (middle, middle_joint, sent), (last, last_joint, _) = stage(1), layers(1)
    transfers = [
        Action("receive values", 1, 0), Action("forward", 1, 0), Action("receive values", 3, 0),
        Action("forward", 3, 0), Action("backward", 3, 0), Action("receive gradients", 1, 0),
        Action("backward", 1, 0), Action("free outputs", 1, 0), Action("free sent gradients", 1, 0),
    ]  # fmt: skip
    place = RankPlace(1, 2, 2, 1, return_outputs=False, transfers=tuple(transfers))
    steps = [
        stage_steps(middle_joint, StagePlace(1, 4, 1, "interleaved", False, on_demand=True), [], [sent]),
        stage_steps(last_joint, StagePlace(3, 4, 1, "interleaved", False, on_demand=True), [], []),
    ]
    timeline, ends = interleaved_passes(steps, place, [[True] * len(middle), [True] * len(last)])
    live = [int(timeline.live[np.searchsorted(timeline.step, end) - 1]) for end in ends]
    # input and output of stage 1, and the input of stage 3, which layers() counts as static; then its output and loss
    assert live[:2] == [2 * VALUE, 3 * VALUE + 4]
    # the gradient of the weight, and the received gradient in place of the output of stage 3
    assert live[2] == 2 * VALUE + 4 + WEIGHT + VALUE
    assert live[3] == 2 * WEIGHT + 4


def replayed_last_stage(count: int, place: StagePlace) -> Replay:
    """The last stage, written down by hand from the engine's order."""
    at = Replay()
    for backward, m in place.order():
        if not backward:
            for i in range(count):
                at.add(f"v{i} of {m}", VALUE)
            at.add(f"loss of {m}", 4)
            if place.kind == "1f1b" and not place.return_outputs:  # a variable held the output before
                at.free(f"v{count - 1} of {m - 1}")
            continue
        at.add(f"gradient {count - 1} of {m}", VALUE)
        run_backward_of_layers(at, count, m)
        at.free(f"gradient -1 of {m}")
        if place.kind == "gpipe" and not place.return_outputs:
            at.free(f"v{count - 1} of {m}")
    if place.return_outputs:
        at.add("merged", VALUE * place.micro_batches)
        at.free("merged")
    else:
        at.free(f"v{count - 1} of {place.micro_batches - 1}")
    return at


@pytest.mark.parametrize("kind", ["1f1b", "gpipe"])
@pytest.mark.parametrize("returned", [True, False])
@pytest.mark.parametrize("scratch", [0, 1000])
def test_the_last_stage_holds_returned_outputs_and_its_optimizer_runs_once(
    kind: str, returned: bool, scratch: int
) -> None:
    graph, joint, _ = layers(2)
    place = StagePlace(3, 4, 6, kind, returned)  # type: ignore[arg-type]
    steps = stage_steps(replace(joint, optimizer_scratch=scratch), place, [], [])
    timeline = stage_timeline(steps, place, [True] * len(graph))
    at = replayed_last_stage(2, place)
    left = sum(at.alive.values())
    assert left == 2 * WEIGHT + 6 * (4 + VALUE * returned)  # gradients, losses, and the outputs that were merged
    assert int(timeline.live[-1]) == left
    assert timeline.transient_peak == max(at.peak, left + scratch)
    assert timeline.step_labels.count("optimizer") == (scratch > 0)


def test_a_rank_with_several_stages_holds_returned_outputs() -> None:
    (middle, middle_joint, sent), (last, last_joint, _) = stage(2), layers(2)
    found = []
    for returned in (True, False):
        place = RankPlace(1, 2, 2, 2, returned)  # f10 f11 f30 b30 f31 b31 b10 b11
        steps = [
            stage_steps(middle_joint, StagePlace(1, 4, 2, "interleaved", returned), [], [sent]),
            stage_steps(last_joint, StagePlace(3, 4, 2, "interleaved", returned), [], []),
        ]
        masks = [[True] * len(middle), [True] * len(last)]
        timeline, ends = interleaved_passes(steps, place, masks)
        found.append([int(timeline.live[np.searchsorted(timeline.step, end) - 1]) for end in ends])
        assert int(timeline.profile[-1] - timeline.live[-1]) >= 2 * VALUE * returned  # the copy of both outputs
    # a variable of the schedule holds an output, returned or not, until the next forward pass or the end of its step
    assert np.subtract(*found).tolist() == [0, 0, 0, 0, VALUE, VALUE, VALUE, 2 * VALUE]


def test_autograd_holds_what_it_saved_until_its_node_ends() -> None:
    graph, joint, sent = stage(3)
    place = StagePlace(1, 4, 4)
    count = joint.forward_count
    nodes = [-1] * (count + 1) + [7, 7, 8]  # the backward passes of the last two layers are one node
    profiles = []
    for given in ([], nodes):
        timeline = stage_timeline(stage_steps(joint, place, [], [sent], given), place, [True] * len(graph))
        labels = [f"layers.1' (micro-batch {m})" for m in (0, 1)]
        profiles.append([int(timeline.profile[timeline.step_labels.index(label)]) for label in labels])
    # the value that the first of the two reads; later micro-batches also have the gradient that is not yet added
    assert np.subtract(*reversed(profiles)).tolist() == [VALUE, VALUE + WEIGHT]


def test_a_unit_adds_its_gradients_at_its_end() -> None:
    graph, joint, sent = stage(3)
    place = StagePlace(1, 4, 4)
    alone = stage_timeline(stage_steps(joint, place, [], [sent]), place, [True] * len(graph))
    together = stage_timeline(stage_steps(joint, place, ["layers"], [sent]), place, [True] * len(graph))
    last = [t.profile[np.flatnonzero([label == "layers.0' (micro-batch 3)" for label in t.step_labels])[0]]
            for t in (alone, together)]  # fmt: skip
    assert last[1] - last[0] == 2 * WEIGHT


@pytest.mark.parametrize("seed", range(8))
def test_the_best_split_is_that_of_all_splits(seed: int) -> None:
    rng = np.random.default_rng(seed)
    costs = [
        {count: float(rng.integers(1, 9)) if rng.random() < 0.8 else math.inf for count in range(1, 5)}
        for _ in range(3)
    ]
    splits = [s for s in product(range(1, 5), repeat=3) if sum(s) == 8]
    rows = [([cost[n] for cost, n in zip(costs, split, strict=True)], split) for split in splits]
    fitting = [(max(row), sum(row)) for row, _ in rows if max(row) < math.inf]
    found = best_split(8, costs)
    if not fitting:
        assert found is None
        return
    assert found is not None
    own = [cost[n] for cost, n in zip(costs, found, strict=True)]
    assert max(own) == min(fitting)[0]


@pytest.mark.parametrize("seed", range(8))
def test_unequal_units_are_kept_as_well_as_by_trying_every_choice(seed: int) -> None:
    random = np.random.default_rng(seed)
    rows = [int(n) for n in random.choice([3, 5, 8, 13, 40, 90], 6 + seed % 2)]
    graph, joint, sharding = unequal_layers(rows)
    gather, plan = GatherTime(float(random.choice([0.0, 5.0, 50.0])), 2.0), Plan.keep_all(graph)
    names = [unit.name for unit in sharding.units[1:]]
    every = [
        reshard_point(graph, joint, sharding, kept, plan, gather)
        for count in range(len(names) + 1)
        for kept in combinations(names, count)
    ]
    found = reshard_front(graph, joint, sharding, [plan], gather)
    for point in every:
        assert any(best.time <= point.time + 1e-9 and best.peak <= point.peak for best in found)


@pytest.mark.parametrize("seed", range(5))
def test_the_states_that_the_dynamic_program_keeps_are_those_that_no_other_is_better_than(seed: int) -> None:
    random = np.random.default_rng(seed)
    columns = [random.integers(0, 6, 60) for _ in range(3)]
    states = _States(columns[0], columns[1], columns[2].astype(np.float64), np.arange(60).astype(object))
    triples = set(zip(*(column.tolist() for column in columns), strict=True))
    wanted = {t for t in triples if not any(o != t and all(a <= b for a, b in zip(o, t, strict=True)) for o in triples)}
    chosen = _best(states)
    assert {tuple(int(column[i]) for column in columns) for i in chosen} == wanted
    assert len(chosen) == len(wanted)


def test_a_dynamic_program_with_few_states_still_has_both_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_units, "MOST_STATES", 20)
    random = np.random.default_rng(0)
    sizes = random.integers(1, 10**6, 40)
    extra = np.where(np.arange(40)[None, :] >= np.arange(40)[:, None], sizes[:, None], 0)
    found = kept_units.kept_choices(np.zeros(40, np.int64), extra, range(40), 39, sizes.astype(float).tolist())
    assert found[0] == tuple(range(40))
    assert found[-1] == ()
    assert len(found) > 10
