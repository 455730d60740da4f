"""Faults injected into the public functions that get a model, an optimizer or a trace.

A fault is an exception, an interrupt or a lack of memory. It is raised at a random line of recompviz, at a random
operator, or in the user's own code. Afterwards, the fingerprint of the user's objects and of the process must be the
same as before the call. An interrupt and the user's own exception must reach the caller unchanged. The function must
work when it is called again. No temporary file may be left.
"""

from __future__ import annotations

import gc
import random
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import torch

import recompviz as rv
from recompviz.benchmarks.faults import injection
from recompviz.benchmarks.faults.cases import Tally
from recompviz.benchmarks.faults.counts import FaultCount
from recompviz.benchmarks.faults.fingerprint import Fingerprint, differences, fingerprint
from recompviz.benchmarks.faults.subjects import SUBJECTS, Subject, made
from recompviz.core.base.errors import RecompvizError
from recompviz.pytorch.internals.dynamo import forget_graphs
from recompviz.widgets.explorer.explore_model import TraceRunner

ERRORS: tuple[type[BaseException], ...] = (injection.Fault, KeyboardInterrupt, MemoryError)
# the share of faults after which the function is called again, besides those that did harm
AGAIN = 0.3
WRONG_KEPT = 20  # texts about faults that did harm, for each row


@dataclass(eq=False)
class Prepared:
    """A subject, and other objects that public functions take.

    Attributes
    ----------
    subject : Subject
    trace : Trace or None
        None if the model cannot be traced.
    planned : PlannedModule or None
    compiled : torch.nn.Module or None
        A small model that was compiled and trained for three steps.
    to_compile : Subject or None
        A second copy of the subject, to be compiled by ``rv.compile``.
    points : dict
        (function, kind of fault) → the number of points at which a call can raise the fault.
    """

    subject: Subject
    trace: Any = None
    planned: Any = None
    compiled: Any = None
    to_compile: Subject | None = None
    points: dict[tuple[str, str], int] = field(default_factory=dict)

    def fingerprint(self) -> Fingerprint:
        """Return the fingerprint of the user's objects and of the process; see :func:`.fingerprint.fingerprint`."""
        compiled = {} if self.to_compile is None else self.to_compile.values()
        return fingerprint({**self.subject.values(), **{f"compiled {name}": value for name, value in compiled.items()}})


Verb = Callable[[Prepared], Any]


def _step(p: Prepared, optimizer: bool = True) -> tuple[tuple[Any, ...], dict[str, Any]]:
    s = p.subject
    return (s.model, *s.inputs), {
        "targets": s.targets, "loss": s.loss, **({"optimizer": s.optimizer} if optimizer else {}),
    }  # fmt: skip


def _call(function: Callable[..., Any], **more: Any) -> Verb:
    def run(p: Prepared) -> Any:
        arguments, named = _step(p)
        return function(*arguments, **named, **more)

    return run


def _explore(p: Prepared) -> Any:
    arguments, named = _step(p)
    explorer = rv.explore(*arguments, **named, baselines=())
    explorer.wait_for_plans()
    return explorer


def _measure_planned(p: Prepared) -> Any:
    return rv.measure(p.planned, *p.subject.inputs, targets=p.subject.targets, optimizer=p.subject.optimizer)


def _compile(p: Prepared) -> Any:
    assert p.to_compile is not None
    return rv.compile(p.to_compile.model, total="1 MiB", optimizer=p.to_compile.optimizer)


# name → function; those from "calibrate" on need a trace
VERBS: dict[str, Verb] = {
    "trace": _call(rv.trace),
    "measure": _call(rv.measure),
    "debug": _call(rv.debug, advise=False),
    "debug with advice": _call(rv.debug),
    "fit_in": _call(rv.fit_in, total="1 MiB"),
    "explore": _explore,
    "compile": _compile,
    "step_report": lambda p: rv.step_report(p.compiled),
    "calibrate": lambda p: rv.calibrate(p.trace, fresh=True),
    "certify": lambda p: rv.certify(p.trace, p.trace.baseline("chen")),
    "measure of a planned module": _measure_planned,
    "apply": lambda p: rv.apply(p.trace, p.trace.baseline("chen")),
    "Run of the Explorer": lambda p: TraceRunner(p.trace).run(p.trace.baseline("chen"), lambda *_: None),
    "explain_gap": lambda p: rv.explain_gap(p.trace, p.trace.baseline("chen")),
    "simulate": lambda p: rv.simulate(p.trace),
    "checkpoint_policy": lambda p: rv.checkpoint_policy(p.trace.baseline("chen")),
    "memory_policy": lambda p: rv.memory_policy(p.trace.baseline("chen")),
}
# functions that need a trace
OF_TRACE = tuple(VERBS)[tuple(VERBS).index("calibrate") :]
# functions that run the second step with the first batch if it raises an error with another batch
RETRY = ("certify", "Run of the Explorer")
# faults of each function relative to the others: functions that run steps get the most, slow functions the least
WEIGHTS = {
    "measure": 1.5, "certify": 1.5, "trace": 0.8, "debug": 0.4, "debug with advice": 0.15, "fit_in": 0.4,
    "explore": 0.4, "step_report": 0.5, "explain_gap": 0.5, "simulate": 0.3, "checkpoint_policy": 0.3,
    "memory_policy": 0.3, "apply": 0.5,
}  # fmt: skip


def run(count: int, seed: int) -> list[FaultCount]:
    """Inject ``count`` faults; return a row for each function and kind of fault."""
    chosen = random.Random(seed)
    tally = Tally()
    with own_folders() as folder:
        subjects = {name: prepared(name) for name in SUBJECTS}
        for one in subjects.values():
            one.points = next(iter(subjects.values())).points  # the numbers differ little
        _freeze()
        names = list(VERBS)
        while tally.total < count:
            verb = chosen.choices(names, [WEIGHTS.get(name, 1.0) for name in names])[0]
            subject = chosen.choice(list(subjects))
            if not usable(verb, subjects[subject]):
                continue
            kind, error = chosen.choice(list(KINDS)), chosen.choice(ERRORS)
            faulty = inject(verb, subjects[subject], kind, error, chosen, folder)
            if faulty is None:
                continue
            tally.add(verb, f"{_named(error)} {kind}", f"{subject}: {' | '.join(faulty)}" if faulty else None)
            if faulty:
                subjects[subject] = prepared(subject)
            if tally.total % 100 == 0:
                forget_graphs()
                for one in subjects.values():
                    _train_compiled(one)
                _freeze()
    return sorted(tally.rows(), key=lambda row: (row.subject, row.kind))


def _freeze() -> None:
    """Let the garbage collections inside recompviz leave out all present objects, which would take most of the time."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def prepared(name: str) -> Prepared:
    """Make the subject of this name, and the other objects that public functions take."""
    found = Prepared(made(name))
    arguments, named = _step(found)
    try:
        trace = rv.trace(*arguments, **named)
    except RecompvizError:
        pass  # a model that cannot be traced
    else:
        found.trace = rv.calibrate(trace)
        found.planned = rv.apply(found.trace, found.trace.baseline("chen"))
    found.to_compile = made(name)
    _compile(found)  # the first call marks the model and its layers as compiled
    model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
    found.compiled = rv.compile(model, total="1 MiB")
    _train_compiled(found)
    return found


def _train_compiled(p: Prepared) -> None:
    """Train the compiled model until a step is recorded."""
    for _ in range(3):
        p.compiled(torch.ones(4, 8)).sum().backward()


def usable(verb: str, p: Prepared) -> bool:
    """Return whether a function (a key of ``VERBS``) can be called with a subject."""
    return verb not in OF_TRACE or p.trace is not None


@contextmanager
def own_folders() -> Iterator[Path]:
    """In a ``with`` block, let files be written to a new folder."""
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.dict("os.environ", RECOMPVIZ_CACHE=folder),
        mock.patch.object(tempfile, "tempdir", folder),
    ):
        yield Path(folder)


# -------------------------------------------------------------------- one fault

# kind of fault → the class that counts its points
KINDS: dict[str, type[injection.Counter] | None] = {
    "at a line": injection.Lines,
    "at an operator": injection.Operators,
    "in code of the user": injection.UserCode,
    "in forward, while captured": None,
}


def inject(
    verb: str, p: Prepared, kind: str, error: type[BaseException], chosen: random.Random, folder: Path
) -> list[str] | None:
    """Inject one fault at a random point of one call.

    Parameters
    ----------
    verb, kind : str
        A key of ``VERBS``, and a key of ``KINDS``.
    p : Prepared
    error : type of exception
        The fault.
    chosen : random.Random
        Chooses the point.
    folder : Path
        The folder of :func:`own_folders`, in which no new file may be left.

    Returns
    -------
    list of str or None
        What went wrong, empty if nothing did; None if no fault was injected, because the call has no such point.
    """
    if KINDS[kind] is None:
        return _in_forward(verb, p, error, chosen, folder)
    counting: Any = KINDS[kind]
    if (verb, kind) not in p.points:
        with counting() as counter:
            outcome(VERBS[verb], p)
        p.points[verb, kind] = counter.count
    points = p.points[verb, kind]
    if not points:
        return None
    at = chosen.randrange(points)
    before, files = p.fingerprint(), _temporary(folder)
    with counting(at, error) as counter:
        raised = outcome(VERBS[verb], p)
    if not counter.where:
        return None
    found = differences(before, p.fingerprint())
    found += [f"left {name}" for name in sorted(_temporary(folder) - files)]
    return _judged(verb, p, raised, error, kind, f"point {at}, {counter.where}", found, chosen)


def _in_forward(
    verb: str, p: Prepared, error: type[BaseException], chosen: random.Random, folder: Path
) -> list[str] | None:
    if verb in OF_TRACE or verb in ("compile", "step_report"):
        return None  # the layer is not captured
    layer = chosen.choice(p.subject.layers)
    layer.error = error
    before, files = p.fingerprint(), _temporary(folder)
    raised = outcome(VERBS[verb], p)
    found = differences(before, p.fingerprint())
    layer.error = None
    found += [f"left {name}" for name in sorted(_temporary(folder) - files)]
    return _judged(verb, p, raised, error, "in forward, while captured", "a layer", found, chosen)


def _judged(
    verb: str, p: Prepared, raised: BaseException | None, error: type[BaseException], kind: str, where: str,
    found: list[str], chosen: random.Random,
) -> list[str]:  # fmt: skip
    """Add to the differences what is wrong with the exception, and call the function again."""
    users = kind in ("in code of the user", "in forward, while captured") and verb not in RETRY
    if not _comes_through(raised, error, users):
        found.append(f"raised {_text(raised)}")
    if found or chosen.random() < AGAIN:
        again = outcome(VERBS[verb], p)
        if _kind_of(again) != _expected(verb, p):
            found.append(f"called again, it raised {_text(again)}")
    return [f"{where}: {text}" for text in found]


def _comes_through(raised: BaseException | None, error: type[BaseException], users: bool) -> bool:
    """Return whether the exception that a call raised is right for the fault in it."""
    if type(raised) is error:
        return True
    if error is KeyboardInterrupt or users:
        return False
    # code with a fallback for errors of all kinds, or an error of recompviz that names this one as its cause
    return raised is None or (error is injection.Fault and isinstance(raised, RecompvizError))


def outcome(verb: Verb, p: Prepared) -> BaseException | None:
    """Call a public function with a subject; return the exception that it raised, or None."""
    try:
        verb(p)
    except BaseException as error:  # also an injected interrupt; the caller judges the type
        return error.with_traceback(None) if isinstance(error, RecompvizError) else error
    return None


def _expected(verb: str, p: Prepared) -> str:
    """Return the type of the error that a function raises for a subject without a fault; empty if it raises none."""
    if p.trace is None and verb in ("trace", "fit_in", "explore"):
        return "TraceError"
    return ""


def _kind_of(raised: BaseException | None) -> str:
    return "" if raised is None else type(raised).__name__


def _text(raised: BaseException | None) -> str:
    if raised is None:
        return "nothing"
    frames = traceback.extract_tb(raised.__traceback__)
    at = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(raised).__name__}: {str(raised).strip()[:160]!r}{at}"


def _temporary(folder: Path) -> set[str]:
    """Return the names of the files in a folder, without those of finished caches."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.suffix != ".json"}


def _named(error: type[BaseException]) -> str:
    return "exception" if error is injection.Fault else error.__name__
