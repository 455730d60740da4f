"""The diagnosis names the planted cause, value and line; the rows account for every byte at the peak."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import recompviz as rv
from recompviz import networks
from recompviz.benchmarks import debugging
from recompviz.benchmarks.pathologies import PATHOLOGIES, Pathology


def test_at_least_twelve_pathologies_are_planted() -> None:
    assert len(PATHOLOGIES) >= 12
    assert len({p.name for p in PATHOLOGIES}) == len(PATHOLOGIES)


@pytest.mark.parametrize("pathology", PATHOLOGIES, ids=lambda p: p.make.__name__)
def test_the_top_finding_names_cause_value_and_source_line(pathology: Pathology) -> None:
    verdict = debugging.diagnose(pathology)
    assert verdict.right, verdict.text
    assert verdict.coverage >= debugging.LEAST_COVERAGE


@pytest.mark.parametrize(
    ("make", "retainer", "code"),
    [
        ("losses_in_a_list", "`history` (closure of validate)", ("`.item()`", "`history`")),
        ("outputs_in_a_log", "`log` (closure of step)", ("empty `log`",)),
        ("growing_bank", "`Memory.bank` (attribute of Memory)", ("`Memory.bank = Memory.bank[-n:]`",)),
        ("recurrent_state", "`state['h']` (closure of step)", ("`state['h'].detach()`",)),
        ("validation_in_a_trainer", "`self.losses` (of Trainer)", ("`.item()`", "`self.losses`")),
    ],
)
def test_growth_is_reported_with_its_retainer_and_bytes_per_step(
    make: str, retainer: str, code: tuple[str, ...]
) -> None:
    arguments, keywords = next(p for p in PATHOLOGIES if p.make.__name__ == make).make()
    report = rv.debug(*arguments, **keywords, advise=False)
    assert report.top is not None
    assert report.top.retainer == retainer
    assert all(part in report.top.fix for part in code), report.top.fix
    # the allocator counts the same growth between the ends of steps
    assert len(report.growth) == 3
    assert report.growth[1] - report.growth[0] == pytest.approx(report.top.growth, abs=256)


class Averaged:
    """Carries a state from step to step, without waste."""

    def __init__(self) -> None:
        self.model, self.x, self.mean = nn.Linear(256, 256), torch.randn(512, 256), torch.zeros(512, 256)

    def step(self) -> None:
        output = self.model(self.x)
        self.mean = 0.9 * self.mean + 0.1 * output.detach()
        output.square().mean().backward()


def test_a_state_that_the_next_step_reads_is_not_reported() -> None:
    report = rv.debug(Averaged().step, advise=False)
    assert not [f.text for f in report.findings if f.matters(report.peak)]


@pytest.mark.parametrize("name", ["resnet50", "gpt2", "lstm_lm", "pspnet"])
def test_at_least_98_per_cent_of_the_measured_peak_are_attributed(name: str) -> None:
    row = debugging.coverage(name)
    assert row.share >= debugging.LEAST_COVERAGE
    assert row.peak == pytest.approx(row.measured, rel=0.02)


def mlp() -> tuple[nn.Sequential, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(32, 256), nn.Tanh(), nn.Linear(256, 256), nn.Tanh(), nn.Linear(256, 1))
    return model, torch.randn(512, 32), torch.randn(512, 1)


def test_rows_add_up_to_the_measured_peak_and_the_model_is_unchanged() -> None:
    model, x, y = mlp()
    optimizer = torch.optim.Adam(model.parameters())
    before = [p.detach().clone() for p in model.parameters()]
    report = rv.debug(model, x, targets=(y,), loss=nn.functional.mse_loss, optimizer=optimizer, steps=2, advise=False)
    assert sum(row.size for row in report.rows) == report.peak == report.timeline.peak
    assert sum(report.by_line.values()) == sum(report.by_module.values()) == report.peak
    assert all(torch.equal(p, old) and p.grad is None for p, old in zip(model.parameters(), before, strict=True))
    assert not optimizer.state_dict()["state"]


class Branching(nn.Module):
    """Has data-dependent control flow, which cannot be traced."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(64, 512), nn.Linear(512, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.tanh(self.one(x))
        if h.sum() > 1e9:
            h = h * 2
        return self.two(h)


def test_a_model_that_cannot_be_traced_is_diagnosed_and_a_note_says_what_is_missing() -> None:
    report = rv.debug(Branching(), torch.randn(256, 64), loss=lambda output: output.sum())
    assert report.coverage == 1
    assert any(row.value == "h (tanh)" and "saved for backward" in row.why for row in report.rows)
    assert any("cannot be traced" in note for note in report.notes)
    with pytest.raises(ValueError, match="no traced step"):
        _ = report.explorer


@pytest.mark.slow
def test_advice_comes_with_the_planners_numbers_and_the_explorer_with_the_trace() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(*(nn.Sequential(nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 32)) for _ in range(4)))
    x = y = torch.randn(512, 32)
    report = rv.debug(model, x, targets=(y,), loss=nn.functional.mse_loss, steps=1, fits="20 MiB")
    assert any(advice.what.startswith("checkpointing") for advice in report.advice)
    assert any("rv.fit_in" in advice.what for advice in report.advice)
    assert report.advice
    for advice in report.advice:
        assert advice.saves == rv.simulate(report.trace).peak - advice.peak > 0
        assert advice.milliseconds is not None
    said = next(note for note in report.notes if "largest batch" in note)
    largest = int(said.split(" is ")[1].split(" ")[0].replace(",", ""))
    for batch, fits in ((largest, True), (largest + 1, False)):
        traced = rv.trace(model, torch.randn(batch, 32), targets=(torch.randn(batch, 32),), loss=nn.functional.mse_loss)
        assert (rv.simulate(traced).peak <= 20 << 20) == fits
    assert type(report.explorer).__name__ == "Explorer"


@pytest.mark.slow
def test_two_runs_are_compared_by_what_grew() -> None:
    model, x, y = mlp()
    small, large = (
        rv.debug(model, x[:n], targets=(y[:n],), loss=nn.functional.mse_loss, steps=1, advise=False) for n in (128, 512)
    )
    changed = rv.compare_runs(small, large)
    assert changed.peak_change == large.peak - small.peak == sum(row.change for row in changed.rows)
    assert {row.category for row in changed.grew} >= {"kept values"}
    assert not any(row.category == "parameters" for row in changed.rows)
    assert "kept values" in changed._repr_html_()


class Fused(nn.Module):
    """Makes views that together need their whole base."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(64, 192)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (t.unflatten(-1, (4, 16)).transpose(1, 2) for t in self.qkv(x).chunk(3, -1))
        return nn.functional.scaled_dot_product_attention(q, k, v)


@pytest.mark.parametrize("name", ["resnet50", "vit"])
def test_nothing_surprising_is_reported_of_a_network_without_waste(name: str) -> None:
    torch.manual_seed(0)
    step = networks.example(name, small=True)
    report = rv.debug(step.model, *step.inputs, targets=step.targets, loss=step.loss, steps=3, advise=False)
    assert report.top is not None
    assert not report.top.surprising, report.top.text


def test_sdpa_that_falls_back_to_plain_operators_is_distinguished_from_attention_by_hand() -> None:
    torch.manual_seed(0)
    step = networks.example("gpt2", small=True)  # its dropout keeps the CPU from running it fused
    report = rv.debug(step.model, *step.inputs, targets=step.targets, loss=step.loss, steps=1, advise=False)
    found = next(finding for finding in report.findings if finding.cause == "attention matrix written out")
    assert "fell back" in found.fix


def test_views_that_need_their_whole_base_are_not_reported() -> None:
    report = rv.debug(Fused(), torch.randn(2, 128, 64), loss=lambda output: output.square().mean(), advise=False)
    assert all(finding.cause != "view keeps base alive" for finding in report.findings)


@pytest.mark.parametrize(("given", "said"), [({"steps": 0}, "steps = 0"), ({"model": 3}, "model is 3")])
def test_what_cannot_be_debugged_is_refused(given: dict[str, object], said: str) -> None:
    model, x, _ = mlp()
    with pytest.raises((ValueError, TypeError), match=said):
        rv.debug(given.pop("model", model), x, loss=torch.sum, advise=False, **given)
