"""One HTML page that draws a widget without a kernel or a network: style sheet, script and data in one file."""

from __future__ import annotations

import base64
import gzip
import html
import json
from typing import Any

from recompviz.core.base import palette
from recompviz.widgets.base import assets

_PAGE = """<!doctype html>
<html lang="en" data-jp-theme-light="true">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{css}
</style>
</head>
<body>
{body}
</body>
</html>
"""
_CSS = """{css}
body {{ margin: 0; padding: 16px; background: {light[surface]}; }}
#recompviz {{ max-width: 1500px; margin: 0 auto; }}
html[data-jp-theme-light="false"] {{ color-scheme: dark; }}
html[data-jp-theme-light="false"] body {{ background: {dark[surface]}; }}"""
_BODY = """<div id="recompviz"></div>
<noscript>{fallback}</noscript>
<script id="recompviz-data" type="application/octet-stream">{data}</script>
<script id="recompviz-shown" type="application/json">{{}}</script>
<script type="module">
{script}
</script>"""


def offline_page(entry: str, data: Any, title: str, fallback: str) -> str:
    """Return an HTML page that draws a widget.

    Parameters
    ----------
    entry : str
        The path below ``widgets/js`` of the JavaScript file that draws the data. The file reads the data by
        ``js/shared/page_data.js``.
    data : object
        Data for the page. It may contain what JSON can express, and bytes objects.
    title : str
        The title of the page.
    fallback : str
        An SVG picture that the browser shows if scripts are disabled.

    Raises
    ------
    TypeError
        If the data contain anything else.

    Notes
    -----
    The page has an empty element ``recompviz-shown``. A widget that hands out its page writes there how the widget is
    shown (``withShown`` of ``js/shared/page_data.js``): the theme, and what the reader has chosen.
    """
    css = _CSS.format(css=assets.css(), light=palette.LIGHT, dark=palette.DARK)
    script = script_text(assets.esm(entry))
    return html_page(title, css, _BODY.format(fallback=fallback, data=packed_data(data), script=script))


def html_page(title: str, css: str, body: str) -> str:
    """Return an HTML page. ``title`` is plain text, ``css`` a style sheet, and ``body`` HTML."""
    return _encoded(_PAGE.format(title=html.escape(title), css=css, body=body)).decode()


def script_text(script: str) -> str:
    """Return JavaScript that can be written inside a ``script`` element: ``</script`` is escaped."""
    return script.replace("</script", "<\\/script")


def packed_data(data: Any) -> str:
    """Return data for a page as compressed JSON in base64. The data may contain bytes objects.

    Raises
    ------
    TypeError
        If the data contain another object that JSON cannot express.
    """
    text = json.dumps(data, default=_buffer, separators=(",", ":"), ensure_ascii=False)
    return base64.b64encode(gzip.compress(_encoded(text), mtime=0)).decode()


def _encoded(text: str) -> bytes:
    """Return a text in UTF-8. Lone surrogates, for example of a file name that is not UTF-8, are written as escapes."""
    return text.encode("utf-8", "backslashreplace")


def _buffer(value: Any) -> dict[str, str]:
    """Encode bytes for JSON, as ``{"$": base64 text}``."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {"$": base64.b64encode(bytes(value)).decode()}
    raise TypeError(f"{type(value).__name__} cannot be written to a page")
