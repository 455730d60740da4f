"""A model that cannot be traced gets one short message: what, where in the user's code, and the next step."""

import random
import traceback
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import recompviz as rv

ROWS = torch.randn(3, 4)


def model_of(body):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x):
            return body(self, x)

    return Model()


def branches(model, x):
    h = model.layer(x)
    if h.sum() > 0:  # the branch
        return h * 2
    return h


def loops(model, x):
    h = model.layer(x)
    while h.norm() > 1:  # the loop
        h = h / 2
    return h


def counts(model, x):
    for _ in range(int(x.abs().sum().item()) % 3):  # the number
        x = model.layer(x)
    return x


def selects(model, x):
    h = model.layer(x)
    return h[h > 0]  # the mask


def prints(model, x):
    h = model.layer(x)
    print(h.mean().item())  # the print
    return h


def draws(model, x):
    return model.layer(x) if random.random() < 0.5 else x  # the draw


def sorts(model, x):
    return model.layer(torch.stack(sorted(x, key=lambda row: float(row.sum()))))  # the sort


def plain(model, x):
    return model.layer(x)


def in_a_list(model, x):
    return [model.layer(x)]


# from torch 2.15 on, the random number is an input of the graph
DRAW = (
    "a random number of Python decides what runs"
    if torch.__version__ >= "2.15"
    else "Random.random, which is not a part of PyTorch, is called"
)
CASES = {
    branches: ("a branch or a loop depends on the value of a tensor", "# the branch", "torch.where"),
    loops: ("a branch or a loop depends on the value of a tensor", "# the loop", "torch.where"),
    counts: ("a number that is read from a tensor", "# the number", "compute with tensors"),
    selects: ("how many values indexing selects depends on a tensor", "# the mask", "multiply by the mask"),
    prints: ("print() is called", "# the print", "move it out of forward()"),
    draws: (DRAW, "# the draw", "move it out of forward()"),
    sorts: ("sorted() reads a tensor", "# the sort", "compute with tensors"),
}


@pytest.mark.parametrize("body", CASES, ids=lambda body: body.__name__)
def test_the_message_says_what_where_and_what_next(body):
    what, where, instead = CASES[body]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(rv.TraceError) as raised:
            rv.trace(model_of(body), ROWS, loss=torch.sum)
    reason, place, step = str(raised.value).splitlines()
    assert what in reason
    assert where in place
    assert f"in {body.__name__}: " in place
    assert instead in step
    assert "rv.compile(model, total=…)" in step
    assert not {"Dynamo", "Unsupported", "aten"} & set(str(raised.value).replace(":", " ").replace(".", " ").split())
    assert len(traceback.format_exception(raised.value)) < 25


def test_a_loss_with_a_result_of_unknown_size_can_be_left_out():
    rows, targets = torch.randn(3, 12, 4), torch.randint(1, 4, (3, 5))
    model = nn.Sequential(nn.Linear(4, 4), nn.LogSoftmax(-1))

    def loss(output, target):
        return F.ctc_loss(output.transpose(0, 1), target, torch.full((3,), 12), torch.full((3,), 5))

    with pytest.raises(rv.TraceError) as raised:
        rv.trace(model, rows, targets=(targets,), loss=loss)
    reason, _, step = str(raised.value).splitlines()
    assert "how many values ctc_loss() returns depends on a tensor" in reason
    assert "loss=lambda y, *_: y.sum()" in step
    assert len(rv.trace(model, rows, targets=(targets,), loss=lambda y, *_: y.sum()).graph) > 2


def item(output):
    return output.sum().item()


def forgets_the_key(output):
    return output.sum()


@pytest.mark.parametrize(
    ("body", "loss", "targets", "words"),
    [
        (plain, item, (), ["the loss returned a Python number", "leave out item()"]),
        (in_a_list, forgets_the_key, (), ["'list' object has no attribute 'sum'", "return output.sum()"]),
        (plain, None, (torch.tensor([0, 1, 2]),), ["shape (3, 4), expected one number", "pass loss=…"]),
        (plain, F.cross_entropy, (), ["missing a required argument: 'target'", "give one target"]),
        (plain, F.cross_entropy, (torch.tensor([0, 1]),), ["batch_size (3)", "batch_size (2)", "int64 [2]"]),
    ],
)  # fmt: skip
def test_a_wrong_loss_is_told_as_eager_pytorch_tells_it(body, loss, targets, words):
    with pytest.raises((rv.TraceError, TypeError)) as raised:
        rv.trace(model_of(body), ROWS, targets=targets, loss=loss)
    assert all(word in str(raised.value) for word in words), str(raised.value)
    assert len(str(raised.value).splitlines()) <= 4
    assert len(traceback.format_exception(raised.value)) < 25


def test_a_generator_is_traced_and_its_values_are_kept_in_order():
    model = model_of(lambda model, x: (model.layer(x) * k for k in range(3)))
    trace = rv.trace(model, ROWS, loss=lambda parts: sum(part.sum() for part in parts))
    planned = rv.apply(trace, trace.baseline("keep-all"))
    assert torch.equal(planned(ROWS), sum(part.sum() for part in model(ROWS)))


def test_an_error_of_the_models_own_code_shows_the_own_line_without_pytorchs_frames():
    def lacks(model, x):
        return model.layers(x)  # misspelt

    with pytest.raises(AttributeError, match="no attribute 'layers'") as raised:
        rv.trace(model_of(lacks), ROWS, loss=torch.sum)
    lines = traceback.format_exception(raised.value)
    assert any("# misspelt" in line for line in lines)
    assert not any("torch/_dynamo" in line for line in lines)
    assert len(lines) < 30


def test_the_line_of_another_package_is_told_as_the_line_that_calls_it():
    import numpy

    from recompviz.pytorch.tracing.plain_reasons import user_line

    stack = f'  File "{__file__}", line 1, in forward\n  File "{numpy.__file__}", line 5, in sort\n'
    assert user_line(stack).startswith(f'File "{__file__}", line 1, in forward: ')
    assert user_line(f'  File "{torch.__file__}", line 5, in sort\n') == ""
