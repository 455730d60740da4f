"""``explore``: trace a model with one batch, and open the Explorer of its training step."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, overload

from recompviz.core.base.arguments import expect_flag
from recompviz.core.base.progress import Progress
from recompviz.core.base.tracebacks import without_library_frames
from recompviz.core.planning.planner import Planner
from recompviz.core.plans.plan import Plan
from recompviz.core.reports.run_report import RunReport
from recompviz.widgets.base.interactive import is_interactive
from recompviz.widgets.base.job import JobProgress
from recompviz.widgets.explorer.explorer import Explorer
from recompviz.widgets.explorer.explorer_arguments import BASELINES, ExplorerArguments
from recompviz.widgets.explorer.opening import OpeningExplorer
from recompviz.widgets.explorer.resizing import Subject
from recompviz.widgets.explorer.script_names import names_of
from recompviz.widgets.explorer.time_base import milliseconds_of, step_time

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from recompviz.core.reports.step_times import StepTimes
    from recompviz.pytorch.tracing.resized_trace import ResizedTraces
    from recompviz.pytorch.tracing.step import Loss
    from recompviz.pytorch.tracing.traced_step import Trace
    from recompviz.widgets.explorer.step_explorer import StepExplorer


# An Explorer keeps the plans of this many sizes: the traced ones, and those asked for last.
MOST_SIZES = 8


@overload
def explore(model: Any) -> Any: ...


@overload
def explore(
    model: Any,
    *inputs: Any,
    kwargs: Mapping[str, Any] | None = None,
    targets: Sequence[Any] = (),
    loss: Loss | None = None,
    optimizer: Optimizer | None = None,
    calibrated: bool = True,
    capacity: int | float | str | None = None,
    baselines: Sequence[str] = BASELINES,
    theory: bool = False,
    background: bool | None = None,
) -> Explorer: ...


def explore(
    model: Any,
    *inputs: Any,
    kwargs: Mapping[str, Any] | None = None,
    targets: Sequence[Any] = (),
    loss: Loss | None = None,
    optimizer: Optimizer | None = None,
    calibrated: bool = True,
    capacity: int | float | str | None = None,
    baselines: Sequence[str] = BASELINES,
    theory: bool = False,
    background: bool | None = None,
) -> Explorer | StepExplorer:
    """Open the Explorer on the training step ``loss(model(*inputs, **kwargs), *targets)``.

    For a compiled model without further arguments, open the view of its recorded training step instead.

    Parameters
    ----------
    model : torch.nn.Module
        A model to trace, or a compiled model. A compiled model must come from :func:`recompviz.compile`, or from
        ``torch.compile`` with ``backend="recompviz"``, and needs three training steps before this call. Its view shows
        the recorded step: the compiled regions, the eager code between them, and the reason of each graph break.
    *inputs
        The arguments of the model for one batch.
    kwargs : dict, optional
        Keyword arguments of the model.
    targets : sequence, optional
        Arguments of the loss after the model's output.
    loss : callable or torch.nn.Module, optional
        A function of the output and the targets that returns a scalar. Without a function, the loss is the model's
        output if that is one number, or the ``loss`` in the output. Any other model is traced without its loss; see
        :func:`recompviz.trace`.
    optimizer : torch.optim.Optimizer, optional
        If given, the optimizer's state counts as memory, and the training step ends with an optimizer step. This
        function does not run the optimizer.
    calibrated : bool
        Whether to measure the workspace and the time of each operator first; see :func:`recompviz.calibrate`. This runs
        the training step a few times under a plan of little memory. A model on the meta device is not run.
    capacity : int, float or str, optional
        Memory of the device: a number of bytes, or a string such as ``"24 GiB"``. The Explorer marks it on the budget
        slider. If left out, the memory of the CUDA device; on the CPU nothing is marked.
    baselines : sequence of str
        Baselines (plans of other methods) that the Explorer shows as points beside the trade-off curve. The names are
        those of :meth:`recompviz.Trace.baseline`. A baseline that does not exist for the graph is left out.
    theory : bool
        Whether the view opens with the paper's view: lower sets, segments, the peak formula, the paper's objectives.
    background : bool, optional
        Whether to return before the step is traced. The view then shows the phase, its progress and a button to cancel.
        Python code that reads ``plan`` or another attribute waits, and gets the error if the step cannot be traced;
        ``explorer.error`` is the error. Cells that run later wait as well. If None, True in a notebook that a person
        has open, and False in a script.

    Returns
    -------
    Explorer or StepExplorer
        A StepExplorer for a compiled model, otherwise an Explorer. A notebook shows the widget if it is the last value
        of a cell. ``explorer.plan`` is the selected plan. Setting ``explorer.budget`` selects another plan. The budget
        is in bytes, and includes parameters, gradients and inputs. :func:`recompviz.step_report` returns the content of
        a StepExplorer as text.

    Raises
    ------
    TraceError
        If the step cannot be traced.
    StepNotRecorded
        If no training step of a compiled model is recorded yet, or the model was compiled without a total. The error
        is a :class:`recompviz.RecompvizError`.
    TypeError
        If a compiled model without inputs was not compiled by recompviz. Also if it was compiled by ``torch.compile``
        and has not run yet. Also if ``model`` is a step of one or several ranks, for which there is
        :func:`recompviz.explore_ranks`. Also if ``capacity`` is neither a number nor a string, ``baselines`` is neither
        a tuple nor a list, or ``calibrated`` or ``theory`` is neither True nor False.
    ValueError
        If ``capacity`` is not a size, or the name of a baseline is unknown.

    Notes
    -----
    The Explorer of a large graph opens with plans that need no search. A search for better plans runs in the
    background, and the Explorer shows its plans when the search ends. Python code waits for the search when it reads
    ``.plan`` or sets ``.budget``.

    Examples
    --------
    >>> import torch, recompviz as rv
    >>> model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
    >>> explorer = rv.explore(model, torch.zeros(4, 8), targets=(torch.zeros(4, 1),),
    ...                       loss=torch.nn.functional.mse_loss)
    >>> len(explorer.graph)
    4
    """
    expect_flag(calibrated, "calibrated")
    _expect_no_ranks(model)
    if not inputs and not kwargs and _is_compiled(model):
        from recompviz.pytorch.running.compiled_report import step_report
        from recompviz.widgets.explorer.step_explorer import StepExplorer

        return StepExplorer(step_report(model))
    expect_flag(theory, "theory")
    # the trace refuses wrong targets
    names = names_of(model, inputs, kwargs, targets if isinstance(targets, tuple) else (), loss)

    def work(progress: JobProgress) -> ExplorerArguments:
        progress(2, 100, "loading the tracer")
        from recompviz.pytorch.measuring.calibration import calibrate
        from recompviz.pytorch.measuring.entry import trace

        progress(10, 100, "tracing the training step")
        before = traced = trace(model, *inputs, kwargs=kwargs, targets=targets, loss=loss, optimizer=optimizer)
        if calibrated and not traced.estimated:
            progress(40, 100, "measuring the operators")
            traced = calibrate(traced, progress=lambda done, total: progress(40 + 50 * done / total, 100))
        progress(95, 100, "planning")
        return replace(arguments_of(traced, before, capacity, baselines, theory), names=names)

    from recompviz.pytorch.internals.profiler import prepare_profiler

    prepare_profiler()  # the step is measured in other threads
    if is_interactive() if background is None else background:
        return OpeningExplorer(work, f"{type(model).__name__}, training step")
    try:
        return Explorer.from_arguments(work(lambda *_: None))
    except Exception as error:  # of the tracer, or of the model's own code
        raise without_library_frames(error) from None


def explorer_of(
    traced: Trace,
    before: Trace | None = None,
    *,
    capacity: int | float | str | None = None,
    baselines: Sequence[str] = BASELINES,
    theory: bool = False,
) -> Explorer:
    """Return the Explorer of a trace.

    Parameters
    ----------
    traced : Trace
        The trace of a training step. If the trace is estimated (made on the meta device), the Explorer has no Run
        button.
    before : Trace, optional
        The same trace before it was calibrated. None if ``traced`` is not calibrated.
    capacity, baselines, theory
        As for :func:`explore`.
    """
    return Explorer.from_arguments(arguments_of(traced, before, capacity, baselines, theory))


def arguments_of(
    traced: Trace,
    before: Trace | None,
    capacity: int | float | str | None,
    baselines: Sequence[str],
    theory: bool,
) -> ExplorerArguments:
    """Return the arguments of the Explorer of a trace; see :func:`explorer_of`."""
    from recompviz.pytorch.internals.devices.runtimes import runtime

    return ExplorerArguments(
        planner=traced.planner,
        runner=None if traced.estimated else TraceRunner(traced),
        baselines=baselines,
        capacity=runtime(traced.device).total_memory() if capacity is None else capacity,
        title=f"{type(traced.model).__name__}, training step",
        device=runtime(traced.device).label(),
        cost_unit=traced.cost_unit,
        theory=theory,
        resizer=TraceResizer(traced, before),
    )


def _expect_no_ranks(model: Any) -> None:
    """Refuse steps of ranks, which have a view of their own, and say which."""
    one = next(iter(model), None) if isinstance(model, (list, tuple)) else model
    if type(one).__module__.startswith("recompviz.pytorch.ranks."):
        what = f"a {type(model).__name__} of {type(one).__name__}" if one is not model else f"a {type(one).__name__}"
        raise TypeError(f"model is {what}, expected one model; for the ranks of a run, write rv.explore_ranks(ranks)")


def _is_compiled(model: Any) -> bool:
    from recompviz.pytorch.running.compiled import is_compiled

    return is_compiled(model)


class TraceResizer:
    """An object that gives the training step of a trace another batch size or sequence length.

    Parameters
    ----------
    traced : Trace
    before : Trace, optional
        The same trace before it was calibrated. None if ``traced`` is not calibrated.

    Attributes
    ----------
    axes : tuple of Axis
        The sizes that can be changed.
    """

    def __init__(self, traced: Trace, before: Trace | None = None) -> None:
        from recompviz.pytorch.tracing.resized_trace import ResizedTraces

        self._resized = ResizedTraces(traced, before)
        self.axes = self._resized.axes
        traced_sizes = tuple(axis.size for axis in self.axes)
        runner = None if traced.estimated else TraceRunner(traced)
        self._traced = traced_sizes
        self._subjects = OrderedDict({traced_sizes: Subject(traced.planner, runner, traced.cost_unit)})

    def at(self, sizes: Mapping[str, int], progress: JobProgress) -> Subject:
        """Return the training step at other sizes; see :class:`Resizer`."""
        wanted = tuple(sizes[axis.name] for axis in self.axes)
        if wanted not in self._subjects:

            def tell(done: int, total: int, name: str, size: int) -> None:
                progress(5 + 90 * done // total, 100, f"tracing the model at {name} {size:,}")

            self._resized.learn(sizes, tell)
            progress(95, 100, "computing the bytes of each value")
            graph, joint = self._resized.at(sizes)
            traced = self._resized.trace
            planner = Planner(graph, joint, device=traced.device)
            unit = traced.cost_unit.replace("measured", "scaled")
            step = step_time(planner, unit, traced.planner)
            eager = None if step is None else step * (milliseconds_of(unit) or 0.0)
            runner = None if traced.estimated else ResizedRunner(self._resized, dict(sizes), eager)
            self._subjects[wanted] = Subject(planner, runner, unit)
        self._subjects.move_to_end(wanted)
        while len(self._subjects) > MOST_SIZES:
            del self._subjects[next(sizes for sizes in self._subjects if sizes != self._traced)]
        return self._subjects[wanted]


class ResizedRunner:
    """An object that runs plans of a training step at other sizes than those at which the step was traced.

    The batch is made from the traced one: examples are repeated or left out, and sequences are repeated or cut. If the
    traced step was calibrated, the step at these sizes is calibrated too: otherwise the report of a run could not
    explain the memory that operators use as workspace.

    Parameters
    ----------
    resized : ResizedTraces
        The training step at any size.
    sizes : mapping of str to int
        The size of each axis (``"batch"``, ``"length"``) for the runs.
    eager : float, optional
        The scaled time of an eager step, in milliseconds. None if it is not known.
    """

    def __init__(self, resized: ResizedTraces, sizes: Mapping[str, int], eager: float | None = None) -> None:
        self._resized, self._sizes, self._eager = resized, sizes, eager
        self._runner: TraceRunner | None = None

    def run(self, plan: Plan, progress: JobProgress) -> RunReport:
        """Run training steps under a plan and report the measurements; see :meth:`TraceRunner.run`."""
        if self._runner is None:
            progress(1, 100, "tracing the step at this size")
            self._runner = TraceRunner(self._traced(progress))
        report = self._runner.run(plan.on(self._runner.trace.graph), progress)
        times = report.times
        if times is not None:  # the Explorer predicts with the scaled times
            extra = plan.overhead if self._resized.trace.cost_unit.startswith("ms") else None
            times = replace(times, predicted_extra=extra, predicted_eager=self._eager)
            forget_if_too_high(self._resized.trace, times)
        return replace(report, plan=plan, times=times)

    def _traced(self, progress: JobProgress) -> Trace:
        trace = self._resized.trace_at(self._sizes)
        if not self._resized.trace.joint.seconds:
            return trace
        from recompviz.pytorch.measuring.calibration import calibrate

        return calibrate(trace, progress=lambda _done, _total: progress(1, 100, "measuring its operators at this size"))


def forget_if_too_high(trace: Trace, times: StepTimes | None) -> None:
    """If a run contradicts the calibrated times of a trace, let the next Explorer measure the trace's operators again.

    ``times`` are the times that the run measured; None if it measured none.
    """
    if times is not None and times.too_high:
        from recompviz.pytorch.measuring.calibration import forget

        forget(trace)


def _phase(progress: JobProgress, start: int, stop: int, text: str) -> Progress:
    """Return a callback for a phase of a run, from ``start`` to ``stop`` percent of the whole run."""
    return lambda done, total: progress(start + (stop - start) * done / total, 100, text)


class TraceRunner:
    """An object that runs the plans of a trace. It measures memory and time, and checks the gradients.

    Parameters
    ----------
    trace : Trace
    """

    def __init__(self, trace: Trace) -> None:
        self.trace = trace

    def run(self, plan: Plan, progress: JobProgress) -> RunReport:
        """Run training steps under a plan and report the measurements.

        The steps run on a copy of the model, which shares the parameters and has its own gradients and buffers. If the
        trace has an optimizer, or the model cannot be copied (see :func:`recompviz.pytorch.tracing.twin.twin`), the
        steps run on the model itself. The model's state is then restored.

        Parameters
        ----------
        plan : Plan
        progress : callable (done, total, text)
            Called before each part of the run. It raises :class:`recompviz.Cancelled` to cancel the run.

        Returns
        -------
        RunReport

        Raises
        ------
        RecompvizError
            If the model changed after it was traced, or the run failed because another cell trained the model.
        """
        from recompviz.pytorch.internals.devices.runtimes import runtime

        try:
            return self._report(plan, progress)
        finally:
            runtime(self.trace.device).empty_cache()  # most of what the run allocated is free now

    def _report(self, plan: Plan, progress: JobProgress) -> RunReport:
        progress(2, 100, "preparing the plan")
        import torch

        from recompviz.pytorch.internals.devices.runtimes import runtime
        from recompviz.pytorch.internals.state import own_random_numbers
        from recompviz.pytorch.measuring.certificate import certify
        from recompviz.pytorch.measuring.gap_report import explain_gap
        from recompviz.pytorch.measuring.meter import measure
        from recompviz.pytorch.measuring.step_timing import time_pairs
        from recompviz.pytorch.running.planned import apply
        from recompviz.pytorch.tracing.twin import twin, undisturbed

        began = time.perf_counter()
        progress(5, 100, "copying the model")
        beside = twin(self.trace)  # Another cell may train the model in the meantime.
        inputs, kwargs, targets = beside.arguments
        progress(10, 100, "writing the program of the plan")
        planned = apply(beside, plan)
        draws = any(call.random for call in beside.joint.calls)
        with undisturbed(beside), own_random_numbers(draws):
            measured = measure(
                planned,
                *inputs,
                kwargs=kwargs,
                targets=targets,
                optimizer=beside.optimizer,
                progress=_phase(progress, 15, 45, "measuring the planned step"),
            )
            try:
                times = time_pairs(beside, planned, _phase(progress, 45, 80, "timing eager and planned steps"))
            except torch.OutOfMemoryError:  # an eager step may not fit
                times = None
            forget_if_too_high(self.trace, times)
            comparing = _phase(progress, 80, 98, "comparing gradients with the unplanned step")
            # another cell may use the parameters meanwhile
            certificate = certify(beside, plan, change_parameters=False, progress=comparing)
        progress(98, 100, "done")
        return RunReport(
            plan,
            measured,
            runtime(self.trace.device).label(),
            time.perf_counter() - began,
            certificate.ok,
            certificate.text,
            gap=explain_gap(self.trace, plan, measured),
            times=times,
        )
