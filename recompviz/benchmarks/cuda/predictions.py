"""Plans on the device: certificates, simulated and measured memory, and calibrated and measured time."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

import recompviz as rv
from recompviz import networks
from recompviz.benchmarks.cuda.cases import (
    Case,
    Row,
    Setting,
    allocator_peaks,
    cases,
    chosen,
    deterministic,
    example,
)
from recompviz.benchmarks.side_by_side import spread, step_seconds, training_step

# largest difference of simulated and measured bytes: the CPU's allocator does not round, CUDA's may use larger blocks
MOST_OFF = 0.05
# largest factor between calibrated and measured step time
MOST_FACTOR = 2.0
SHOWN_OPERATORS = 4
SMALL: tuple[Case, ...] = tuple(
    (name, 4, True) for name in ("resnet50", "gpt2", "unet_diffusion", "lstm_lm", "vit", "googlenet", "llama_7b")
)
REAL: tuple[Case, ...] = (("resnet50", 32, False), ("gpt2", 2, False), ("unet_diffusion", 64, False))


def sized(setting: Setting, small: int, real: int) -> Sequence[Case]:
    """Return ``small`` small networks and, on a GPU, also ``real`` networks of published size."""
    return SMALL[:small] if setting.rehearsal else (*SMALL[:small], *REAL[:real])


def traced(step: networks.Example) -> rv.Trace:
    """Return the trace of a training step."""
    return rv.trace(step.model, *step.inputs, targets=step.targets, loss=step.loss)


def simulation(setting: Setting, trace: rv.Trace, plan: rv.Plan) -> rv.Timeline:
    """Return the simulated timeline of a plan, with reserved memory if PyTorch's caching allocator runs."""
    return rv.simulate(trace, plan, allocator="" if setting.runtime.caching_allocator else None)


def certificates(setting: Setting) -> Iterator[Row]:
    """Compare gradients under plans with gradients of eager PyTorch, in deterministic kernels."""

    def rows(setting: Setting, case: Case) -> Iterator[Row]:
        trace = traced(example(case, setting.device))
        for name, plan in chosen(trace, trace.plans("live")).items():
            if name != "keep-all":
                found = rv.certify(trace, plan)
                yield {"plan": name, "gradients": found.gradients, "ok": found.ok, "text": found.text}

    with deterministic():
        yield from cases(setting, rows, sized(setting, 2 if setting.rehearsal else 6, 0))


def peaks(setting: Setting) -> Iterator[Row]:
    """Compare simulated peaks with the peaks that the profiler and the allocator measure."""
    yield from cases(setting, peak_rows, sized(setting, 2, 3))


def peak_rows(setting: Setting, case: Case) -> Iterator[Row]:
    """Yield a row for each of the three plans of :func:`.cases.chosen` for a network."""
    step = example(case, setting.device)
    trace = rv.calibrate(traced(step))
    for name, plan in chosen(trace, trace.plans("live")).items():
        simulated, module = simulation(setting, trace, plan), rv.apply(trace, plan)
        measured = rv.measure(module, *step.inputs, targets=step.targets)
        counted = allocator_peaks(module, step, setting.device)
        allocated = None if counted.allocated is None else counted.allocated + measured.static
        off = measured.peak / simulated.peak - 1
        # with the stand-in, the profiler still sees the CPU's allocator, which does not round
        judged = [allocated] if setting.rehearsal else [measured.peak, allocated]
        ok = not measured.notes and all(
            size is not None and abs(size / simulated.peak - 1) <= MOST_OFF for size in judged
        )
        yield {
            "plan": name,
            "simulated": simulated.peak,
            "measured": measured.peak,
            "off": off,
            "allocated": allocated,
            "reserved": counted.reserved,
            "reserved, predicted": simulated.reserved_peak,
            "recomputed": len(trace.schedule(plan).recomputed),
            "notes": "; ".join(measured.notes),
            "ok": ok,
        }


def timeline(setting: Setting) -> Iterator[Row]:
    """Compare simulated and measured bytes inside and after every operator, for the plan of least total."""

    def rows(setting: Setting, case: Case) -> Iterator[Row]:
        step = example(case, setting.device)
        trace = rv.calibrate(traced(step))
        plan = chosen(trace, trace.plans("live"))["least"]
        simulated = rv.simulate(trace, plan)
        measured = rv.measure(rv.apply(trace, plan), *step.inputs, targets=step.targets)
        both = slice(len(trace.schedule(plan)))
        ends = np.abs(simulated.step_ends[both] - measured.step_ends[both])
        inside = np.abs(simulated.step_peaks[both] - measured.step_peaks[both])
        share = float(max(ends.max(), inside.max())) / simulated.transient_peak
        yield {
            "operator": "all",
            "operators": len(ends),
            "exact after": int((ends == 0).sum()),
            "exact inside": int((inside == 0).sum()),
            "largest": int(max(ends.max(), inside.max())),
            "share": share,
            "ok": share <= MOST_OFF,
        }
        worst = np.argsort(-np.maximum(ends, inside), kind="stable")[:SHOWN_OPERATORS]
        for i in (int(at) for at in worst if ends[at] or inside[at]):
            yield {
                "operator": f"{i}: {simulated.step_labels[i]}",
                "simulated": int(simulated.step_peaks[i]),
                "measured": int(measured.step_peaks[i]),
                "largest": int(max(ends[i], inside[i])),
                "ok": True,
            }

    yield from cases(setting, rows, sized(setting, 2, 2))


def budgets(setting: Setting) -> Iterator[Row]:
    """Check that measured peaks rise with the budget, and that each is within its budget."""

    def rows(setting: Setting, case: Case) -> Iterator[Row]:
        step = example(case, setting.device)
        trace = rv.calibrate(traced(step))
        table = trace.plans("live")
        found: list[int] = []
        for budget, row in spread(table, 6):
            plan = table.plans[row]
            found.append(rv.measure(rv.apply(trace, plan), *step.inputs, targets=step.targets).peak)
            yield {
                "budget": budget,
                "simulated": rv.simulate(trace, plan).peak,
                "measured": found[-1],
                "recomputed": len(trace.schedule(plan).recomputed),
                "ok": found[-1] <= budget and all(a <= b for a, b in itertools.pairwise(found)),
            }

    yield from cases(setting, rows, SMALL[:1] if setting.rehearsal else (REAL[0], SMALL[1]))


def times(setting: Setting) -> Iterator[Row]:
    """Compare the calibrated time of a training step (the sum over its operators) with the measured time."""
    yield from cases(setting, time_rows, SMALL[:2] if setting.rehearsal else (*REAL, SMALL[0]))


def time_rows(setting: Setting, case: Case) -> Iterator[Row]:
    """Yield a row for eager PyTorch, and one for each of the three plans of :func:`.cases.chosen`."""
    step = example(case, setting.device)
    trace = rv.calibrate(traced(step), fresh=True)
    plans = chosen(trace, trace.plans("live"))
    modules = [rv.apply(trace, plan) for plan in plans.values()]
    eager = training_step(step.model, step.inputs, step.targets, step.loss)
    steps = [eager, *(training_step(module, step.inputs, step.targets, None) for module in modules)]
    took = step_seconds(steps, 5)
    yield {"plan": "eager", "measured ms": 1000 * took[0], "ok": True}
    for (name, plan), seconds in zip(plans.items(), took[1:], strict=True):
        predicted = sum(trace.joint.seconds[c] for c in trace.schedule(plan).calls)
        yield {
            "plan": name,
            "calibrated ms": 1000 * predicted,
            "measured ms": 1000 * seconds,
            "factor": seconds / predicted,
            "over keep-all": seconds / took[1] - 1,
            "calibrated over keep-all": predicted / sum(trace.joint.seconds) - 1,
            # the rehearsal shares the processor with other programs
            "ok": setting.rehearsal or 1 / MOST_FACTOR <= seconds / predicted <= MOST_FACTOR,
        }


def paper(setting: Setting) -> Iterator[Row]:
    """Yield rows of predicted and measured peaks and times of the paper's networks under plans.

    In the rehearsal on the CPU (:attr:`Setting.rehearsal`), the rows are of small variants of the networks.
    """
    order = ("resnet50", "vgg19", "unet", "googlenet", "resnet152", "pspnet", "densenet161")
    published = [(name, networks.example(name, device="meta").inputs[0].shape[0], False) for name in order]
    small: list[Case] = [(name, 2, True) for name in order]
    yield from cases(setting, paper_rows, small if setting.rehearsal else published)


def paper_rows(setting: Setting, case: Case) -> Iterator[Row]:
    """Yield a row for each of the three plans of :func:`.cases.chosen`, and one for Chen's plan."""
    step = example(case, setting.device)
    trace = rv.calibrate(traced(step))
    plans = {**chosen(trace, trace.plans("live")), "chen": trace.baseline("chen")}
    modules = {name: rv.apply(trace, plan) for name, plan in plans.items()}
    steps = [training_step(module, step.inputs, step.targets, None) for module in modules.values()]
    took = step_seconds(steps, 3)
    for (name, plan), seconds in zip(plans.items(), took, strict=True):
        timeline = simulation(setting, trace, plan)
        simulated = timeline.peak
        counted = allocator_peaks(modules[name], step, setting.device)
        measured = rv.measure(modules[name], *step.inputs, targets=step.targets)
        yield {
            "plan": name,
            "simulated": simulated,
            "measured": measured.peak,
            "off": measured.peak / simulated - 1,
            "reserved": counted.reserved,
            "reserved, predicted": timeline.reserved_peak,
            "ms": 1000 * seconds,
            "over keep-all": seconds / took[0] - 1,
            "ok": abs(measured.peak / simulated - 1) <= MOST_OFF,
        }
