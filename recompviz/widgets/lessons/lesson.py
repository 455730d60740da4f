"""The base class of the lesson widgets. It adds a style sheet, a static picture, and a page that needs no kernel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recompviz.core.base.files import write_file
from recompviz.widgets.base import assets, styles
from recompviz.widgets.base.page_widget import PageWidget
from recompviz.widgets.lessons.lesson_page import lesson_html, lesson_page


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

    def page_data(self) -> dict[str, Any]:
        """Return the data of a page without a kernel. The file ``widgets/lessons.md`` lists the keys."""
        raise NotImplementedError

    def to_html(self, path: str | Path | None = None) -> str:
        """Return the widget as one HTML page that needs neither a kernel nor a network.

        A stepper works in the page as in a notebook. In a playground, the user can choose sets and sequences and sees
        their costs, but cannot edit the graph.

        Parameters
        ----------
        path : str or Path, optional
            A file to which the page is also written. If writing fails, an old file stays as it was.

        Returns
        -------
        str
            The text of the page, in HTML.

        Raises
        ------
        FileError
            If the file cannot be written. The error is also an OSError.
        TypeError
            If ``path`` is not a path.
        """
        text = lesson_page([self.lesson_html()], self.title, lesson_css())
        if path is not None:
            write_file(path, text)
        return text

    def lesson_html(self) -> str:
        """Return the HTML of this widget for a page with one or several lessons."""
        return lesson_html(self.page_data(), self.to_svg())

    @property
    def title(self) -> str:
        """The title of the page that :meth:`to_html` writes."""
        raise NotImplementedError

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle = super()._repr_mimebundle_(**kwargs)
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle or {}, {})
        picture = self.to_svg()
        return {**data, "text/plain": repr(self), "text/html": picture, "image/svg+xml": picture}, metadata
