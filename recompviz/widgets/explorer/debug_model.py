"""``debug``: which values are alive at the memory peak of a training step, which source lines made them, and why.

Measuring needs no trace, so ``debug`` also works on models that cannot be traced. If the step can be traced, the report
also has the simulated memory, advice from the planner and an Explorer.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from recompviz.core.base.errors import RecompvizError
from recompviz.core.base.units import format_bytes, parse_bytes
from recompviz.core.reports.memory_report import MemoryReport
from recompviz.core.steps.joint import Category

if TYPE_CHECKING:
    from recompviz.pytorch.debugging.recorder.recording import Recording
    from recompviz.pytorch.tracing.step import Loss
    from recompviz.pytorch.tracing.traced_step import Trace

# A note explains the what-ifs if they leave out at least this share of the measured peak.
LEAST_UNTRACED = 0.05


def debug(
    model: Any,
    *inputs: Any,
    kwargs: Mapping[str, Any] | None = None,
    targets: Sequence[Any] = (),
    loss: Loss | None = None,
    optimizer: Any = None,
    steps: int = 3,
    fits: int | float | str | None = None,
    advise: bool = True,
) -> MemoryReport:
    """Run training steps eagerly and report which values are alive at their memory peak, and why.

    Parameters
    ----------
    model : torch.nn.Module or callable
        A model, or a function that runs one whole training step. The training step of a model is
        ``loss(model(*inputs, **kwargs), *targets)``, the backward pass and ``optimizer.step()``. A function is called
        as ``model(*inputs, **kwargs)``: ``steps`` times to record memory, and up to two times more to find the objects
        that hold the memory.
    *inputs, kwargs, targets, loss
        As for :func:`recompviz.trace`. In addition, the model may have data-dependent control flow, and the loss may be
        a closure. The loss must be a scalar.
    optimizer : torch.optim.Optimizer, optional
        The optimizer that the training step calls. For a function, the optimizer only tells which memory is optimizer
        state.
    steps : int
        Number of recorded training steps. Three or more show memory that grows from step to step.
    fits : int, float or str, optional
        Memory of a device: a number of bytes, or a string such as ``"24 GiB"``. A note of the report then says the
        largest batch whose training step fits without recomputation. This needs a model and ``advise=True``.
    advise : bool
        Whether to trace the step too. The trace gives the simulated memory, advice and an Explorer. If the step cannot
        be traced, a note of the report says why. A function is never traced.

    Returns
    -------
    MemoryReport
        Shown as tables if it is the last value of a cell. ``.top`` is the most important finding. ``.rows`` has every
        value alive at the peak. If the step was traced, ``.advice`` has checkpoints and plans, with the bytes that each
        would save, and ``.explorer`` is an Explorer of the step. Otherwise ``.advice`` is empty, and ``.explorer``
        raises ValueError.

    Raises
    ------
    TypeError
        If ``model`` cannot be called, is ``async`` or is a generator; if ``forward`` of a model cannot be called with
        ``inputs`` and ``kwargs``; if ``kwargs``, ``targets`` or ``fits`` has the wrong type; if ``steps`` is not an
        int; or if ``optimizer`` is not a ``torch.optim.Optimizer``.
    ValueError
        If ``steps`` is less than 1, if ``fits`` is not a size, or if ``optimizer`` trains neither a parameter nor an
        input of the model.
    TraceError
        If ``loss`` is neither a function nor a module, or if the loss of a model is not a scalar or needs no gradient.
    RecompvizError
        If the model or the batch is on the meta device.
    ProfilerBusy
        If another profiler runs in this process.

    Notes
    -----
    A model's parameters, buffers and gradients and its optimizer's state are restored afterwards. Changes made by a
    function are not undone. The recorded steps are slower than usual, because every operator call is recorded.

    Examples
    --------
    >>> import torch, recompviz as rv
    >>> report = rv.debug(torch.nn.Linear(8, 1), torch.ones(512, 8), targets=(torch.zeros(512),),
    ...                   loss=lambda output, target: (output - target).square().mean(), advise=False)
    >>> report.top.cause, report.top.value, report.coverage
    ('accidental broadcast', 'sub', 1.0)
    """
    from recompviz.pytorch.debugging.session import examined

    _check(model, steps)
    budget = None if fits is None else parse_bytes(fits)
    report, recording = examined(
        model, *inputs, kwargs=kwargs, targets=targets, loss=loss, optimizer=optimizer, steps=steps
    )
    if not advise or not hasattr(model, "named_parameters"):
        return report if budget is None else replace(report, notes=(*report.notes, _no_fit(model, advise)))
    from recompviz.pytorch.debugging.what_if_notes import what_ifs
    from recompviz.pytorch.internals.state import one_at_a_time
    from recompviz.pytorch.measuring.calibration import calibrate
    from recompviz.pytorch.measuring.entry import trace
    from recompviz.pytorch.tracing.tracer import with_optimizer

    try:
        with one_at_a_time, warnings.catch_warnings():  # The user did not ask for a trace. If it fails, a note says so.
            warnings.filterwarnings("ignore", module=r"torch\._dynamo")
            traced = calibrate(trace(model, *inputs, kwargs=kwargs, targets=targets, loss=loss))
            whole = traced if optimizer is None else with_optimizer(traced, optimizer)
            notes = what_ifs(whole, budget)
    except RecompvizError as error:
        why = str(error).splitlines()[0]
        return replace(report, notes=(*report.notes, f"no expectation and no advice: {why}"))
    notes += untraced(report, whole.planner.simulate().peak, optimizer is not None)
    return replace(_advised(report, recording, traced, whole), notes=(*report.notes, *notes))


def _advised(report: MemoryReport, recording: Recording, traced: Trace, whole: Trace) -> MemoryReport:
    """Return the report with expected memory, advice and an Explorer.

    ``traced`` is the traced step without the optimizer, ``whole`` the traced step with it.
    """
    from recompviz.pytorch.debugging.advice import checkpoint_advice, planner_advice
    from recompviz.pytorch.debugging.expectation import differences

    advice = sorted([*checkpoint_advice(whole), *planner_advice(whole)], key=lambda a: -a.saves)

    def explorer() -> Any:
        from recompviz.widgets.explorer.explore_model import explorer_of

        return explorer_of(traced)

    return replace(
        report,
        differences=differences(traced, recording),
        advice=tuple(advice),
        open_explorer=explorer,
        trace=traced,
    )


def untraced(report: MemoryReport, expected: int, optimizes: bool) -> list[str]:
    """Return one note if at least 5 % of the measured peak lies outside the traced step, otherwise an empty list.

    The advice and the what-ifs (predicted peaks for other batch sizes and dtypes) count only the traced step. The note
    says how many bytes are left out. It also names what holds these bytes, as far as that is known.

    Parameters
    ----------
    report : MemoryReport
        The measured report.
    expected : int
        The simulated peak of the traced step, total bytes.
    optimizes : bool
        Whether the traced step includes an optimizer.
    """
    more = report.peak - expected
    if more < LEAST_UNTRACED * report.peak:
        return []
    state = 0 if optimizes else report.by_category.get(Category.OPTIMIZER, 0)
    held = sum(row.size for row in report.rows if row.age and row.category is not Category.OPTIMIZER)
    parts = [
        f"{format_bytes(size)} of {what}"
        for what, size in (("optimizer state", state), ("values held from earlier steps", held))
        if size >= LEAST_UNTRACED * more
    ]
    counted = "and its optimizer alone" if optimizes else "alone"
    return [
        f"the what-ifs and the advice are for the traced step {counted}, which peaks at {format_bytes(expected)}; "
        f"{format_bytes(more)} more were measured" + (f", including {' and '.join(parts)}" if parts else "")
    ]


def _no_fit(model: Any, advise: bool) -> str:
    if hasattr(model, "named_parameters") and not advise:
        return "fits: the largest batch is unknown, because advise=False leaves out the trace that finds it"
    return (
        "fits: the largest batch is unknown, because no batch can be changed in a function that runs a whole step; "
        "pass the model, its inputs and its loss"
    )


def _check(model: Any, steps: Any) -> None:
    for call in (model, type(model).__call__, getattr(model, "forward", None)):
        if inspect.iscoroutinefunction(call) or inspect.isgeneratorfunction(call) or inspect.isasyncgenfunction(call):
            name = getattr(model, "__name__", type(model).__name__)
            raise TypeError(
                f"{name} is async or a generator: calling it creates an object and does not run the step; "
                "expected a function that runs the step and then returns"
            )
    if isinstance(steps, bool) or not isinstance(steps, int):
        raise TypeError(f"steps is {steps!r}, expected a whole number of steps, for example 3")
