"""Pages of lessons in one HTML file, which need neither a kernel nor a network.

A page contains the values of the widget's traits. All frames of a stepper are among them. A playground also has the
frames of the strategies of some sequences, and computes the costs of a sequence itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from recompviz.core.base import palette
from recompviz.widgets.base import assets
from recompviz.widgets.base.offline_page import html_page, packed_data, script_text


def page_css() -> str:
    """Return the rules for a page around lessons: its background, and the colours of its theme."""
    rules = ["body{margin:0}", ".rv-alone{max-width:1240px;margin:0 auto;padding:16px}"]
    for is_light, scheme, colours in (("true", "light", palette.LIGHT), ("false", "dark", palette.DARK)):
        body = f"color-scheme:{scheme};background:{colours['surface']};color:{colours['text']}"
        rules.append(f'html[data-jp-theme-light="{is_light}"]{{{body}}}')
    return "\n".join(rules)


def page_script() -> str:
    """Return the script that mounts the lessons of a page. It is a classic script and adds no global names."""
    return "(() => {\n" + assets.esm("lessons/lesson_page.js") + "\n})();"


def lesson_html(data: Mapping[str, Any], fallback: str) -> str:
    """Return the HTML of one lesson: an element for it, and its data.

    Parameters
    ----------
    data : mapping
        ``kind`` ("stepper" or "playground"), ``traits``, and for a playground ``steppers``.
    fallback : str
        HTML that is shown until the script has run, and where scripts are disabled.
    """
    return (
        f'<div class="rv-lesson">{fallback}</div>\n'
        f'<script type="application/x-recompviz-lesson">{packed_data(data)}</script>'
    )  # fmt: skip


def lesson_page(lessons: Sequence[str], title: str, css: str) -> str:
    """Return a page of lessons.

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
