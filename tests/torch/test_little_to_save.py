"""Where recomputation saves little, a text names what holds the peak and what lowers it, with true figures."""

import re

import numpy as np
import pytest
import torch

import recompviz as rv
from recompviz.core.base.units import parse_bytes
from recompviz.core.steps.joint import Category
from recompviz.widgets.explorer import wire


def wide(batch=32, width=256, optimizer=None, depth=4):
    """The trace of a network with large parameters and few values."""
    torch.manual_seed(0)
    layers = [torch.nn.Linear(width, width) for _ in range(depth)]
    model = torch.nn.Sequential(*layers[:1], torch.nn.ReLU(), *layers[1:])
    made = optimizer and optimizer(model.parameters())
    return rv.trace(model, torch.randn(batch, width), loss=torch.sum, optimizer=made)


def peaks_in(text):
    """What the text promises: advice → peak in bytes."""
    found = re.findall(
        r"[.;] (an? [^;.]*?|half [^;.]*?)(?:, as each gradient arrives,)? would lower it to about ([\d.]+ \w+)",
        text,
        re.I,
    )
    return {what.lower(): parse_bytes(size) for what, size in found}


def test_parameters_and_their_gradients_are_named_where_they_hold_the_peak():
    text = wide().planner.limits()
    assert text.startswith("Recomputation saves ")
    assert "of parameters and" in text or "of parameter gradients and" in text
    assert "optimizer that steps inside the backward pass" in text
    assert "half the batch" not in text.lower()  # it would free next to nothing


def test_a_step_in_the_backward_pass_leads_to_the_peak_that_is_promised():
    trace = wide()
    promised = peaks_in(trace.planner.limits())["an optimizer that steps inside the backward pass"]
    table = trace.planner.plans("live")
    timeline = trace.planner.simulate(table.plans[int(table.total_peaks.argmin())])
    alive = most = timeline.static
    held = 0  # the gradient that arrived last, until the next one has arrived
    for category, change in zip(timeline.category.tolist(), timeline.delta.tolist(), strict=True):
        alive += change
        most = max(most, alive)
        if category == Category.PARAMETER_GRADIENT and change > 0:
            alive, held = alive - held, change
    assert promised == pytest.approx(most, rel=0.1)


def test_half_the_batch_leads_to_the_peak_that_is_promised():
    trace = wide(batch=4096, width=64, depth=1)
    promised = peaks_in(trace.planner.limits())["half the batch"]
    assert wide(batch=2048, width=64, depth=1).planner.plans("live").least_total == pytest.approx(promised, rel=0.02)


def test_an_optimizer_without_state_leads_to_the_peak_that_is_promised():
    promised = peaks_in(wide(optimizer=torch.optim.Adam).planner.limits())["an optimizer without state"]
    plain = wide(optimizer=torch.optim.SGD).planner.plans("live").least_total
    assert plain == pytest.approx(promised, rel=0.1)


def test_one_large_value_is_named():
    torch.manual_seed(0)
    head = torch.nn.Linear(16, 20_000)
    loss = torch.nn.functional.cross_entropy
    text = rv.trace(head, torch.randn(500, 16), targets=(torch.randint(0, 20_000, (500,)),), loss=loss).planner.limits()
    assert re.search(r"one value, loss/log_softmax, has 38\.\d MiB", text)


def test_nothing_is_said_where_recomputation_saves_memory():
    layers = [layer for _ in range(6) for layer in (torch.nn.Linear(32, 32), torch.nn.GELU())]
    trace = rv.trace(torch.nn.Sequential(*layers), torch.randn(512, 32), loss=torch.sum)
    assert trace.planner.plans("live").least_total < 0.9 * trace.planner.plans("live").total_peaks[0]
    assert trace.planner.limits() == ""


def test_the_page_gets_the_text_when_the_search_has_ended_and_not_before():
    planner = wide().planner
    unsearched = rv.Explorer(planner, objectives=[], baselines=["chen"])
    assert [wire.table_message(shown)["little"] for shown in unsearched._selection.tables.first] == [""]
    explorer = rv.Explorer(planner, objectives=["live"], background=False)
    assert explorer._tables[0]["little"] == planner.limits() != ""
    assert all(table.get("little", "") == "" for table in explorer._more)
    assert np.isfinite(explorer.plan.overhead)
