"""A stepper: scenes that are walked through forth and back, in the page alone.

All frames are sent once. The frame shown comes back to Python, so that the static picture of a saved notebook is the
step that the author left it at.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import traitlets

from recompviz.widgets.base.assets import esm
from recompviz.widgets.lessons.lesson import Lesson
from recompviz.widgets.lessons.scene import Scene


class Stepper(Lesson):
    """Scenes to step through; made by the verbs that name what is stepped.

    Parameters
    ----------
    scenes : sequence of Scene
        One tab each.
    label : str
        What is stepped, for those who do not see it.

    Attributes
    ----------
    scenes : tuple of Scene
    frame : int
        The step shown, counted from 0; settable.
    shown : int
        The tab shown; settable.
    """

    _esm = esm("lessons/stepper.js")

    _scenes: Any = traitlets.List().tag(sync=True)
    _label = traitlets.Unicode().tag(sync=True)
    _shown = traitlets.Int(0).tag(sync=True)
    _frame = traitlets.Int(0).tag(sync=True)

    def __init__(self, scenes: Sequence[Scene], label: str) -> None:
        self.scenes = tuple(scenes)
        super().__init__(_scenes=[scene.message() for scene in scenes], _label=label)

    @property
    def shown(self) -> int:
        """The tab shown."""
        return self._shown

    @shown.setter
    def shown(self, tab: int) -> None:
        if not 0 <= tab < len(self.scenes):
            raise ValueError(f"tab {tab} is not there; choose 0 to {len(self.scenes) - 1}")
        self._shown, self._frame = tab, 0

    @property
    def frame(self) -> int:
        """The step shown, counted from 0."""
        return self._frame

    @frame.setter
    def frame(self, frame: int) -> None:
        count = len(self.scenes[self._shown].frames)
        if not 0 <= frame < count:
            raise ValueError(f"step {frame} is not there; choose 0 to {count - 1}")
        self._frame = frame

    @property
    def _still(self) -> int:
        """The step of the static picture: the one shown or, before anyone has stepped, the scene's own choice."""
        scene = self.scenes[self._shown]
        return self._frame or scene.still % len(scene.frames)

    def to_svg(self) -> str:
        """The step shown as one static SVG picture."""
        return self.scenes[self._shown].to_svg(self._still, self.caption())

    def caption(self) -> str:
        """The sentence of the step shown."""
        scene = self.scenes[self._shown]
        return f"Step {self._still + 1} of {len(scene.frames)}. {scene.frames[self._still].caption}"

    def __repr__(self) -> str:
        return f"Stepper({self._label}, {self.scenes[self._shown].title}: {self.caption()})"
