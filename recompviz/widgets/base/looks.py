"""How the lessons look: one table of looks in two palettes, for live pages and for static pictures.

A look names colours, never values. A live page gets the looks as a style sheet that follows the page's theme; a static
picture gets them as attributes, in light colours on white, legible wherever it is shown. Colours are Okabe and Ito's;
what differs in colour also differs in border or dash.
"""

from __future__ import annotations

from functools import cache

LIGHT = {
    "ink": "#1f2328", "muted": "#59636e", "surface": "#ffffff", "quiet": "#f3f5f8", "line": "#c4ccd6",
    "edge": "#8b98a7",
    "keep": "#0072b2", "keep-line": "#00507d", "on-keep": "#ffffff",
    "pass": "#d3ecfa", "pass-line": "#56a5d4", "on-pass": "#0b3550",
    "again": "#ffe3a8", "again-line": "#d98c00", "on-again": "#4a3200",
    "grad": "#00785a", "grad-line": "#005540", "on-grad": "#ffffff",
    "accent": "#d55e00", "wash": "#e4eef7", "accent-wash": "#fde6d6", "bad": "#b3261e",
}  # fmt: skip
DARK = {
    "ink": "#e8ebef", "muted": "#a7b0bb", "surface": "#111418", "quiet": "#1d2228", "line": "#414a55",
    "edge": "#7d8896",
    "keep": "#3793d0", "keep-line": "#8fd0f7", "on-keep": "#04121c",
    "pass": "#17364a", "pass-line": "#56a5d4", "on-pass": "#cfeafb",
    "again": "#4a380e", "again-line": "#e9a820", "on-again": "#ffe2a0",
    "grad": "#2aa983", "grad-line": "#8ce8cc", "on-grad": "#03130e",
    "accent": "#ff8a3c", "wash": "#1b2c3b", "accent-wash": "#46280f", "bad": "#ff8f86",
}  # fmt: skip


def _box(fill: str, line: str, width: float = 1.4, dash: str = "") -> dict[str, str]:
    look = {"fill": fill, "stroke": line, "stroke-width": f"{width:g}"}
    return look | ({"stroke-dasharray": dash} if dash else {})


def _type(fill: str, size: float, weight: int = 400, anchor: str = "start") -> dict[str, str]:
    return {"fill": fill, "font-size": f"{size:g}px", "font-weight": str(weight), "text-anchor": anchor}


_NONE = {"display": "none"}
#: look → attributes; a value that names a colour of the palette is replaced by it
LOOKS: dict[str, dict[str, str]] = {
    "hidden": _NONE,
    "ground": _box("surface", "none"),
    "edge": _box("none", "edge", 1.5),
    "edge-lit": _box("none", "ink", 2.4),
    "violation": _box("none", "bad", 4, "7 4"),
    "arrow": _box("edge", "none"),
    # nodes and their states
    "node": _box("surface", "line", 1.4),
    "gone": _box("surface", "line", 1.2, "2 3"),
    "in-set": _box("wash", "keep", 1.8),
    "keep": _box("keep", "keep-line", 1.8),
    "keep-lit": _box("keep", "ink", 3.4),
    "pass": _box("pass", "pass-line", 1.8),
    "pass-lit": _box("pass", "ink", 3.4),
    "again": _box("again", "again-line", 1.8, "5 3"),
    "again-lit": _box("again", "ink", 3.4, "5 3"),
    "grad": _box("grad", "grad-line", 1.8),
    "grad-lit": _box("grad", "ink", 3.4),
    "boundary": _box("accent-wash", "accent", 3.2),
    "segment": _box("pass", "pass-line", 1.8, "5 3"),
    # texts on them
    "name": _type("ink", 15, 600, "middle"),
    "name-gone": _type("muted", 15, 500, "middle"),
    "name-keep": _type("on-keep", 15, 650, "middle"),
    "name-pass": _type("on-pass", 15, 600, "middle"),
    "name-again": _type("on-again", 15, 600, "middle"),
    "name-grad": _type("on-grad", 15, 600, "middle"),
    "cost": _type("muted", 11.5, 400, "middle"),
    # words
    "title": _type("ink", 17, 650),
    "heading": _type("ink", 14, 650),
    "text": _type("ink", 14),
    "text-strong": _type("ink", 14, 650),
    "text-end": _type("ink", 14, 500, "end"),
    "text-end-strong": _type("accent", 14, 700, "end"),
    "text-middle": _type("ink", 14, 500, "middle"),
    "muted": _type("muted", 12.5),
    "muted-end": _type("muted", 12.5, 400, "end"),
    "muted-middle": _type("muted", 12.5, 400, "middle"),
    "strong-accent": _type("accent", 14, 650),
    "big": _type("ink", 22, 650),
    "formula": _type("ink", 16, 500) | {"font-family": "'STIX Two Math', 'Cambria Math', Georgia, serif"},
    "formula-accent": _type("accent", 16, 600) | {"font-family": "'STIX Two Math', 'Cambria Math', Georgia, serif"},
    # charts and tables
    "axis": _box("none", "muted", 1.2),
    "rule": _box("none", "line", 1),
    "bar-keep": _box("keep", "none"),
    "bar-pass": _box("pass-line", "none"),
    "bar-grad": _box("grad", "none"),
    "bar-again": _box("again-line", "none"),
    "bar-live": _box("muted", "none"),
    "hit": _box("surface", "none") | {"fill-opacity": "0"},
    "veil": _box("surface", "none") | {"fill-opacity": "0.72"},
    "bound": _box("none", "accent", 2.2),
    "bound-dashed": _box("none", "accent", 1.8, "6 4"),
    "cursor": _box("none", "ink", 1.8),
    "thin": _box("none", "muted", 1.6, "2 3"),
    "cell": _box("surface", "line", 1),
    "cell-none": _box("quiet", "line", 1),
    "cell-done": _box("wash", "line", 1),
    "cell-now": _box("accent-wash", "accent", 3),
    "cell-needed": _box("again", "again-line", 2, "5 3"),
    "cell-best": _box("again", "again-line", 3.4),
    "cell-front": _box("keep", "keep-line", 2),
    "cell-path": _box("accent", "ink", 2),
    "cell-text": _type("ink", 14, 550, "middle"),
    "cell-text-keep": _type("on-keep", 14, 650, "middle"),
    "cell-text-path": _type("surface", 14, 700, "middle"),
    "cell-text-muted": _type("muted", 13, 400, "middle"),
    "front": _box("none", "keep", 2.4),
    "point": _box("keep", "surface", 2),
    "point-off": _box("surface", "muted", 2),
    "front-dashed": _box("none", "again-line", 2.4, "6 4"),
    "ring": _box("none", "accent", 3.4),
    "point-lit": _box("accent", "surface", 2),
    "link": _box("none", "line", 1.4),
    "link-lit": _box("none", "accent", 3.6),
}


def look_attributes(look: str) -> dict[str, str]:
    """The attributes of a look in light colours.

    Examples
    --------
    >>> look_attributes("edge")
    {'fill': 'none', 'stroke': '#8b98a7', 'stroke-width': '1.5'}
    """
    return {name: LIGHT.get(value, value) for name, value in LOOKS[look].items()}


@cache
def sheet() -> str:
    """The looks as a style sheet, light and dark: look ``"edge"`` is class ``rvt-edge``."""
    light, dark = ("".join(f"--rvt-{name}:{value};" for name, value in palette.items()) for palette in (LIGHT, DARK))
    rules = [f".rv-teach{{{light}}}", f'[data-jp-theme-light="false"] .rv-teach{{{dark}}}']
    for look, attributes in LOOKS.items():
        body = "".join(
            f"{name}:{f'var(--rvt-{value})' if value in LIGHT else value};" for name, value in attributes.items()
        )
        rules.append(f".rvt-{look}{{{body}}}")
    return "\n".join(rules)
