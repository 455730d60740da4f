"""Markdown cells as HTML, with formulas in MathML and links between the pages of the course."""

from __future__ import annotations

import re
from collections.abc import Collection
from html import escape
from typing import Any

import mistune

from recompviz.widgets.course.mathml import FormulaError, formulas, mathml

_HOLD = "\ue000{}\ue001"  # stands for a formula while Markdown is converted; private characters


def to_html(text: str, pages: Collection[str] = (), problems: list[str] | None = None) -> str:
    """Return a Markdown text as HTML.

    Parameters
    ----------
    text : str
        Markdown with formulas between dollar signs.
    pages : collection of str
        The names, without ``.ipynb``, of the notebooks that have a page. A link to one of these notebooks leads to its
        page. A link to another notebook becomes plain text.
    problems : list of str, optional
        A list to which a description of each formula that cannot be converted is appended. The result has the LaTeX of
        such a formula.

    Examples
    --------
    >>> to_html("A *chain* of $n$ values")
    '<p>A <em>chain</em> of <math alttext="n"><mrow><mi>n</mi></mrow></math> values</p>\\n'
    """
    held: list[str] = []
    parts: list[str] = []
    at = 0
    for start, end, latex, block in formulas(text):
        parts += [text[at:start], _HOLD.format(len(held))]
        try:
            held.append(mathml(latex, block=block))
        except FormulaError as error:
            held.append(f"<code>{escape(latex)}</code>")
            if problems is not None:
                problems.append(str(error))
        at = end
    page = _markdown("".join([*parts, text[at:]]))
    page = re.sub("\ue000(\\d+)\ue001", lambda found: held[int(found[1])], page)
    return _LINK.sub(lambda found: _link(found, pages), page)


_LINK = re.compile(r'<a href="(?P<stem>[\w-]+)\.ipynb">(?P<text>.*?)</a>')


def _link(found: re.Match[str], pages: Collection[str]) -> str:
    return f'<a href="{found["stem"]}.html">{found["text"]}</a>' if found["stem"] in pages else found["text"]


def _markdown(text: str) -> str:
    convert: Any = mistune.create_markdown(escape=False, plugins=["table", "strikethrough"])
    return str(convert(text))


def title_of(text: str) -> str:
    """Return the first heading of a Markdown text, without its marks; empty if there is none.

    Examples
    --------
    >>> title_of("# 1 · Lower sets\\n\\ntext")
    '1 · Lower sets'
    """
    found = re.search(r"^#+\s+(.+?)\s*$", text, re.MULTILINE)
    return found[1] if found else ""
