"""Python code as HTML, with keywords, strings, numbers and comments marked."""

from __future__ import annotations

import io
import keyword
import token as tokens
import tokenize
from html import escape


def highlighted(source: str) -> str:
    """Return Python code as HTML, with a ``span`` around each keyword, string, number and comment.

    The class of the ``span`` is ``k`` for a keyword, ``s`` for a string, ``n`` for a number and ``c`` for a comment.

    If the code has a syntax error, the result has no ``span``.

    Examples
    --------
    >>> highlighted("x = 1  # one")
    'x = <span class="n">1</span>  <span class="c"># one</span>'
    """
    lines = source.splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    parts: list[str] = []
    at = 0
    try:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            kind = _kind(token)
            if not kind:
                continue
            start = starts[token.start[0] - 1] + token.start[1]
            end = starts[token.end[0] - 1] + token.end[1]
            parts += [
                escape(source[at:start], quote=False),
                f'<span class="{kind}">{escape(source[start:end], quote=False)}</span>',
            ]
            at = end
    except (tokenize.TokenError, SyntaxError):
        return escape(source, quote=False)
    return "".join([*parts, escape(source[at:], quote=False)])


def _kind(token: tokenize.TokenInfo) -> str:
    if token.type == tokens.NAME:
        return "k" if keyword.iskeyword(token.string) else ""
    string = token.type == tokens.STRING or tokens.tok_name[token.type].startswith("FSTRING")
    return "s" if string else {tokens.NUMBER: "n", tokens.COMMENT: "c"}.get(token.type, "")
