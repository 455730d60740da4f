"""Decide which training steps are recorded, and warn if recordings fail again and again.

Steps are distinguished by their first region (captured graph). The first step is not recorded, because Dynamo allocates
memory of its own while it compiles. After three failed recordings, some steps run before the next attempt: 2, 4, 8 and
so on, at most 64.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from recompviz.pytorch.budgeting.step_recorder import Flaw
from recompviz.pytorch.internals.user_lines import warn_user

if TYPE_CHECKING:
    from recompviz.pytorch.executing.region import Region

# Training steps before the recorded one; while Dynamo compiles, it allocates memory of its own.
UNRECORDED_STEPS = 1
# After this many failed recordings, some steps run before the next one: 2, 4, 8 and so on.
MOST_FAILED = 3
# The most times that a recording is put off because a step of another model is being recorded. Then the other recording
# is stopped, because its step may never end.
MOST_DEFERRED = 3
# The most steps between two failed recordings.
LONGEST_WAIT = 64


class UnplannedStep(UserWarning):
    """Training steps do not run under the plans that would fit the total best. The message gives the reason.

    Steps that cannot be recorded run under plans of least peak, and steps that cannot be captured run eagerly. Other
    reasons are that a step or a forward pass without gradients takes more memory than the total, or that a step does
    not free gradients that the recorded step had freed.
    """


class RecordingAttempts:
    """Counts steps and failed recordings by the first region of the step, and says when the next recording is due.

    Attributes
    ----------
    flaw : Flaw or None
        The reason why the last recording of an unplanned step failed. None if it did not fail, or if it failed because
        the step had no backward pass.
    """

    def __init__(self) -> None:
        self.flaw: Flaw | None = None
        self._steps: Counter[Region] = Counter()  # unplanned steps that started
        self._failed: Counter[Region] = Counter()
        self._deferred: Counter[Region] = Counter()
        self._again: Counter[Region] = Counter()
        self._next: dict[Region, int] = {}  # the number of unplanned steps before the next recording
        self._warned_of: set[Flaw] = set()

    @property
    def failed(self) -> int:
        """The number of recordings that failed, for all first regions together."""
        return sum(self._failed.values())

    def forget(self, first: Region) -> None:
        """Drop the counts of a region that will not run again."""
        for counts in (self._steps, self._failed, self._deferred, self._again):
            counts.pop(first, None)
        self._next.pop(first, None)

    def is_due(self, first: Region, trained: bool) -> bool:
        """Return whether to record an unplanned step that starts now.

        Parameters
        ----------
        first : Region
            The first region of the step.
        trained : bool
            Whether a backward pass ran in the step before.
        """
        started = self._steps[first]
        waits = started < self._next.get(first, 0) and (self.flaw is not None or not trained)
        return started >= UNRECORDED_STEPS and not waits

    def note_step(self, first: Region) -> None:
        """Count an unplanned step that starts now.

        :meth:`is_due` must be called before, because it reads the count of the earlier steps.
        """
        self._steps[first] += 1

    def record_again(self, first: Region) -> None:
        """Let the next :data:`MOST_FAILED` planned steps that start with this region be recorded again."""
        self._again[first] = MOST_FAILED

    def is_due_again(self, first: Region) -> bool:
        """Return whether to record again a planned step that starts with this region."""
        return self._again[first] > 0

    def note_again(self, first: Region) -> None:
        """Note that a planned step is being recorded again."""
        self._again[first] -= 1

    def put_off(self, first: Region) -> bool:
        """Return whether a new recording has to wait, because a step of another model is being recorded.

        Call it only while a step of another model is being recorded. Each call that returns True counts as one wait. A
        recording waits at most :data:`MOST_DEFERRED` times in a row, and then begins.
        """
        if self._deferred[first] >= MOST_DEFERRED:
            self._deferred[first] = 0
            return False
        self._deferred[first] += 1
        return True

    def note_begin(self, first: Region) -> None:
        """Note that a recording begins. The count of :meth:`put_off` then starts from 0 again."""
        self._deferred[first] = 0

    def note_failure(self, first: Region, flaw: Flaw | None) -> None:
        """Decide how many steps with this first region run before one is recorded again.

        If at least :data:`MOST_FAILED` of their recordings failed, warn, once for each ``flaw``.

        Parameters
        ----------
        first : Region
            The first region of the step.
        flaw : Flaw or None
            The reason; None for a step without a backward pass, which needs no warning.
        """
        self.flaw = flaw
        self._failed[first] += 1
        wait = 2 ** (self._failed[first] + 1 - MOST_FAILED)
        self._next[first] = self._steps[first] + (min(wait, LONGEST_WAIT) if wait > 1 else 0)
        if flaw is not None and self._failed[first] >= MOST_FAILED:
            self._warn(
                flaw,
                f"training steps cannot be recorded, because {flaw.reason}; until one is, they run under plans of "
                f"least peak; {flaw.advice}",
            )

    def warn_of_mode(self, flaw: Flaw) -> None:
        """Warn that the model is called where it runs eagerly, for example in a transform of ``torch.func``.

        ``flaw`` says where. There is one warning for each flaw.
        """
        self._warn(flaw, f"training steps cannot be planned, because {flaw.reason}; {flaw.advice}")

    def _warn(self, flaw: Flaw, message: str) -> None:
        if flaw not in self._warned_of:
            self._warned_of.add(flaw)
            warn_user(message, UnplannedStep)
