"""The base class of the lesson widgets. It adds a style sheet, and a static picture for pages without a kernel."""

from __future__ import annotations

from typing import Any

from recompviz.widgets.base import assets, styles
from recompviz.widgets.base.page_widget import PageWidget


def lesson_css() -> str:
    """Return the style sheet of the lessons: colours, styles of pictures, and ``css/lessons/lessons.css``."""
    own = (assets.HERE / "css" / "lessons" / "lessons.css").read_text(encoding="utf-8")
    return "\n".join([assets.colours(".rv-teach"), styles.style_sheet(), own])


class Lesson(PageWidget):
    """A widget that can also be shown as a static picture with a caption. Subclasses define picture and caption."""

    _css = lesson_css()

    def to_svg(self) -> str:
        """Return the current state of the widget as a static SVG picture."""
        raise NotImplementedError

    def caption(self) -> str:
        """Return a description of the current state, in one or a few sentences."""
        raise NotImplementedError

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle = super()._repr_mimebundle_(**kwargs)
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle or {}, {})
        picture = self.to_svg()
        return {**data, "text/plain": repr(self), "text/html": picture, "image/svg+xml": picture}, metadata
