"""Wrong arguments of public functions: an error of the right type names the value and what was expected."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import recompviz as rv
from recompviz.pytorch.running.compiled import TOTAL_VARIABLE

LOSS = nn.functional.mse_loss
X, Y = torch.ones(4, 8), torch.zeros(4, 1)


def _model() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 1))


@pytest.fixture(scope="module")
def trace() -> rv.Trace:
    return rv.trace(_model(), X, targets=(Y,), loss=LOSS)


NO_TOTALS: list[tuple[Any, type[Exception]]] = [
    (True, TypeError), ([1], TypeError), (b"1 GiB", TypeError), (torch.tensor(5), TypeError), (0, ValueError),
    (-5, ValueError), (float("nan"), ValueError), (float("inf"), ValueError), (0.5, ValueError),
    ("10 GX", ValueError), ("", ValueError), ("1e400", ValueError), ("-1 GiB", ValueError),
]  # fmt: skip


@pytest.mark.parametrize(("total", "kind"), NO_TOTALS)
def test_what_is_no_total_is_refused_everywhere(total: Any, kind: type[Exception], trace: rv.Trace) -> None:
    explorer = rv.Explorer(trace.planner, objectives=(), background=False)
    calls: list[Callable[[], Any]] = [
        lambda: rv.compile(_model(), total=total),
        lambda: rv.fit_in(_model(), X, targets=(Y,), loss=LOSS, total=total),
        lambda: rv.Partitioner(total=total),
        lambda: trace.plan(total, "time"),
        lambda: trace.tradeoff().plan(total),
        lambda: explorer.set_trait("budget", total),
        lambda: rv.Explorer(trace.planner, objectives=(), background=False, capacity=total),
        lambda: torch.compile(_model(), backend="recompviz", options={"total": total})(X),
    ]
    for call in calls:
        with pytest.raises(kind, match=r"10 GiB|least feasible"):
            call()


@pytest.mark.parametrize("percentage", ["-5%", "nan%", "x%", "%"])
def test_a_wrong_percentage_is_quoted(percentage: str, trace: rv.Trace) -> None:
    explorer = rv.Explorer(trace.planner, objectives=(), background=False)
    with pytest.raises(ValueError, match=re.escape(f"{percentage!r}, expected a size")):
        explorer.budget = percentage


@pytest.mark.parametrize(
    ("arguments", "kind", "text"),
    [
        ({"options": "10 GiB"}, TypeError, '\'10 GiB\', expected a dict; write options={"total": "10 GiB"}'),
        ({"options": {"totl": 5}}, ValueError, "'totl'.*'total'"),
        ({"options": {"total": "nonsense"}}, ValueError, "'nonsense' is not a size"),
        ({"mode": "max-autotune"}, ValueError, "mode is 'max-autotune'.*leave it out"),
    ],
)
def test_wrong_options_of_the_backend(arguments: dict[str, Any], kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        torch.compile(_model(), backend="recompviz", **arguments)(X)


def test_a_wrong_environment_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOTAL_VARIABLE, "nonsense")
    with pytest.raises(ValueError, match=f"{TOTAL_VARIABLE} is wrong: 'nonsense' is not a size"):
        torch.compile(_model(), backend="recompviz")(X)


def _compile(model: nn.Module, *_inputs: Any, optimizer: torch.optim.Optimizer, **_others: Any) -> Any:
    return rv.compile(model, optimizer=optimizer)


STEP_VERBS: list[Callable[..., Any]] = [
    rv.trace,
    rv.measure,
    lambda *a, **k: rv.fit_in(*a, total="1 MiB", **k),
    lambda *a, **k: rv.explore(*a, calibrated=False, **k),
    lambda *a, **k: rv.debug(*a, advise=False, **k),
]


@pytest.mark.parametrize("verb", STEP_VERBS)
@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"inputs": ()}, r"Sequential.forward\(input\) cannot be called with 0 inputs.*give one batch"),
        ({"inputs": (X, X)}, r"Sequential.forward\(input\) cannot be called with 2 inputs.*too many"),
        ({"kwargs": {"nope": 5}}, "kwargs nope: got an unexpected"),
        ({"kwargs": [1]}, "kwargs is a list, expected a dict"),
        ({"kwargs": {5: X}}, "a name in kwargs is 5, expected a str"),
        ({"targets": "y"}, r"targets is 'y', expected a tuple.*targets=\(y,\)"),
        ({"targets": {"y": Y}}, "targets is a dict, expected a tuple"),
        ({"targets": None}, "targets is None, expected a tuple"),
        ({"optimizer": "sgd"}, "optimizer is 'sgd', expected a torch.optim.Optimizer"),
        ({"optimizer": torch.optim.SGD}, "optimizer is the class SGD, expected"),
        ({"loss": "mse"}, "loss is 'mse', expected a function"),
        ({"loss": nn.MSELoss}, r"write loss=MSELoss\(\)"),
        ({"model": None}, "(model|module) is None, expected"),
    ],
)
def test_wrong_arguments_of_a_step(verb: Callable[..., Any], arguments: dict[str, Any], text: str) -> None:
    named = {"model": _model(), "inputs": (X,), "targets": (Y,), "loss": LOSS, **arguments}
    with pytest.raises((TypeError, rv.TraceError), match=text):
        verb(named.pop("model"), *named.pop("inputs"), **named)


@pytest.mark.parametrize("verb", [*STEP_VERBS, _compile])
def test_an_optimizer_over_other_parameters(verb: Callable[..., Any]) -> None:
    other = torch.optim.SGD(_model().parameters(), lr=0.1)
    with pytest.raises(ValueError, match=r"optimizer is an? SGD over other parameters.*leave it out"):
        verb(_model(), X, targets=(Y,), loss=LOSS, optimizer=other)


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (lambda: rv.plan_units(None, ()), TypeError, "model is None, expected a torch.nn.Module"),
        (lambda: rv.plan_units(_model(), None), TypeError, "plans is None, expected a sequence of unit plans"),
        (lambda: rv.plan_units(_model(), ["a"]), TypeError, r"plans\[0\] is 'a', expected a unit plan"),
        (lambda: rv.confirm_plans(5), TypeError, "plans is 5, expected a sequence of unit plans"),
        (lambda: rv.confirm_plans([], seconds="1"), TypeError, "seconds is '1', expected a number"),
        (lambda: rv.confirm_plans([]), RuntimeError, "no process group.*init_process_group"),
        (lambda: rv.shared_plans(None), RuntimeError, "no process group.*init_process_group"),
    ],
)
def test_wrong_arguments_of_plans_for_ranks(call: Callable[[], Any], kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        call()


def test_one_target_needs_no_tuple() -> None:
    assert len(rv.trace(_model(), X, targets=Y, loss=LOSS).arguments[2]) == 1  # type: ignore[arg-type]


def test_a_hook_may_give_the_inputs() -> None:
    model = _model()
    model.register_forward_pre_hook(lambda _module, _arguments: (X,))
    assert len(rv.trace(model, targets=(Y,), loss=LOSS).graph) > 0


def test_what_is_no_trace_or_no_plan(trace: rv.Trace) -> None:
    keep = trace.baseline("keep-all")
    other = rv.trace(nn.Linear(8, 1), X, targets=(Y,), loss=LOSS).baseline("keep-all")
    with pytest.raises(rv.TraceError, match=r"model is 'x', expected a torch.nn.Module"):
        rv.explore("x")
    of_trace: list[Callable[[Any], Any]] = [
        rv.calibrate, rv.simulate, lambda t: rv.apply(t, keep), lambda t: rv.certify(t, keep),
        lambda t: rv.explain_gap(t, keep),
    ]  # fmt: skip
    of_plan: list[Callable[[Any], Any]] = [
        lambda p: rv.apply(trace, p), lambda p: rv.certify(trace, p), lambda p: rv.explain_gap(trace, p),
    ]  # fmt: skip
    for call in of_trace:
        for wrong in (None, "x", trace.model, keep):
            with pytest.raises(TypeError, match=r"trace is .*, expected a Trace from rv.trace.*; write "):
                call(wrong)
    for call in of_plan:
        with pytest.raises(rv.PlanMismatch, match="plan again for this trace"):
            call(other)
    for call in [*of_plan, rv.checkpoint_policy, rv.memory_policy, lambda p: rv.compare(keep, p)]:
        for wrong in (None, "x", trace, trace.model):
            with pytest.raises(TypeError, match=r"plan is .*, expected a Plan; make one with"):
                call(wrong)


def test_other_public_names_say_what_they_expect(trace: rv.Trace) -> None:
    keep = trace.baseline("keep-all")
    wrong: dict[str, Callable[[], Any]] = {
        "model is the class Linear, expected": lambda: rv.compile(nn.Linear, total="1 MiB"),
        "fullgraph is 5, expected True or False": lambda: rv.compile(_model(), fullgraph=5),  # type: ignore[arg-type]
        "dynamic is 'no', expected True or False": lambda: rv.compile(_model(), dynamic="no"),  # type: ignore[arg-type]
        "calibrated is 'no', expected": lambda: rv.explore(_model(), X, targets=Y, loss=LOSS, calibrated="no"),  # type: ignore[arg-type]
        "optimizer is 5, expected": lambda: rv.Partitioner(total="1 GiB", optimizer=5),  # type: ignore[arg-type]
        "step is 5, expected a function": lambda: rv.Partitioner(total="1 GiB").calibrate(5),  # type: ignore[arg-type]
        "measured is a Plan, expected a Timeline": lambda: rv.explain_gap(trace, keep, keep),  # type: ignore[arg-type]
        "module is None, expected the dotted path": lambda: rv.checkpoint_policy(keep, None),  # type: ignore[arg-type]
        "name of a baseline is 5, expected": lambda: trace.baseline(5),  # type: ignore[arg-type]
        "graph is a Trace, expected a Graph.*tradeoff": lambda: rv.solve(trace),  # type: ignore[arg-type]
        "graph is None, expected a Graph": lambda: rv.step_strategy(None),  # type: ignore[arg-type]
        "graph is 5, expected a Graph": lambda: rv.step_programme(5),  # type: ignore[arg-type]
        "planner is a Trace, expected a Planner": lambda: rv.Explorer(trace),  # type: ignore[arg-type]
        "baselines is 'chen', expected a tuple": lambda: rv.Explorer(trace.planner, baselines="chen"),
        "name is 5, expected the name of an exercise": lambda: rv.exercise(5),  # type: ignore[arg-type]
        "path is 5, expected the path": lambda: rv.load_snapshot(5),  # type: ignore[arg-type]
        "G is 5, expected a networkx.DiGraph": lambda: rv.Graph.from_networkx(5),  # type: ignore[arg-type]
        "steps is True, expected a whole number": lambda: rv.debug(_model(), X, steps=True),
        "edges is 5, expected pairs": lambda: rv.Graph.from_edges(5, memory={}),  # type: ignore[arg-type]
        "flops_per_second is True, expected a number": lambda: rv.Roofline(True, 5),
    }
    for text, call in wrong.items():
        with pytest.raises(TypeError, match=text):
            call()


def test_a_trace_inside_inference_mode_names_the_cause() -> None:
    with torch.inference_mode(), pytest.raises(rv.TraceError, match="inference_mode"):
        rv.trace(torch.nn.Linear(2, 1), torch.ones(3, 2), loss=torch.sum)
