"""A race: the memory of one training step under several methods, over time, under one out-of-memory line."""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from recompviz.core.base.arguments import expect
from recompviz.core.base.files import write_file
from recompviz.core.base.rendering import render
from recompviz.core.base.units import format_bytes, format_time
from recompviz.core.steps.timeline import Timeline

if TYPE_CHECKING:
    from numpy.typing import NDArray

SUFFIXES = (".svg", ".html")


@dataclass(frozen=True, eq=False)
class Racer:
    """One method in a :class:`Race`; frozen.

    Attributes
    ----------
    name : str
        The name of the method, to be shown.
    detail : str
        What the method does in this training step.
    timeline : Timeline
        The memory under this method, measured or simulated.
    step : float or None
        The time of a training step under this method, in milliseconds; None if it is not known.
    shares : numpy.ndarray of float64, shape (#steps,)
        The time at which each step of the timeline ends, as a share of the time of the training step, from 0 to 1.

    Raises
    ------
    ValueError
        If ``shares`` does not have one entry for each step of ``timeline``.
    """

    name: str
    detail: str
    timeline: Timeline
    step: float | None
    shares: NDArray[np.float64]

    def __post_init__(self) -> None:
        if len(self.shares) != len(self.timeline.phases):
            raise ValueError(
                f"{self.name} has {len(self.shares)} shares of time, expected one for each of the "
                f"{len(self.timeline.phases)} steps of its timeline"
            )

    @property
    def peak(self) -> int:
        """The peak of the memory, in total bytes."""
        return self.timeline.peak


@dataclass(frozen=True, eq=False)
class Race:
    """Several methods that run one training step, and the bytes that the step may take; frozen.

    A notebook shows a race as a moving picture.

    Attributes
    ----------
    racers : tuple of Racer
    total : int
        The largest number of bytes that the step may take: the out-of-memory line.
    title : str
        The name of the model.
    device : str
        The name of the device, to be shown.
    notes : tuple of str
        What the reader should know, for example which method could not run.
    """

    racers: tuple[Racer, ...]
    total: int
    title: str
    device: str
    notes: tuple[str, ...] = ()

    def fits(self, racer: Racer) -> bool:
        """Return whether the peak of a method is at most the total."""
        return racer.peak <= self.total

    def extra(self, racer: Racer) -> float | None:
        """Return the extra time of a step, compared with the first method, as a share: 0.08 for 8 % more time.

        The result is None if the time of one of the two methods is not known.
        """
        first = self.racers[0].step
        return None if racer.step is None or not first else racer.step / first - 1

    def result(self, racer: Racer) -> str:
        """Return the figures of a method as text, such as ``"431 MiB · 62.0 ms, +8 %"``."""
        time = "" if racer.step is None else f" · {format_time(racer.step)}"
        extra = self.extra(racer)
        if racer is not self.racers[0] and extra is not None:
            time += f", {extra:+.0%}".replace("%", " %")
        over = "" if self.fits(racer) else f" · out of memory, {format_bytes(racer.peak - self.total)} over"
        return f"{format_bytes(racer.peak)}{time}{over}"

    @property
    def sentence(self) -> str:
        """The fastest method that fits the total, and the methods that do not fit, in one sentence.

        If the time of no fitting method is known, the sentence names all methods that fit. If no method fits, it says
        only that.
        """
        fitting = [racer for racer in self.racers if self.fits(racer)]
        if not fitting:
            return f"no method fits {format_bytes(self.total)}"
        best = min(fitting, key=lambda racer: (racer.step is None, racer.step or 0.0))
        out = [racer.name for racer in self.racers if not self.fits(racer)]
        lost = f"; out of memory: {', '.join(out)}" if out else ""
        if best.step is None:
            return f"within {format_bytes(self.total)}: {', '.join(racer.name for racer in fitting)}{lost}"
        return f"fastest within {format_bytes(self.total)}: {best.name}, {format_time(best.step)}{lost}"

    @property
    def text(self) -> str:
        """The race as a table of text."""
        kinds = {racer.timeline.kind for racer in self.racers}
        head = f"{self.title} on {self.device}, memory {' and '.join(sorted(kinds))}, total {format_bytes(self.total)}"
        width = max(len(racer.name) for racer in self.racers)
        rows = [f"  {racer.name:<{width}}  {self.result(racer)}  ({racer.detail})" for racer in self.racers]
        return "\n".join([head, *rows, self.sentence, *self.notes])

    def __repr__(self) -> str:
        return self.text

    def svg(self, dark: bool | None = False, loop: bool = True) -> str:
        """Return the race as an SVG picture in which the time of the step passes.

        Parameters
        ----------
        dark : bool or None
            Whether the background is dark. If None, the settings of the reader's system decide.
        loop : bool
            Whether the picture moves, again and again. It stands still for readers who prefer reduced motion, and in
            programs that show no motion; it then shows the end.
        """
        return str(render("race_svg", self, dark, loop))

    def save(self, path: str | os.PathLike[str], dark: bool | None = None) -> None:
        """Write the race to a file: a moving picture for slides (``.svg``), or a page with a slider (``.html``).

        Both work offline. For readers who prefer reduced motion, both stand still and show the whole race.

        Parameters
        ----------
        path : str or path
            The file. Its name ends in ``.svg`` or ``.html``, and the ending decides what is written.
        dark : bool or None
            Whether the background is dark. If None, the settings of the reader's system decide.

        Raises
        ------
        TypeError
            If ``path`` is neither a string nor a path.
        ValueError
            If the path has another ending.
        FileError
            If the file cannot be written.
        """
        expect(path, (str, os.PathLike), "path", "the path of a file")
        ending = os.path.splitext(os.fspath(path))[1].lower()
        if ending not in SUFFIXES:
            raise ValueError(f"the path {os.fspath(path)!r} ends with {ending!r}; choose {' or '.join(SUFFIXES)}")
        write_file(path, render("race_svg" if ending == ".svg" else "race_page", self, dark))

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, str]:
        # an image: JupyterLab removes SVG elements from notebooks that are not trusted, but not images
        del kwargs
        data = base64.b64encode(self.svg().encode()).decode()
        picture = f'<img alt="{escape(self.text)}" style="max-width:100%" src="data:image/svg+xml;base64,{data}">'
        return {"text/plain": self.text, "text/html": picture}
