"""Styles of the elements in the lessons' pictures.

A style maps SVG attributes to values. A value may be the name of a colour in :mod:`recompviz.core.base.palette`. In a
widget, the styles are a style sheet, which follows the light or dark theme of the page. A static picture has the styles
twice: as SVG attributes in light colours, and as a style sheet, which some programs cannot read. Each colour has one
meaning: blue is kept (a boundary), orange with a dashed border is recomputed, purple is the path of a sequence, and
vermilion is the budget. A thick border marks what the reader chose, or what the shown step has reached.
"""

from __future__ import annotations

from functools import cache

from recompviz.core.base.palette import DARK, LIGHT


def _box(fill: str, line: str, width: float = 1.4, dash: str = "") -> dict[str, str]:
    style = {"fill": fill, "stroke": line, "stroke-width": f"{width:g}"}
    return style | ({"stroke-dasharray": dash} if dash else {})


def _type(fill: str, size: float, weight: int = 400, anchor: str = "start") -> dict[str, str]:
    return {"fill": fill, "font-size": f"{size:g}px", "font-weight": str(weight), "text-anchor": anchor}


_NONE = {"display": "none"}
#: Name of a style → SVG attribute → value or name of a colour.
STYLES: dict[str, dict[str, str]] = {
    "hidden": _NONE,
    "ground": _box("surface", "none"),
    "edge": _box("none", "edge", 1.5),
    "edge-lit": _box("none", "text", 2.4),
    "violation": _box("none", "bad", 4, "7 4"),
    "arrow": _box("edge", "none"),
    # nodes and their states
    "node": _box("surface", "line", 1.4),
    "gone": _box("surface", "line", 1.2, "2 3"),
    "in-set": _box("wash", "keep", 1.8),
    "keep": _box("keep", "keep-line", 1.8),
    "keep-lit": _box("keep", "text", 3.4),
    "transient": _box("transient", "transient-line", 1.8),
    "transient-lit": _box("transient", "text", 3.4),
    "recompute": _box("recompute-fill", "recompute", 1.8, "5 3"),
    "recompute-lit": _box("recompute-fill", "text", 3.4, "5 3"),
    "gradient": _box("gradient", "gradient-line", 1.8),
    "gradient-lit": _box("gradient", "text", 3.4),
    "marked": _box("surface", "bad", 3, "4 3"),
    # texts on them
    "name": _type("text", 15, 600, "middle"),
    "name-gone": _type("muted", 15, 500, "middle"),
    "name-keep": _type("on-keep", 15, 650, "middle"),
    "name-transient": _type("on-transient", 15, 600, "middle"),
    "name-recompute": _type("on-recompute", 15, 600, "middle"),
    "name-gradient": _type("on-gradient", 15, 600, "middle"),
    "cost": _type("muted", 11.5, 400, "middle") | {"stroke": "surface", "stroke-width": "3", "paint-order": "stroke"},
    # words
    "title": _type("text", 17, 650),
    "heading": _type("text", 14, 650),
    "text": _type("text", 14),
    "text-strong": _type("text", 14, 650),
    "text-end": _type("text", 14, 500, "end"),
    "text-end-strong": _type("text", 14, 800, "end"),
    "muted": _type("muted", 12.5),
    "muted-end": _type("muted", 12.5, 400, "end"),
    "muted-middle": _type("muted", 12.5, 400, "middle"),
    "budget-end": _type("accent-text", 13.5, 700, "end"),
    "number": _type("text", 16, 650),
    "formula": _type("text", 16, 500) | {"font-family": "'STIX Two Math', 'Cambria Math', Georgia, serif"},
    "formula-strong": _type("text", 16, 750) | {"font-family": "'STIX Two Math', 'Cambria Math', Georgia, serif"},
    # charts and tables
    "axis": _box("none", "muted", 1.2),
    "rule": _box("none", "line", 1),
    "bar-keep": _box("keep", "none"),
    "bar-keep-rest": _box("keep", "keep", 1) | {"fill-opacity": "0.3"},
    "bar-transient": _box("transient-line", "none"),
    "bar-gradient": _box("gradient", "none"),
    "bar-recompute": _box("recompute", "none"),
    "hit": _box("surface", "none") | {"fill-opacity": "0"},
    "veil": _box("quiet", "none"),
    "guess": _box("quiet", "text", 1.8, "4 3"),
    "bound": _box("none", "text", 2.4),
    "highest": _box("none", "muted", 1.2, "7 3"),
    "budget": _box("none", "accent", 2.2, "8 4"),
    "cursor": _box("none", "text", 1.8),
    "thin": _box("none", "muted", 1.6, "2 3"),
    "cell": _box("surface", "line", 1),
    "cell-none": _box("quiet", "line", 1),
    "cell-done": _box("wash", "line", 1),
    "cell-now": _box("wash", "text", 3),
    "cell-needed": _box("quiet", "muted", 1.8, "5 3"),
    "cell-best": _box("quiet", "text", 2.6, "5 3"),
    "cell-front": _box("keep", "keep-line", 2),
    "cell-path": _box("second", "surface", 1.5),
    "cell-path-now": _box("second", "text", 3),
    "cell-text": _type("text", 14, 550, "middle"),
    "cell-text-keep": _type("on-keep", 14, 650, "middle"),
    "cell-text-path": _type("surface", 14, 700, "middle"),
    "cell-text-muted": _type("muted", 13, 400, "middle"),
    "front": _box("none", "keep", 2.4),
    "point": _box("keep", "surface", 2),
    "point-off": _box("surface", "muted", 2),
    "front-dashed": _box("none", "muted", 2.4, "6 4"),
    "ring": _box("none", "text", 3.4),
    "point-lit": _box("second", "surface", 2),
    "link": _box("none", "line", 1.4),
    "link-lit": _box("none", "second", 3.6),
}


def style_attributes(style: str) -> dict[str, str]:
    """Return the SVG attributes of a style, with the colours of the light theme. Static pictures use them.

    Examples
    --------
    >>> style_attributes("edge")
    {'fill': 'none', 'stroke': '#...', 'stroke-width': '1.5'}
    """
    return {name: LIGHT.get(value, value) for name, value in STYLES[style].items()}


@cache
def style_sheet() -> str:
    """Return all styles as CSS classes. The class of a style is ``rvt-<style>``, for example ``rvt-edge``."""
    rules = []
    for style, attributes in STYLES.items():
        body = "".join(
            f"{name}:{f'var(--rv-{value})' if value in LIGHT else value};" for name, value in attributes.items()
        )
        rules.append(f".rvt-{style}{{{body}}}")
    return "\n".join(rules)


def still_sheet(styles: set[str]) -> str:
    """Return a style sheet for a static picture, in which the class of a style is ``rvs-<style>``.

    In a page of JupyterLab, the colours follow the theme of JupyterLab. Otherwise they follow the theme of the
    operating system.

    Parameters
    ----------
    styles : set of str
        The names of the styles in the picture.

    Examples
    --------
    >>> still_sheet({"edge"})
    '.rv-still{--s-edge:#...}...'
    """
    rules, colours = [], set()
    for style in sorted(styles):
        named = {name: value for name, value in STYLES[style].items() if value in LIGHT}
        colours |= set(named.values())
        rules.append(
            f".rv-still .rvs-{style}{{{''.join(f'{name}:var(--s-{value});' for name, value in named.items())}}}"
        )

    def theme(selector: str, palette: dict[str, str]) -> str:
        return f"{selector}{{{''.join(f'--s-{name}:{palette[name]};' for name in sorted(colours))}}}"

    dark = theme(".rv-still", DARK)
    in_jupyter = '[data-jp-theme-light="{}"] .rv-still'
    return "".join(
        [
            theme(".rv-still", LIGHT),
            f"@media (prefers-color-scheme: dark){{{dark}}}",
            theme(in_jupyter.format("true"), LIGHT),
            theme(in_jupyter.format("false"), DARK),
            *rules,
        ]
    )
