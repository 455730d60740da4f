"""The exercises of the course: fourteen questions, each about one small graph.

With a seed for each student, the students get different questions. :func:`quiz` asks questions of the same kinds about
any small graph. :mod:`recompviz.core.teaching.judges` checks the answers. Every correct answer is accepted. The
feedback on a wrong answer gives the reason.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, overload

from recompviz.core.base.arguments import expect
from recompviz.core.base.errors import RecompvizError
from recompviz.core.graphs.graph import Graph
from recompviz.core.teaching import questions, record
from recompviz.core.teaching.answers import Feedback
from recompviz.core.teaching.judges import Judge
from recompviz.core.teaching.questions import Poser
from recompviz.core.teaching.record import Score, Seed
from recompviz.core.teaching.small_graphs import even_chain, graph_of, small_graph
from recompviz.core.teaching.varied_graphs import random_graph, with_other_sizes

# name → graph of the course, and the function that asks about it
_COURSE: dict[str, tuple[str, Poser]] = {
    "1.1": ("inception", questions.ask_boundary),
    "1.2": ("u-net", questions.ask_count),
    "1.3": ("u-net", questions.ask_closure),
    "1.4": ("branches", questions.ask_largest_boundary),
    "2.1": ("diamond", questions.ask_overhead),
    "2.2": ("diamond", questions.ask_peak),
    "2.3": ("chain", questions.ask_least_peak),
    "2.4": ("residual", questions.ask_one_recomputation),
    "3.1": ("chain", questions.ask_table_cell),
    "3.2": ("chain", questions.ask_memory_centric),
    "3.3": ("residual", questions.ask_time_centric),
    "4.1": ("branches", questions.ask_beyond_the_family),
    "4.2": ("even chain", questions.ask_even_chain),
    "4.3": ("inception", questions.ask_most_useful_value),
}
_TITLES = {"u-net": "U-Net.", "residual": "Residual blocks."}
# Random graphs that are drawn before a question is given up.
_DRAWS = 400


@dataclass(frozen=True, eq=False)
class Exercise:
    """A question about a small graph.

    Attributes
    ----------
    name : str
        For example ``"1.2"``, the second exercise of notebook 1, or ``"quiz 1"``.
    question : str
        The question, as shown in the notebook.
    graph : Graph
        The graph of the question; ``rv.playground(exercise.graph)`` draws it.
    judge : callable (graph, answer) → Feedback
        Decides whether an answer is right.
    hints : tuple of str
        Hints, from the most general to the most specific one. None of them contains the answer.
    seed : int, str or None
        The seed from which the question was chosen; None for the question of the course.
    """

    name: str
    question: str
    graph: Graph
    judge: Judge
    hints: tuple[str, ...] = ()
    seed: Seed = None

    def check(self, answer: Any) -> Feedback:
        """Check an answer to the question. For an exercise of the course, :func:`score` counts the answer.

        Parameters
        ----------
        answer : set of node names, list of sets, number, node name, Plan or Playground
            The question says what is expected. A number may have any type. A Playground stands for its chosen set or
            sequence.

        Returns
        -------
        Feedback
            ``.right`` says whether the answer is right, ``.text`` gives the reason. An answer that cannot be read
            counts as a wrong answer.

        Examples
        --------
        >>> exercise("1.1").check({"a"})
        ✗ The boundary of {a} is {a}, not {a, d}.
        >>> exercise("1.1").check("acd")
        ✓ {a, c, d} is a lower set, and its boundary is {a, d}.
        """
        try:
            feedback = self.judge(self.graph, answer)
        except (RecompvizError, ValueError) as error:
            feedback = Feedback(False, str(error))
        record.note_answer(self.name, self.seed, feedback.right)
        return feedback

    def hint(self, level: int | None = None) -> str:
        """Return a hint as text. If the exercise is solved, the text begins with "Already solved."

        For an exercise of the course, :func:`score` shows the highest level that was read before the first right
        answer.

        Parameters
        ----------
        level : int, optional
            1 for the first and most general hint. Default: the next hint that was not read yet. If all were read, the
            last hint.

        Returns
        -------
        str

        Raises
        ------
        ValueError
            If there is no hint of this level.

        Examples
        --------
        >>> exercise("1.3").hint(1)
        'With a node, a lower set contains everything that the node is computed from.'
        """
        if level is None:
            level = min(record.hints_read(self.name, self.seed) + 1, len(self.hints))
        if isinstance(level, bool) or not isinstance(level, int) or not 1 <= level <= len(self.hints):
            raise ValueError(f"there is no hint {level!r} of exercise {self.name}; write 1 to {len(self.hints)}")
        record.note_hint(self.name, self.seed, level)
        solved = record.attempt_of(self.name, self.seed).right
        return f"Already solved. {self.hints[level - 1]}" if solved else self.hints[level - 1]

    def __repr__(self) -> str:
        return f"Exercise {self.name}. {self.question}"

    def _repr_markdown_(self) -> str:
        text = f"**Exercise {self.name}.** {self.question}"
        if self.seed is not None and self.name in _COURSE:
            text += f" `rv.playground(rv.exercise({self.name!r}, seed={self.seed!r}).graph)` draws the graph."
        return text


class Exercises(Sequence[Exercise]):
    """A list of exercises. As the last value of a notebook cell, it shows their questions.

    An exercise is found by its position, as in ``exercises[0]``, or by its name, as in ``exercises["1.1"]``.
    """

    def __init__(self, exercises: Sequence[Exercise]) -> None:
        self._all = tuple(exercises)

    def __len__(self) -> int:
        return len(self._all)

    @overload
    def __getitem__(self, key: int | str) -> Exercise: ...
    @overload
    def __getitem__(self, key: slice) -> Exercises: ...
    def __getitem__(self, key: int | str | slice) -> Exercise | Exercises:
        if isinstance(key, slice):
            return Exercises(self._all[key])
        if isinstance(key, str):
            found = next((exercise for exercise in self._all if exercise.name == key), None)
            if found is None:
                names = ", ".join(exercise.name for exercise in self._all)
                raise KeyError(f"there is no exercise {key!r}; there are {names}")
            return found
        return self._all[key]

    def __repr__(self) -> str:
        return "\n".join(map(repr, self._all))

    def _repr_markdown_(self) -> str:
        rows = [f"- **{e.name}** {e.question}" for e in self._all]
        seeds = {e.seed for e in self._all if e.name in _COURSE and e.seed is not None}
        rows += [f"\n`rv.playground(rv.exercise(name, seed={seed!r}).graph)` draws a graph." for seed in seeds]
        return "\n".join(rows)


def exercise(name: str, seed: Seed = None) -> Exercise:
    """Return an exercise of the course.

    Parameters
    ----------
    name : str
        The numbers of a notebook and of an exercise, from ``"1.1"`` to ``"4.3"``.
    seed : int or str, optional
        For example the number of a student. It chooses another question of the same kind. In notebook 1, this question
        is about a random graph. In the other notebooks, it is about the course's graph with other sizes and costs. In
        4.2, only the number in the question changes. The same seed gives the same exercise on every machine. Default:
        the question of the course.

    Returns
    -------
    Exercise
        As the last value of a notebook cell, it shows its question. ``.check(answer)`` checks an answer, ``.hint()``
        gives a hint.

    Raises
    ------
    ValueError
        If there is no exercise of this name. The message lists all names.
    TypeError
        If ``name`` is not a str, or ``seed`` is neither an int nor a str.

    Examples
    --------
    >>> exercise("2.1")
    Exercise 2.1. Diamond. Sequence ∅ ⊊ {a} ⊊ {a, b, c, d} ⊊ V. What is its overhead? Answer with a number.
    >>> exercise("2.1", seed=7).question == exercise("2.1", seed=8).question
    False
    """
    expect(name, str, "name", "the name of an exercise", 'write for example "2.1"')
    _expect_seed(seed)
    if name not in _COURSE:
        raise ValueError(f"there is no exercise {name!r}; there are {', '.join(_COURSE)}")
    return _made(name, seed)


def exercises(seed: Seed = None) -> Exercises:
    """Return all exercises, in the order of the course.

    Parameters
    ----------
    seed : int or str, optional
        As for :func:`exercise`.

    Returns
    -------
    Exercises
        A list. As the last value of a notebook cell, it shows the questions.

    Raises
    ------
    TypeError
        If ``seed`` is neither an int nor a str.

    Examples
    --------
    >>> len(exercises()), exercises()[0].name, exercises()["4.3"].name
    (14, '1.1', '4.3')
    """
    _expect_seed(seed)
    return Exercises([_made(name, seed) for name in _COURSE])


def quiz(graph: Graph | str, seed: Seed = 0) -> Exercises:
    """Return questions about any small graph, for example one that a lecturer has made.

    Parameters
    ----------
    graph : Graph or str
        A graph with at least one node and at most 80 lower sets, or the name of a small graph of the course.
    seed : int or str
        Chooses the nodes, sequences and budgets of the questions.

    Returns
    -------
    Exercises
        The exercises ``"quiz 1"``, ``"quiz 2"``, …, in the order of the course. A kind of question is left out if it
        gives no interesting question about this graph. :func:`score` does not count these exercises.

    Raises
    ------
    ValueError
        If the graph has no node or more than 80 lower sets, if no question can be asked about it, or if there is no
        small graph of this name.
    TypeError
        If ``graph`` is neither a graph nor a str, or ``seed`` is neither an int nor a str.

    Examples
    --------
    >>> graph = Graph.from_edges([("in", "left"), ("in", "right"), ("left", "out"), ("right", "out")],
    ...                          memory={"in": 4, "left": 3, "right": 2, "out": 1})
    >>> asked = quiz(graph)
    >>> asked[0]
    Exercise quiz 1. Find a lower set whose boundary is {left, right}.
    >>> asked[0].check({"in", "left", "right"}).right
    True
    """
    _expect_seed(seed)
    graph = graph_of(graph)
    if not len(graph):
        raise ValueError("the graph has no node to ask about; give a graph with at least one node")
    if not questions.has_few_lower_sets(graph):
        raise ValueError(
            f"the graph has more than {questions.MOST_LOWER_SETS} lower sets; give a smaller one, for example one block"
        )
    found: list[Exercise] = []
    for kind, (_, pose) in _COURSE.items():
        posed = None if pose is questions.ask_even_chain else pose(graph, "", random.Random(f"{seed}/{kind}"))
        if posed is not None:
            name = f"quiz {len(found) + 1}"
            found.append(Exercise(name, posed.question.strip(), graph, posed.judge, posed.hints, f"quiz {seed}"))
    if not found:
        raise ValueError(f"there is no interesting question about a graph of {len(graph)} nodes; give a larger one")
    return Exercises(found)


def score(seed: Seed = None) -> Score:
    """Return how many exercises of the course were solved in this session.

    Parameters
    ----------
    seed : int or str, optional
        The seed that the exercises were made with. Default: the exercises made without a seed.

    Returns
    -------
    Score
        ``.points`` exercises of ``.total`` have a right answer. As the last value of a notebook cell, it shows a
        table with the numbers of answers and hints.

    Raises
    ------
    TypeError
        If ``seed`` is neither an int nor a str.

    Examples
    --------
    >>> exercise("1.1", seed="docs").check("a").right, score("docs").points, score("docs").total
    (False, 0, 14)
    """
    _expect_seed(seed)
    return Score(tuple(record.attempt_of(name, seed) for name in _COURSE), seed)


def _expect_seed(seed: Seed) -> None:
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, (int, str))):
        raise TypeError(f"expected an int or a str as seed, got {seed!r}; write for example seed=7")


@cache
def _made(name: str, seed: Seed) -> Exercise:
    kind, pose = _COURSE[name]
    if seed is None:
        graph = even_chain(16) if kind == "even chain" else small_graph(kind)
        posed = pose(graph, _TITLES.get(kind, f"{kind.capitalize()}."), None)
        assert posed is not None
        return Exercise(name, posed.question, graph, posed.judge, posed.hints)
    chance = random.Random(f"{seed}/{name}")
    for graph in _drawn(name, kind, chance):
        posed = pose(graph, "", chance)
        if posed is not None:
            return Exercise(name, posed.question.strip(), graph, posed.judge, posed.hints, seed)
    raise AssertionError(f"no graph was found for exercise {name} with seed {seed!r}")


def _drawn(name: str, kind: str, chance: random.Random) -> Iterator[Graph]:
    """Iterate over graphs for an exercise with a seed: random shapes for notebook 1, random sizes for the others."""
    for _ in range(_DRAWS):
        if kind == "even chain":
            yield even_chain(16)
        elif name.startswith("1."):
            yield random_graph(chance)
        else:
            yield with_other_sizes(small_graph(kind), chance)
