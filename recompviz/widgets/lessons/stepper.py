"""A stepper: a widget that steps through scenes in both directions, without a kernel.

All frames are sent to the page when the widget is made. The page sends the number of the shown step back, and the
static picture of the widget shows this step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import traitlets

from recompviz.widgets.base.assets import esm
from recompviz.widgets.base.page_widget import whole_number
from recompviz.widgets.lessons.lesson import Lesson
from recompviz.widgets.lessons.scene import Scene


class Stepper(Lesson):
    """A widget that steps through scenes.

    :func:`recompviz.step_strategy` and :func:`recompviz.step_programme` make steppers. A scene is a picture with steps.

    Parameters
    ----------
    scenes : sequence of Scene
        The scenes; each has a tab.
    label : str
        Name of the stepper, for screen readers.

    Attributes
    ----------
    scenes : tuple of Scene
        The scenes, in the order of the tabs.
    """

    _esm = esm("lessons/stepper.js")
    page_traits = ("_shown", "_frame")

    _scenes: Any = traitlets.List().tag(sync=True)
    _label = traitlets.Unicode().tag(sync=True)
    _shown = traitlets.Int(0).tag(sync=True)
    _frame = traitlets.Int(0).tag(sync=True)

    def __init__(self, scenes: Sequence[Scene], label: str) -> None:
        self.scenes = tuple(scenes)
        super().__init__(_scenes=[scene.message() for scene in scenes], _label=label)

    def from_page(self, name: str, value: Any, state: Mapping[str, Any]) -> int:
        """Return a checked tab or step from the page; see :class:`PageWidget`."""
        if name == "_shown":
            return whole_number(value, 0, len(self.scenes) - 1)
        return whole_number(value, 0, len(self.scenes[state.get("_shown", self._shown)].frames) - 1)

    @property
    def shown(self) -> int:
        """The shown tab, counted from 0. A new value shows another tab at step 0; a wrong one raises ``ValueError``."""
        return self._shown

    @shown.setter
    def shown(self, tab: int) -> None:
        if not 0 <= tab < len(self.scenes):
            raise ValueError(f"there is no tab {tab}; choose 0 to {len(self.scenes) - 1}")
        self._shown, self._frame = tab, 0

    @property
    def frame(self) -> int:
        """The shown step of the shown tab, counted from 0. It can be set; a wrong number raises ``ValueError``."""
        return self._frame

    @frame.setter
    def frame(self, frame: int) -> None:
        count = len(self.scenes[self._shown].frames)
        if not 0 <= frame < count:
            raise ValueError(f"there is no step {frame}; choose 0 to {count - 1}")
        self._frame = frame

    @property
    def _still(self) -> int:
        """The step in the static picture: the shown step; if that is 0, the scene's ``still``."""
        scene = self.scenes[self._shown]
        return self._frame or scene.still % len(scene.frames)

    def to_svg(self) -> str:
        """Return a static SVG picture of the shown step.

        At step 0, the picture shows the step number ``Scene.still`` instead, which each scene sets for this purpose.
        """
        return self.scenes[self._shown].to_svg(self._still, self.caption())

    def caption(self) -> str:
        """Return the number and the caption of the step that the static picture shows."""
        scene = self.scenes[self._shown]
        return f"Step {self._still + 1} of {len(scene.frames)}. {scene.frames[self._still].caption}"

    def __repr__(self) -> str:
        return f"Stepper({self._label}, {self.scenes[self._shown].title}: {self.caption()})"
