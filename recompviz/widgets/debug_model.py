"""``debug``: which values are alive at the peak of a training step, which line made them, why, and what to do.

Measuring needs no trace, so that it works on any model; where the step can be traced, the planner's numbers, the
expected memory and the Explorer come with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from recompviz.core.attribution import MemoryReport
from recompviz.core.units import parse_bytes

if TYPE_CHECKING:
    from recompviz.pytorch.step import Loss


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
        Bytes of a device, or ``"24 GiB"``: the report says the largest batch that fits it.
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
        If ``model`` cannot be called, or ``steps`` is less than 1.

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
    from recompviz.core.errors import RecompvizError
    from recompviz.pytorch.debugging import examined

    report, recording = examined(
        model, *inputs, kwargs=kwargs, targets=targets, loss=loss, optimizer=optimizer, steps=steps
    )
    if not advise or not hasattr(model, "named_parameters"):
        return report
    from recompviz.pytorch.advice import checkpoint_advice, planner_advice, what_ifs
    from recompviz.pytorch.calibration import calibrate
    from recompviz.pytorch.expectation import differences
    from recompviz.pytorch.tracer import trace

    try:
        traced = trace(model, *inputs, kwargs=kwargs, targets=targets, loss=loss)
        traced = calibrate(traced)
    except RecompvizError as error:
        why = str(error).splitlines()[0]
        return replace(report, notes=(*report.notes, f"no expectation and no advice: {why}"))
    advice = sorted([*checkpoint_advice(traced), *planner_advice(traced)], key=lambda a: -a.saves)
    said = what_ifs(traced, None if fits is None else parse_bytes(fits))

    def explorer() -> Any:
        from recompviz.widgets.explore_model import explorer_of

        return explorer_of(traced)

    return replace(
        report,
        differences=differences(traced, recording),
        advice=tuple(advice),
        notes=(*report.notes, *said),
        open_explorer=explorer,
        trace=traced,
    )
