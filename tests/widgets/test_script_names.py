"""Code that is shown to copy has the names of the user's notebook."""

import os

import torch

from recompviz.widgets.base import interactive
from recompviz.widgets.explorer import script_names
from recompviz.widgets.explorer.script_names import ScriptNames, names_of
from tests.widgets.test_javascript import node, run


def in_notebook(monkeypatch, **variables):
    monkeypatch.setattr(script_names, "running_shell", lambda: type("Shell", (), {"user_ns": variables})())


def test_the_names_are_those_of_the_variables(monkeypatch):
    net, tokens, labels, batch, other = object(), object(), object(), {"mask": object()}, object()

    def criterion(output, target):
        return output - target

    in_notebook(monkeypatch, _=net, net=net, again=net, tokens=tokens, labels=labels, batch=batch, criterion=criterion)
    found = names_of(net, [tokens, other], batch, [labels], criterion)
    assert found == ScriptNames("net", ("tokens", "x2"), ("labels",), "batch", "criterion")
    assert found.message() == {
        "model": "net",
        "trace": "rv.trace(net, tokens, x2, kwargs=batch, targets=(labels,), loss=criterion)",
        "step": "step(tokens, x2, labels, **batch)",
    }


def test_a_loss_without_a_variable_is_reached_through_a_module_of_the_notebook(monkeypatch):
    functional = torch.nn.functional
    for variables, name in (
        ({"torch": torch}, "torch.nn.functional.mse_loss"),
        ({"torch": torch, "nn": torch.nn}, "nn.functional.mse_loss"),
        ({"F": functional, "torch": torch}, "F.mse_loss"),
        ({"os": os}, "loss"),
    ):
        in_notebook(monkeypatch, **variables)
        assert names_of(None, [], None, [], functional.mse_loss).loss == name
    in_notebook(monkeypatch, torch=torch, rows=functional)
    assert names_of(None, [], None, [], torch.sum).loss == "torch.sum"
    assert names_of(None, [], None, [], lambda output: output).loss == "loss"
    assert names_of(None, [], None, [], torch.nn.MSELoss()).loss == "loss"


def test_without_a_notebook_the_names_are_the_usual_ones(monkeypatch):
    monkeypatch.setattr(script_names, "running_shell", lambda: None)
    assert names_of(object(), [object()], None, [object()], len) == ScriptNames()
    assert names_of(object(), [object()], None, [], None).message() == {
        "model": "model",
        "trace": "rv.trace(model, x)",
        "step": "step(x)",
    }
    assert interactive.running_shell() is None


@node
def test_the_lines_to_copy_have_these_names():
    script = ScriptNames("net", ("tokens",), ("labels",), "", "criterion").message()
    lines = run("explorer/save_view.js", "m.applyLines('net.plan.json', v.script)", script=script).splitlines()
    assert "trace = rv.trace(net, tokens, targets=(labels,), loss=criterion)" in lines
    assert lines[-1] == "step(tokens, labels).backward()"
    assert "#" not in lines[2]
    other = run("explorer/save_view.js", "m.applyLines('net.plan.json', v.script, 'batch 64')", script=script)
    assert other.splitlines()[2] == f"{lines[2]}  # with tensors of batch 64, for which the plan was made"
    target = {"bytes": 1 << 30, "label": "1 GiB", "device": True}
    code = run("explorer/fit.js", "m.trainingLines(v.target, () => true, [], true, 'net')", target=target)
    assert 'net = rv.compile(net, total="1 GiB")' in code
