"""What a student has answered in this session, and the score.

Every ``check`` and ``hint`` of an exercise is counted here, in memory only. ``rv.score()`` returns a frozen copy.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

#: The seed of an exercise: None for the graphs of the course.
Seed = int | str | None


@dataclass(frozen=True)
class Attempt:
    """The answers of one student to one exercise.

    Attributes
    ----------
    name : str
        Name of the exercise, for example ``"2.1"``.
    tries : int
        Number of answers, up to and including the first right one.
    hints : int
        The highest level of a hint that was read before the first right answer; 0 if no hint was read.
    right : bool
        Whether one of the answers was right.
    """

    name: str
    tries: int = 0
    hints: int = 0
    right: bool = False


@dataclass(frozen=True)
class Score:
    """How many exercises were solved. As the last value of a notebook cell, it shows a table.

    Attributes
    ----------
    attempts : tuple of Attempt
        One for each exercise of the course, in the order of the course.
    seed : int, str or None
        The seed of the exercises.
    """

    attempts: tuple[Attempt, ...]
    seed: Seed = None

    @property
    def points(self) -> int:
        """Number of exercises with a right answer."""
        return sum(attempt.right for attempt in self.attempts)

    @property
    def total(self) -> int:
        """Number of exercises."""
        return len(self.attempts)

    def __repr__(self) -> str:
        rows = [f"{self.points} of {self.total} exercises solved"]
        rows += [
            f"{a.name:>8} {_mark(a)} {_count(a.tries, 'answer')}, {_count(a.hints, 'hint')}" for a in self.attempts
        ]
        return "\n".join(rows)

    def _repr_markdown_(self) -> str:
        rows = [f"**{self.points} of {self.total} exercises solved**", "", "| exercise | solved | answers | hints |"]
        rows += ["|---|---|---|---|", *(f"| {a.name} | {_mark(a)} | {a.tries} | {a.hints} |" for a in self.attempts)]
        return "\n".join(rows)


def _mark(attempt: Attempt) -> str:
    return "✓" if attempt.right else "✗" if attempt.tries else "·"


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


# The record of this session. Frozen values are replaced, so a copy that a user holds does not change.
_attempts: dict[tuple[str, Seed], Attempt] = {}
# The hints that were read, also those after the first right answer.
_read: dict[tuple[str, Seed], int] = {}


def attempt_of(name: str, seed: Seed) -> Attempt:
    """Return how an exercise was answered so far. Before the first answer or hint, all counts are 0."""
    return _attempts.get((name, seed), Attempt(name))


def note_answer(name: str, seed: Seed, right: bool) -> None:
    """Count one answer. Answers after the first right one do not count."""
    old = attempt_of(name, seed)
    if not old.right:
        _attempts[name, seed] = replace(old, tries=old.tries + 1, right=right)


def note_hint(name: str, seed: Seed, hints: int) -> None:
    """Record that the hint of level ``hints`` was read. After a right answer, :attr:`Attempt.hints` stays unchanged."""
    old = attempt_of(name, seed)
    _read[name, seed] = max(hints_read(name, seed), hints)
    if not old.right:
        _attempts[name, seed] = replace(old, hints=max(old.hints, hints))


def hints_read(name: str, seed: Seed) -> int:
    """Return the highest level of a hint that was read, also after a right answer; 0 if no hint was read."""
    return _read.get((name, seed), 0)


def forget() -> None:
    """Forget all answers and hints of this session."""
    _attempts.clear()
    _read.clear()
