"""A stepper: a widget that steps through scenes in both directions, without a kernel.

All frames are sent to the page when the widget is made. When the user steps, the page sends the number of the step to
the kernel. The static picture of the widget then shows this step.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import traitlets

from recompviz.core.base.files import make_folder, write_file
from recompviz.widgets.base.assets import esm
from recompviz.widgets.base.page_widget import whole_number
from recompviz.widgets.lessons.lesson import Lesson
from recompviz.widgets.lessons.scene import Scene


class Stepper(Lesson):
    """A widget that steps through scenes.

    A scene is a picture with steps. :func:`recompviz.step_strategy`, for example, makes a stepper.

    Parameters
    ----------
    scenes : sequence of Scene
        The scenes. If there are several, each has a tab.
    label : str
        Name of the stepper, for screen readers.
    predict : bool
        Whether the page asks the questions of a scene (its predictions) from the start. The reader can switch this off
        and on.

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
    _predict = traitlets.Bool(False).tag(sync=True)

    def __init__(self, scenes: Sequence[Scene], label: str, *, predict: bool = False) -> None:
        self.scenes = tuple(scenes)
        super().__init__(_scenes=[scene.message() for scene in scenes], _label=label, _predict=predict)

    def from_page(self, name: str, value: Any, state: Mapping[str, Any]) -> int:
        """Check a number of a tab or of a step that the page has sent; see :meth:`PageWidget.from_page`."""
        if name == "_shown":
            return whole_number(value, 0, len(self.scenes) - 1)
        return whole_number(value, 0, len(self.scenes[state.get("_shown", self._shown)].frames) - 1)

    @property
    def shown(self) -> int:
        """The number of the shown tab, counted from 0.

        Setting it shows step 0 of another tab. ``ValueError`` is raised if there is no such tab.
        """
        return self._shown

    @shown.setter
    def shown(self, tab: int) -> None:
        if not 0 <= tab < len(self.scenes):
            raise ValueError(f"there is no tab {tab}; choose 0 to {len(self.scenes) - 1}")
        self._shown, self._frame = tab, 0

    @property
    def frame(self) -> int:
        """The number of the shown step, counted from 0.

        Setting it shows another step of the same tab. ``ValueError`` is raised if there is no such step.
        """
        return self._frame

    @frame.setter
    def frame(self, frame: int) -> None:
        self._check_frame(frame)
        self._frame = frame

    def _check_frame(self, frame: int) -> None:
        count = len(self.scenes[self._shown].frames)
        if not 0 <= frame < count:
            raise ValueError(f"there is no step {frame}; choose 0 to {count - 1}")

    @property
    def _still(self) -> int:
        """The step in the static picture: the shown step; if that is 0, the scene's ``still``."""
        scene = self.scenes[self._shown]
        return self._frame or scene.still % len(scene.frames)

    @property
    def title(self) -> str:
        """The title of the page that :meth:`to_html` writes: the name of the stepper and the title of the shown tab."""
        return f"{self._label}: {self.scenes[self._shown].title}"

    def page_data(self) -> dict[str, Any]:
        """Return the data of a page without a kernel; see :meth:`Lesson.page_data`."""
        names = ("_scenes", "_label", "_shown", "_frame", "_predict")
        return {"kind": "stepper", "traits": {name: getattr(self, name) for name in names}}

    def to_svg(self, frame: int | None = None) -> str:
        """Return a static SVG picture of one step of the shown tab.

        Parameters
        ----------
        frame : int, optional
            The number of the step, counted from 0. Default: the shown step. If the shown step is step 0, the picture
            shows the step that the scene names for static pictures, ``Scene.still``.

        Raises
        ------
        ValueError
            If there is no such step.
        """
        if frame is None:
            return self.scenes[self._shown].to_svg(self._still, self.caption())
        self._check_frame(frame)
        scene = self.scenes[self._shown]
        return scene.to_svg(frame, scene.frames[frame].caption)

    def save_steps(self, folder: str | Path, steps: Iterable[int] | None = None) -> tuple[Path, ...]:
        """Write steps of the shown tab as SVG pictures, one file for each step, for example for slides.

        Parameters
        ----------
        folder : str or Path
            The folder of the files ``step-001.svg``, ``step-002.svg``, …. It is made if it does not exist.
        steps : iterable of int, optional
            The numbers of the steps, counted from 0. Default: all steps.

        Returns
        -------
        tuple of Path
            The files.

        Raises
        ------
        ValueError
            If there is no step of one of the numbers. Then no file is written.
        FileError
            If a file cannot be written. The error is also an OSError. Files written before stay.
        TypeError
            If ``folder`` is not a path.
        """
        chosen = range(len(self.scenes[self._shown].frames)) if steps is None else list(steps)
        pictures = {frame: self.to_svg(frame) for frame in chosen}
        folder = make_folder(folder)
        return tuple(write_file(folder / f"step-{frame + 1:03}.svg", text) for frame, text in pictures.items())

    def caption(self) -> str:
        """Return the number and the caption of the step in the static picture, as text. The first step has number 1."""
        scene = self.scenes[self._shown]
        return f"Step {self._still + 1} of {len(scene.frames)}. {scene.frames[self._still].caption}"

    def __repr__(self) -> str:
        return f"Stepper({self._label}, {self.scenes[self._shown].title}: {self.caption()})"
