"""A widget's output in a notebook, with a picture that is still there when the notebook is opened without a kernel.

A saved widget view is empty without its kernel. Therefore a second output is displayed with the widget: a picture of
the widget, as an HTML image. JupyterLab shows images also in notebooks that are not trusted. The second output can be
replaced later, when a search has ended or another plan is selected. If the widget is alive in the same cell, the style
sheet hides the picture.
"""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable, Mapping
from html import escape
from typing import Any

from recompviz.widgets.base.any_ground import dark_sheet

CLASS = "recompviz-static"
# s without a change until a picture is replaced, and the least time between two pictures of a widget
QUIET, EVERY = 3.0, 6.0
# hides JupyterLab's message in the place of a widget that has no kernel and no saved state: it has no elements
NO_MESSAGE = (
    f"<style>.jp-OutputArea-child:has(+ .jp-OutputArea-child .{CLASS}) > .jupyter-widgets:not(:has(*)) "
    "{ display: none }"
    # an image does not know the theme of JupyterLab; from this it knows
    f'[data-jp-theme-light="true"] .{CLASS} img {{ color-scheme: light }}'
    f'[data-jp-theme-light="false"] .{CLASS} img {{ color-scheme: dark }}</style>'
)


def image(svg: str, words: str, beside_widget: bool = True, mixtures: Mapping[str, str] | None = None) -> str:
    """Return an SVG picture as an HTML image that has the background and the colours of a light or of a dark page.

    A page that does not say that it is dark shows the light picture.

    JupyterLab removes SVG elements from notebooks that are not trusted, but not images.

    Parameters
    ----------
    svg : str
        The picture.
    words : str
        Text for people who cannot see the picture.
    beside_widget : bool
        Whether the picture is hidden if a widget is alive in the same cell. True for the picture of a widget.
    mixtures : mapping of str to str, optional
        Colours of the picture that are not in the palette → the same colours of the dark theme.

    Examples
    --------
    >>> image("<svg/>", "a plan").split()[-1]
    'src="data:image/svg+xml;base64,PHN2Zy8+"></div>'
    """
    head = svg.find(">") + 1
    sheet = escape(dark_sheet(svg, mixtures or {}), quote=False)
    drawn = svg if not sheet or svg[:head].endswith("/>") else f"{svg[:head]}<style>{sheet}</style>{svg[head:]}"
    data = base64.b64encode(drawn.encode("utf-8", "replace")).decode()
    source = f"data:image/svg+xml;base64,{data}"
    name = f' class="{CLASS}"' if beside_widget else ""
    return f'<div{name}><img alt="{escape(words)}" style="width: 100%" src="{source}"></div>'


class SavedPicture:
    """A displayed picture that is replaced some time after the widget has changed.

    Another thread replaces it. The thread waits until the widget has not changed for ``quiet`` seconds, the last
    replacement is at least ``every`` seconds ago, and the widget is not busy.

    Parameters
    ----------
    replace : callable ()
        Draws and displays the picture in the place of the old one.
    busy : callable () → bool, optional
        Whether the widget does work that must not be disturbed, for example a measurement.
    quiet, every : float
        Times in seconds, as explained above.

    Examples
    --------
    >>> picture = SavedPicture(lambda: print("replaced"))
    >>> picture.replace_now()
    replaced
    """

    def __init__(
        self,
        replace: Callable[[], None],
        busy: Callable[[], bool] = lambda: False,
        quiet: float = QUIET,
        every: float = EVERY,
    ) -> None:
        self._replace, self._busy = replace, busy
        self._quiet, self._every = quiet, every
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._changes = self._shown = 0
        self._changed_at = self._replaced_at = -every
        self._waiting = False

    def changed(self) -> None:
        """Note that the widget has changed. The picture is replaced later."""
        with self._lock:
            self._changes += 1
            self._changed_at = time.monotonic()
            if self._waiting or self._stopped.is_set():
                return
            self._waiting = True
        threading.Thread(target=self._work, name="recompviz-picture", daemon=True).start()

    def replace_now(self) -> None:
        """Replace the picture in this thread, without a wait."""
        with self._lock:
            changes = self._changes
        self._replace()
        with self._lock:
            self._shown = max(self._shown, changes)
            self._replaced_at = time.monotonic()

    def stop(self) -> None:
        """Leave the picture as it is from now on."""
        self._stopped.set()

    def _work(self) -> None:
        while True:
            with self._lock:
                if self._shown == self._changes or self._stopped.is_set():
                    self._waiting = False
                    return
                due = max(self._changed_at + self._quiet, self._replaced_at + self._every)
            left = due - time.monotonic()
            if left > 0 or self._busy():
                self._stopped.wait(max(left, self._quiet / 10))
            else:
                self.replace_now()


def display_with_picture(
    bundle: Mapping[str, Any],
    metadata: Mapping[str, Any],
    picture: Callable[[], str],
    wait: Callable[[], None] | None = None,
    busy: Callable[[], bool] = lambda: False,
) -> SavedPicture | None:
    """Display a widget and a picture in the current cell, and return the displayed picture.

    Call :meth:`SavedPicture.changed` of the result when the widget changes. The result is None outside IPython, where
    the picture cannot be replaced.

    Parameters
    ----------
    bundle, metadata : dict
        The output of the widget, by MIME type, and its metadata.
    picture : callable
        Returns the picture as HTML.
    wait : callable (), optional
        A function that returns when a search has ended. Another thread calls it, and then replaces the picture. If
        None, there is no search.
    busy : callable () → bool, optional
        Whether the widget does work that must not be disturbed. The picture is not replaced during such work.
    """
    from IPython.display import HTML, display

    html: Callable[[str], Any] = HTML
    show: Callable[..., Any] = display
    show(dict(bundle), metadata=dict(metadata), raw=True)
    shown = show(html(NO_MESSAGE + picture()), display_id=True)
    if shown is None:
        return None
    saved = SavedPicture(lambda: shown.update(html(NO_MESSAGE + picture())), busy)
    if wait is not None:

        def replace() -> None:
            wait()
            saved.replace_now()

        threading.Thread(target=replace, name="recompviz-picture", daemon=True).start()
    return saved
