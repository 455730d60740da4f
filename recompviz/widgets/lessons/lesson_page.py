"""Pages of lessons in one HTML file, which need neither a kernel nor a network.

A page contains the values of the traits of each widget. For a stepper, these include all frames. For a playground, the
page also contains the frames for some sequences, and its script computes the costs of every sequence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from recompviz.core.base import palette
from recompviz.widgets.base import assets
from recompviz.widgets.base.offline_page import html_page, packed_data, script_text


def page_css() -> str:
    """Return the CSS rules for the body of a page with lessons, in a light and a dark theme."""
    rules = ["body{margin:0}", ".rv-alone{max-width:1240px;margin:0 auto;padding:16px}"]
    for is_light, scheme, colours in (("true", "light", palette.LIGHT), ("false", "dark", palette.DARK)):
        body = f"color-scheme:{scheme};background:{colours['surface']};color:{colours['text']}"
        rules.append(f'html[data-jp-theme-light="{is_light}"]{{{body}}}')
    return "\n".join(rules)


def page_script() -> str:
    """Return the JavaScript that draws the lessons of a page. It is not a module, and adds no global names."""
    return "(() => {\n" + assets.esm("lessons/lesson_page.js") + "\n})();"


def lesson_html(data: Mapping[str, Any], fallback: str) -> str:
    """Return the HTML of one lesson for :func:`lesson_page`.

    Parameters
    ----------
    data : mapping
        The result of :meth:`Lesson.page_data`.
    fallback : str
        HTML that is shown until the script of the page has run. It stays if scripts are disabled.
    """
    return (
        f'<div class="rv-lesson">{fallback}</div>\n'
        f'<script type="application/x-recompviz-lesson">{packed_data(data)}</script>'
    )  # fmt: skip


def lesson_page(lessons: Sequence[str], title: str, css: str) -> str:
    """Return an HTML page with one or several lessons.

    Parameters
    ----------
    lessons : sequence of str
        The HTML of each lesson, from :func:`lesson_html`.
    title : str
        The title of the page.
    css : str
        The style sheet of the lessons.
    """
    body = '<main class="rv-alone">\n' + "\n".join(lessons) + "\n</main>"
    return html_page(title, f"{css}\n{page_css()}", f"{body}\n<script>\n{script_text(page_script())}\n</script>")
