"""Pictures that can be read on a light and on a dark page.

An SVG image has its own background, and the colours of the light theme. Where its page says that it is dark, by the CSS
property ``color-scheme``, both are those of the dark theme. So the text never stands on an unknown background. WCAG
asks for a contrast of 4.5, and no single colour has it to white and to the dark background of JupyterLab.

A PNG of the course cannot follow the theme of its page. It has a transparent background. Text and lines outside filled
shapes become grey, which has a contrast of 4.3 to both. Filled boxes, bars and the text on them keep the colours of the
light theme.
"""

from __future__ import annotations

from collections.abc import Mapping

from recompviz.core.base.palette import DARK, LIGHT, ON_ANY_PAGE
from recompviz.widgets.base.styles import STYLES

GREY, VEIL = ON_ANY_PAGE["text"], ON_ANY_PAGE["veil"]
#: Styles of texts that lie on filled boxes.
ON_BOXES = ("name", "name-gone", "cell-text", "cell-text-muted")


def any_ground_sheet() -> str:
    """Return a style sheet for a static picture of this package or of plotly.

    It removes the background, and makes text and lines outside filled shapes grey.

    Examples
    --------
    >>> "fill:none" in any_ground_sheet()
    True
    """
    grey = ("text", "muted", "edge")
    rules = [
        # the ground is the first rectangle of a picture
        "svg{background:none!important}",
        "svg>rect:first-of-type,.rv-still>.rvs-ground:first-of-type,rect.bg{fill:none!important}",
        f".rv-still .rvs-veil{{fill:{VEIL}!important}}",
        f".main-svg text{{fill:{GREY}!important}}",
        f".main-svg :is(.gridlayer,.zerolinelayer) path{{stroke:{GREY}!important;stroke-opacity:0.4!important}}",
    ]
    # figures of results/
    rules.append(f"svg:has(>.paper) text{{fill:{GREY}!important}}")
    rules.append(
        f"svg:has(>.paper) :is(.grid,.axis){{stroke:{GREY}!important}}svg:has(>.paper) .grid{{stroke-opacity:0.4}}"
    )
    for style, attributes in STYLES.items():
        if style in ON_BOXES:
            continue
        changed = [name for name in ("fill", "stroke") if attributes.get(name) in grey]
        body = "".join(f"{name}:{GREY}!important;" for name in changed)
        if "paint-order" in attributes:  # a halo in the colour of the ground
            body += "stroke:none!important;"
        rules += [f".rv-still .rvs-{style}{{{body}}}"] if body else []
    # pictures of the Explorer have colours in their attributes
    rules += [
        f'svg:not(.rv-still) [{name}="{LIGHT[colour]}"]{{{name}:{GREY}}}'
        for name in ("fill", "stroke")
        for colour in grey
    ]
    return "".join(rules)


def dark_sheet(svg: str, mixtures: Mapping[str, str]) -> str:
    """Return a style sheet that gives a picture the background and the colours of the dark theme on a dark page.

    Parameters
    ----------
    svg : str
        The picture. Its colours are values of the attributes ``fill``, ``stroke`` and ``stop-color``.
    mixtures : mapping of str to str
        Colours of the picture that are not in the palette → the same colours of the dark theme.

    Examples
    --------
    >>> sheet = dark_sheet(f'<text fill="{LIGHT["text"]}"/>', {})
    >>> sheet.replace(LIGHT["text"], "light").replace(DARK["text"], "dark")
    '@media (prefers-color-scheme:dark){svg{background:none!important}svg:not(.rv-still) [fill="light"]{fill:dark}}'
    """
    pairs = {**{LIGHT[name]: DARK[name] for name in reversed(LIGHT) if name in DARK}, **mixtures}
    # text on filled shapes that are light in the one theme and dark in the other
    pairs[LIGHT["on-hue"]] = DARK["text"]
    rules = [
        f'svg:not(.rv-still) [{name}="{light}"]{{{name}:{dark}}}'
        for name in ("fill", "stroke", "stop-color")
        for light, dark in pairs.items()
        if f'{name}="{light}"' in svg
    ]
    # a picture without a background of its own, in the CSS of its root, has its ground as a rectangle
    root = "svg{background:none!important}"
    return f"@media (prefers-color-scheme:dark){{{root}{''.join(rules)}}}" if rules else ""
