"""A widget's output in a notebook, with a picture that is still there when the notebook is opened without a kernel.

A saved widget view is empty without its kernel. Therefore a second output is displayed with the widget: a picture of
the widget, as an HTML image. JupyterLab shows images also in notebooks that are not trusted. The second output can be
replaced later, for example when a search has ended. If the widget is alive in the same cell, the style sheet hides the
picture.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Mapping
from html import escape
from typing import Any

CLASS = "recompviz-static"
# hides JupyterLab's message in the place of a widget that has no kernel and no saved state: it has no elements
NO_MESSAGE = (
    f"<style>.jp-OutputArea-child:has(+ .jp-OutputArea-child .{CLASS}) > .jupyter-widgets:not(:has(*)) "
    "{ display: none }</style>"
)


def image(svg: str, words: str, beside_widget: bool = True) -> str:
    """Return an SVG picture as an HTML image.

    JupyterLab removes SVG elements from notebooks that are not trusted, but not images.

    Parameters
    ----------
    svg : str
        The picture.
    words : str
        Text for people who cannot see it.
    beside_widget : bool
        Whether the picture is that of a widget, and is hidden where a widget is alive in the same cell.

    Examples
    --------
    >>> image("<svg/>", "a plan").split()[-1]
    'src="data:image/svg+xml;base64,PHN2Zy8+"></div>'
    """
    data = base64.b64encode(svg.encode("utf-8", "replace")).decode()
    source = f"data:image/svg+xml;base64,{data}"
    name = f' class="{CLASS}"' if beside_widget else ""
    return f'<div{name}><img alt="{escape(words)}" style="width: 100%" src="{source}"></div>'


def display_with_picture(
    bundle: Mapping[str, Any],
    metadata: Mapping[str, Any],
    picture: Callable[[], str],
    wait: Callable[[], None] | None = None,
) -> None:
    """Display a widget and a picture in the current cell.

    Parameters
    ----------
    bundle, metadata : dict
        The output of the widget, by MIME type, and its metadata.
    picture : callable
        Returns the picture as HTML.
    wait : callable, optional
        Returns when the picture is final. It is called in another thread, and the picture is then replaced. If None,
        the picture is final.
    """
    from IPython.display import HTML, display

    html: Callable[[str], Any] = HTML
    show: Callable[..., Any] = display
    show(dict(bundle), metadata=dict(metadata), raw=True)
    shown = show(html(NO_MESSAGE + picture()), display_id=True)
    if wait is None or shown is None:
        return

    def replace() -> None:
        wait()
        shown.update(html(NO_MESSAGE + picture()))

    threading.Thread(target=replace, name="recompviz-picture", daemon=True).start()
