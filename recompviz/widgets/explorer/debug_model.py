"""``debug``: which values are alive at the peak of a training step, which line made them, why, and what to do.

Measuring needs no trace, so that it works on any model; where the step can be traced, the planner's numbers, the
expected memory and the Explorer come with it.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from recompviz.core.base.units import format_bytes, parse_bytes
from recompviz.core.reports.memory_report import MemoryReport
from recompviz.core.steps.joint import Category

if TYPE_CHECKING:
    from recompviz.pytorch.tracing.step import Loss

# the what-ifs are explained where they leave out such a share of the measured peak
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
    """Measure some eager training steps and say what their peak is made of, and why.

    Parameters
    ----------
    model : torch.nn.Module or callable
        A model, whose step is ``loss(model(*inputs, **kwargs), *targets)``, its backward pass and ``optimizer.step()``.
        Or a function that runs one whole step of yours, ``model(*inputs, **kwargs)``: it is run as it is, ``steps``
        times and once or twice more, with all it does; so memory that grows from step to step is found.
    *inputs, kwargs, targets, loss
        As for :func:`recompviz.trace`; here the model may have data-dependent control flow, the loss may capture.
    optimizer : torch.optim.Optimizer, optional
        Where given, its ``step()`` is part of the step.
    steps : int
        How many steps are watched; three or more tell what grows.
    fits : int or str, optional
        Bytes of a device, or ``"24 GiB"``: the report says the largest batch that fits it. Only for a model: a function
        has no batch that could be changed.
    advise : bool
        Whether to trace the step, where that can be done, for expectations and advice.

    Returns
    -------
    MemoryReport
        Shown as tables when it is a cell's last value. ``.top`` is the finding that matters most, ``.rows`` all that is
        alive at the peak, ``.advice`` what would help and by how much, ``.explorer`` the Explorer on the step.

    Raises
    ------
    TypeError, ValueError
        If ``model`` cannot be called or only begins when it is (``async``, a generator), ``steps`` is no whole number
        of at least 1, ``optimizer`` is none, or ``fits`` is no size.

    Notes
    -----
    A model's parameters, buffers, gradients and its optimiser's state are as before afterwards; what a function of
    yours changes, it changes. The step of the report is a little slower than yours: each operator is looked at.

    Examples
    --------
    >>> import torch, recompviz as rv
    >>> report = rv.debug(torch.nn.Linear(8, 1), torch.ones(512, 8), targets=(torch.zeros(512),),
    ...                   loss=lambda output, target: (output - target).square().mean(), advise=False)
    >>> report.top.cause, report.top.value, report.coverage
    ('accidental broadcast', 'sub', 1.0)
    """
    from recompviz.core.base.errors import RecompvizError
    from recompviz.pytorch.debugging.session import examined

    _check(model, optimizer, steps)
    budget = None if fits is None else parse_bytes(fits)
    report, recording = examined(
        model, *inputs, kwargs=kwargs, targets=targets, loss=loss, optimizer=optimizer, steps=steps
    )
    if not advise or not hasattr(model, "named_parameters"):
        return report if budget is None else replace(report, notes=(*report.notes, _no_fit(model, advise)))
    from recompviz.pytorch.debugging.advice import checkpoint_advice, planner_advice, what_ifs
    from recompviz.pytorch.debugging.expectation import differences
    from recompviz.pytorch.measuring.calibration import calibrate
    from recompviz.pytorch.measuring.entry import trace
    from recompviz.pytorch.tracing.traced_step import simulate
    from recompviz.pytorch.tracing.tracer import with_optimizer

    try:
        with warnings.catch_warnings():  # on tracing, which the user did not ask for: what matters of it is a note
            warnings.filterwarnings("ignore", module=r"torch\._dynamo")
            traced = trace(model, *inputs, kwargs=kwargs, targets=targets, loss=loss)
            traced = calibrate(traced)
            whole = traced if optimizer is None else with_optimizer(traced, optimizer)
            said = what_ifs(whole, budget)
    except RecompvizError as error:
        why = str(error).splitlines()[0]
        return replace(report, notes=(*report.notes, f"no expectation and no advice: {why}"))
    advice = sorted([*checkpoint_advice(whole), *planner_advice(whole)], key=lambda a: -a.saves)
    said += untraced(report, simulate(whole).peak, optimizer is not None)

    def explorer() -> Any:
        from recompviz.widgets.explorer.explore_model import explorer_of

        return explorer_of(traced)

    return replace(
        report,
        differences=differences(traced, recording),
        advice=tuple(advice),
        notes=(*report.notes, *said),
        open_explorer=explorer,
        trace=traced,
    )


def untraced(report: MemoryReport, expected: int, optimizes: bool) -> list[str]:
    """Why the what-ifs speak of less than was measured, if they do: what lies outside the step that is traced.

    Parameters
    ----------
    report : MemoryReport
        Measured.
    expected : int
        The peak of the traced step, bytes.
    optimizes : bool
        Whether an optimiser is counted in it.
    """
    more = report.peak - expected
    if more < LEAST_UNTRACED * report.peak:
        return []
    state = 0 if optimizes else report.by_category.get(Category.OPTIMIZER, 0)
    held = sum(row.size for row in report.rows if row.age and row.category is not Category.OPTIMIZER)
    parts = [
        f"{format_bytes(size)} of {what}"
        for what, size in (("optimiser state", state), ("values held from earlier steps", held))
        if size >= LEAST_UNTRACED * more
    ]
    counted = "and its optimiser alone" if optimizes else "alone"
    return [
        f"the what-ifs, and the advice, are of the traced step {counted}, which peaks at {format_bytes(expected)}; "
        f"{format_bytes(more)} more were measured" + (f", among them {' and '.join(parts)}" if parts else "")
    ]


def _no_fit(model: Any, advise: bool) -> str:
    if hasattr(model, "named_parameters") and not advise:
        return "fits: the largest batch is not told, as advise=False leaves out the trace that it takes"
    return (
        "fits: the largest batch is not told, as a function that runs a whole step has none that could be changed; "
        "pass the model, its inputs and its loss"
    )


def _check(model: Any, optimizer: Any, steps: Any) -> None:
    from torch.optim import Optimizer

    for call in (model, type(model).__call__, getattr(model, "forward", None)):
        if inspect.iscoroutinefunction(call) or inspect.isgeneratorfunction(call) or inspect.isasyncgenfunction(call):
            name = getattr(model, "__name__", type(model).__name__)
            raise TypeError(
                f"{name} is async or a generator: a call only makes an object and runs no step; "
                "expected a function that has run the step when it returns"
            )
    if isinstance(steps, bool) or not isinstance(steps, int):
        raise TypeError(f"steps is {steps!r}, expected a whole number of steps, for example 3")
    if optimizer is not None and not isinstance(optimizer, Optimizer):
        raise TypeError(
            f"optimizer is {optimizer!r}, expected one made over the model's parameters, for example "
            "torch.optim.Adam(model.parameters())"
        )
