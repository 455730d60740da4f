"""A race: methods run as they are, under one line; a picture stops where memory runs out; meta is simulated."""

import re

import numpy as np
import pytest
import torch
from torch import nn

import recompviz as rv
from recompviz.core.reports.race_report import Race, Racer

pytestmark = pytest.mark.slow


def traced(device=None):
    torch.manual_seed(0)
    with torch.device(device or "cpu"):
        blocks = [nn.Sequential(nn.Linear(64, 256), nn.Tanh(), nn.Linear(256, 64)) for _ in range(5)]
        model, x, y = nn.Sequential(*blocks), torch.randn(512, 64), torch.randn(512, 64)
    return rv.trace(model, x, targets=(y,), loss=nn.functional.mse_loss)


@pytest.fixture(scope="module")
def raced():
    trace = rv.calibrate(traced())
    peaks = trace.plans("live").total_peaks
    total = int(peaks.min() + 0.2 * (peaks.max() - peaks.min()))
    before = [p.detach().clone() for p in trace.model.parameters()]
    race = rv.race(trace, total, rounds=2)
    assert all(torch.equal(a, b) and b.grad is None for a, b in zip(before, trace.model.parameters(), strict=True))
    return trace, race


def test_every_method_is_measured_and_only_ours_is_sure_to_fit(raced):
    trace, race = raced
    assert [r.name for r in race.racers] == ["eager", "checkpoint per block", "PyTorch's partitioner", "recompviz"]
    assert {r.timeline.kind for r in race.racers} == {"measured"}
    eager, ours = race.racers[0], race.racers[-1]
    assert eager.peak == rv.simulate(trace).peak
    assert not race.fits(eager)
    assert race.fits(ours)
    assert all(r.step > 0 for r in race.racers)


def test_time_passes_along_every_curve(raced):
    for racer in raced[1].racers:
        assert (np.diff(racer.shares) >= 0).all()
        assert racer.shares[-1] == pytest.approx(1)
    # an eager operator lies where the call of the plan that keeps all values lies
    eager = raced[1].racers[0]
    half = np.searchsorted(eager.shares, 0.5)
    assert 0 < half < len(eager.shares) - 1


def test_a_curve_stops_at_the_line_where_memory_runs_out(raced):
    race = raced[1]
    svg = race.svg()
    crosses = len(re.findall(r"l12 12m0 -12l-12 12", svg))
    ends = len(re.findall(r"<circle", svg))
    fitting = sum(race.fits(racer) for racer in race.racers)
    assert (crosses, ends) == (len(race.racers) - fitting, fitting)
    assert "@keyframes" in svg
    assert "prefers-reduced-motion" in svg
    assert "@keyframes" not in race.svg(loop=False)
    first, second = re.findall(r'clipPath id="([\w-]+)"', svg), re.findall(r'clipPath id="([\w-]+)"', race.svg())
    assert first != second  # several pictures may share a page


def test_a_race_is_saved_as_a_picture_and_as_a_page_that_loads_nothing(raced, tmp_path):
    race = raced[1]
    for name in ("race.svg", "race.html"):
        race.save(tmp_path / name)
        text = (tmp_path / name).read_text()
        assert "prefers-color-scheme" in text
        assert not re.search(r'(?:src|href)="', text)
        assert len(text) < 60_000
    with pytest.raises(ValueError, match=r"ends with '\.gif'; choose \.svg or \.html"):
        race.save(tmp_path / "race.gif")


def test_a_step_that_cannot_run_is_simulated_and_the_race_says_so():
    trace = traced("meta")
    race = rv.race(trace, trace.plans("live").total_peaks.min())
    assert {r.timeline.kind for r in race.racers} == {"simulated"}
    assert any("did not run" in note for note in race.notes)
    assert "simulated" in race.text


def test_a_total_that_no_plan_fits_is_refused_before_anything_runs():
    with pytest.raises(rv.InfeasibleBudget):
        rv.race(traced(), 1000)
    with pytest.raises(ValueError, match="rounds is 0"):
        rv.race(traced(), "1 GiB", rounds=0)
    for wrong in ({"rounds": "3"}, {"rounds": 1.5}, {"seconds": "60"}):
        with pytest.raises(TypeError, match=f"^{next(iter(wrong))} "):
            rv.race(traced(), "1 GiB", **wrong)


def test_a_racer_needs_a_time_for_each_of_its_steps(raced):
    timeline = raced[1].racers[0].timeline
    with pytest.raises(ValueError, match="expected one for each"):
        Racer("a", "", timeline, 1.0, np.ones(3))


def test_the_sentence_names_the_fastest_that_fits_and_who_does_not(raced):
    race = raced[1]
    none = Race(race.racers, 1, "m", "d")
    assert none.sentence == "no method fits 1 B"
    fitting = [racer for racer in race.racers if race.fits(racer)]
    assert min(fitting, key=lambda racer: racer.step).name in race.sentence
    assert "eager" in race.sentence
