"""Base class of the lesson widgets: the style sheet, and a static picture for pages without a kernel."""

from __future__ import annotations

from typing import Any

import anywidget

from recompviz.widgets.base import assets, styles


def lesson_css() -> str:
    """The style sheet of the lessons."""
    own = (assets.HERE / "css" / "lessons" / "lessons.css").read_text(encoding="utf-8")
    return "\n".join([assets.colours(".rv-teach"), styles.style_sheet(), own])


class Lesson(anywidget.AnyWidget):
    """A widget with a static picture and a caption."""

    _css = lesson_css()

    def to_svg(self) -> str:
        """The lesson as one static SVG picture."""
        raise NotImplementedError

    def caption(self) -> str:
        """A description of the picture in one or two sentences."""
        raise NotImplementedError

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle = super()._repr_mimebundle_(**kwargs)
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle or {}, {})
        picture = self.to_svg()
        return {**data, "text/plain": repr(self), "text/html": picture, "image/svg+xml": picture}, metadata
