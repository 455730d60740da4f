"""The certificate: a step under a plan has the results of an eager step, and saves the values that the plan keeps.

Two training steps in a row run eagerly, and two run under the plan. Both pairs start from the same state. The second
step of each pair has other inputs and parameters. Gradients, loss and buffers of the planned steps must be bitwise
equal to those of the eager steps. If two eager runs differ from each other, because a kernel is not deterministic, the
planned results need only equal the eager results within a tolerance. The gradients of trained tensors outside the model
are compared, too. Between the forward and the backward pass, autograd must hold the values that the schedule of the
plan saves, and no others.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.utils import _pytree as pytree

from recompviz.core.base.arguments import expect_flag
from recompviz.core.base.errors import PlanMismatch, RecompvizError
from recompviz.core.base.progress import Progress
from recompviz.core.base.units import format_bytes
from recompviz.core.plans.plan import Plan, expect_plan
from recompviz.pytorch.budgeting.planned_budget import PlanWarning
from recompviz.pytorch.internals.state import one_at_a_time
from recompviz.pytorch.internals.tensors import same_bits, version_of
from recompviz.pytorch.measuring.compared_steps import Arguments, StepResult, TwoSteps
from recompviz.pytorch.measuring.eager_forward import difference_from_eager
from recompviz.pytorch.measuring.measurement_run import TRAINED, overwritten_in
from recompviz.pytorch.running.planned import PlannedModule, apply
from recompviz.pytorch.tracing.traced_step import Trace, expect_trace
from recompviz.pytorch.tracing.tracer import trace_again

# the tolerances for gradients, loss and buffers if eager differs from itself
RTOL, ATOL = 1e-3, 1e-5

# the two runs that were compared did not start from the same state
UNSTEADY = (
    "contaminated: eager differs from itself as much; other work in this process drew random numbers meanwhile, or a "
    "kernel is far from deterministic; run it alone"
)


class CertificateError(RecompvizError, AssertionError):
    """A check of a certificate failed, or the certificate could not be made because the step cannot run.

    A check fails if a step under a plan has other results than an eager step, or saves other values than the plan says.

    Attributes
    ----------
    certificate : Certificate or None
        The certificate with the failed check; None if no step could run.
    """

    def __init__(self, message: str, certificate: Certificate | None = None) -> None:
        super().__init__(message)
        self.certificate = certificate


@dataclass(frozen=True)
class Certificate:
    """The result of :func:`recompviz.certify`, with one result for each check; frozen.

    Attributes
    ----------
    gradients : str
        ``"bitwise"`` if all gradients of the planned steps are bitwise equal to those of the eager steps. ``"close"``
        if two eager runs differ from each other, and all gradients are equal within a relative tolerance of 1e-3
        (absolute 1e-5). Otherwise ``"different"``.
    worst : str
        The name of the gradient that differs most in the first step with a difference, and the largest difference of
        its elements. If a tensor has a gradient only in the eager or only in the planned step, the text names this
        tensor instead. Empty if no gradient differs.
    buffers, loss : bool
        Whether the buffers and the loss (or the outputs) equal those of the eager steps: bitwise, or within the
        tolerance if ``gradients`` is ``"close"``.
    saved : bool
        Whether autograd held the storages that the plan saves, and no others, between the forward and backward pass.
    saved_bytes : int
        Bytes that the plan saves between the forward and backward pass, not rounded, without parameters and inputs.
    notes : tuple of str
        Remarks for the reader, for example that a smaller batch was used, or that other code in this process changed
        the model while the steps ran, so that the comparison is not reliable.
    """

    gradients: str
    worst: str
    buffers: bool
    loss: bool
    saved: bool
    saved_bytes: int
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether every check succeeded."""
        return self.gradients != "different" and self.buffers and self.loss and self.saved

    @property
    def text(self) -> str:
        """The results as one line of text."""
        if self.ok:
            close = f"equal to eager within rtol {RTOL:g}, atol {ATOL:g}; eager differs from itself"
            kind = "bitwise equal to eager" if self.gradients == "bitwise" else close
            return f"gradients, loss and buffers {kind}; {format_bytes(self.saved_bytes)} kept for backward, as planned"
        failed = [
            name
            for name, passed in (
                ("gradients", self.gradients != "different"),
                ("buffers", self.buffers),
                ("loss", self.loss),
                ("saved storages", self.saved),
            )
            if not passed
        ]
        worst = f" (worst: {self.worst})" if self.worst else ""
        return "; ".join([f"failed: {', '.join(failed)} differ from eager{worst}", *self.notes])

    def require(self) -> Certificate:
        """Return the certificate itself if every check succeeded.

        Raises
        ------
        CertificateError
            If a check failed.
        """
        if not self.ok:
            raise CertificateError(self.text + "; do not train with this plan, and please report the model", self)
        return self


def certify(
    trace: Trace, plan: Plan, *, change_parameters: bool = True, progress: Progress | None = None
) -> Certificate:
    """Check that training steps under a plan give the results of eager steps, and save the values that the plan keeps.

    Two training steps in a row run eagerly, and two run under the plan. Both pairs start from the same state. The
    second step of each pair has other inputs (real numbers scaled, integers in reverse order), other parameters (see
    ``change_parameters``) and other random numbers. If the model raises an error for the changed inputs, the second
    step uses the inputs of the first. The state of the model and of the batch is restored.

    If a step does not fit on the device, the batch is halved until it fits. A note of the certificate then gives both
    batch sizes. If the graph of the smaller batch has other nodes, the plan that keeps every value runs instead of
    ``plan``.

    Parameters
    ----------
    trace : Trace
        The traced training step. Its arguments are the batch of the first step.
    plan : Plan
    change_parameters : bool
        Whether the parameters are scaled while the second step runs. Pass False if other work in this process reads the
        parameters at the same time.
    progress : callable (done, total), optional
        Called before each training step. Raise :class:`recompviz.Cancelled` in it to stop.

    Returns
    -------
    Certificate
        The result of each check: gradients, buffers, loss, and the values saved between the passes. A check that fails
        raises no error; see :attr:`Certificate.ok` and :meth:`Certificate.require`.

    Raises
    ------
    CertificateError
        If the trace is estimated, so that its step cannot run.
    PlanMismatch
        If the plan is for another graph.
    TypeError
        If ``trace`` is not a trace, ``plan`` is not a plan, or ``change_parameters`` is not a bool.
    torch.OutOfMemoryError
        If not even one example fits on the device.

    Examples
    --------
    >>> import torch, recompviz as rv
    >>> model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 1))
    >>> t = rv.trace(model, torch.ones(4, 8), targets=(torch.zeros(4, 1),), loss=torch.nn.functional.mse_loss)
    >>> rv.certify(t, t.tradeoff().plan("1 MiB")).gradients
    'bitwise'
    """
    expect_trace(trace, "rv.certify(trace, plan)")
    expect_plan(plan)
    trace.check(plan)
    expect_flag(change_parameters, "change_parameters")
    if trace.estimated:
        raise CertificateError(
            "an estimated trace has no memory to run in; trace the model on its device, and certify that"
        )
    whole = batch_of(trace.arguments)
    used, used_plan = trace, plan
    while True:
        try:
            certificate = _compared(used, used_plan, change_parameters, progress)
        except torch.OutOfMemoryError:
            batch = batch_of(used.arguments) // 2
            if batch < 1:
                raise
            used = _of_batch(trace, batch)
            used_plan = _carried_over(plan, used)
            continue
        if used is trace:
            return certificate
        note = f"eager does not fit the device at batch {whole}: compared at batch {batch_of(used.arguments)}"
        return replace(certificate, notes=(*certificate.notes, note))


def batch_of(arguments: Any) -> int:
    """Return the batch size: the first dimension of the first tensor that has dimensions; 0 if there is none."""
    leaves = (leaf for leaf in pytree.tree_leaves(arguments) if isinstance(leaf, torch.Tensor) and leaf.dim())
    return next((int(leaf.shape[0]) for leaf in leaves), 0)


def _of_batch(trace: Trace, batch: int) -> Trace:
    """Trace the same step with the first ``batch`` examples of its batch."""
    whole = batch_of(trace.arguments)

    def first(leaf: Any) -> Any:
        if not isinstance(leaf, torch.Tensor) or not leaf.dim() or leaf.shape[0] != whole:
            return leaf
        return leaf.detach()[:batch].clone().requires_grad_(leaf.requires_grad)

    return trace_again(trace, pytree.tree_map(first, trace.arguments))


def _carried_over(plan: Plan, other: Trace) -> Plan:
    """Return the plan for the same step at another batch size; the keep-all plan if the graph has other nodes."""
    try:
        return plan.on(other.graph)
    except (PlanMismatch, ValueError):
        return other.baseline("keep-all")


def _compared(trace: Trace, plan: Plan, change_parameters: bool, progress: Progress | None) -> Certificate:
    planned = apply(trace, plan)
    notes: tuple[str, ...] = ()
    overwritten = {id(parameter) for parameter in overwritten_in(trace)}
    parameters = [parameter for parameter in trace.step.parameters() if id(parameter) not in overwritten]
    versions = [version_of(parameter) for parameter in parameters]

    def run_planned(arguments: Arguments) -> Any:
        inputs, kwargs, targets = arguments
        return planned(*inputs, *targets, **kwargs)

    steps = TwoSteps(trace, change_parameters, progress)
    eager = steps.eager()
    with one_at_a_time, warnings.catch_warnings():  # filters are of the process
        warnings.simplefilter("ignore", PlanWarning)  # a model that has changed fails the checks below
        ours = steps.under(run_planned, planned.saved_values)
    gradients, worst = "bitwise", ""
    if not _all_equal(eager, ours):
        again = steps.eager()
        worst = _worst(eager, ours)
        if not _all_equal(eager, again) and all(map(_close, eager, ours)):
            gradients = "close"
            notes += ("eager differs from itself: a kernel on this device is not deterministic",)
        elif not all(map(_equal_gradients, eager, ours)):
            gradients = "different"
            notes += () if _all_equal(eager, again) else (UNSTEADY,)
            notes += (difference,) if (difference := difference_from_eager(trace)) else ()
    if versions != [version_of(parameter) for parameter in parameters]:
        notes = (*(note for note in notes if note != UNSTEADY), TRAINED)
    tolerant = gradients == "close"
    return Certificate(
        gradients,
        worst,
        all(
            _same(x, y, tolerant)
            for a, b in zip(eager, ours, strict=True)
            for x, y in zip(a.buffers.values(), b.buffers.values(), strict=True)
        ),
        all(_same(a.loss, b.loss, tolerant) for a, b in zip(eager, ours, strict=True)),
        _saved_as_planned(planned, ours[1 if trace.after_first else 0].held),
        sum(trace.joint.storages[s].size for s in trace.schedule(plan).saved),
        notes,
    )


def _saved_as_planned(planned: PlannedModule, held: list[int] | None) -> bool:
    """Return whether the storages that autograd held between the passes are exactly those that the schedule saves."""
    schedule = planned.trace.schedule(planned.plan)
    storages = schedule.joint.storages
    expected = sorted((s, storages[s].size) for s in schedule.saved)
    if held is None:
        return False
    found = {
        (s, size) for s, size in zip(planned.program.saved_storages, held, strict=True) if s >= 0
    }  # several values of one operator may share a storage
    return sorted(found) == expected


def _same(a: torch.Tensor | None, b: torch.Tensor | None, tolerant: bool = False) -> bool:
    if not tolerant or a is None or b is None:
        return same_bits(a, b)
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    return torch.allclose(a, b, rtol=RTOL, atol=ATOL, equal_nan=True)


def _all_equal(a: list[StepResult], b: list[StepResult]) -> bool:
    return all(_equal_gradients(x, y) and _same(x.loss, y.loss) for x, y in zip(a, b, strict=True))


def _equal_gradients(a: StepResult, b: StepResult) -> bool:
    return all(_same(x, y) for x, y in zip(a.gradients.values(), b.gradients.values(), strict=True))


def _close(a: StepResult, b: StepResult) -> bool:
    return all(_same(x, y, True) for x, y in zip(a.gradients.values(), b.gradients.values(), strict=True))


def _worst(a: list[StepResult], b: list[StepResult]) -> str:
    """Describe the gradient that differs most, in the first step with a difference; empty if none differs."""
    for when, x, y in zip(("", " in the second step"), a, b, strict=True):
        if found := _worst_of_step(x, y):
            return found + when
    return ""


def _worst_of_step(a: StepResult, b: StepResult) -> str:
    differences = {
        name: float((x - y).abs().max())
        for (name, x), y in zip(a.gradients.items(), b.gradients.values(), strict=True)
        if x is not None and y is not None and not _same(x, y) and x.numel()
    }
    missing = [n for n in a.gradients if (a.gradients[n] is None) != (b.gradients[n] is None)]
    if missing:
        return f"{missing[0]} has a gradient in one run only"
    if not differences:
        return ""
    name = max(differences, key=lambda key: differences[key])
    return f"{name}, largest difference {differences[name]:.3g}"
