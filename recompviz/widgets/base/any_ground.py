"""Pictures without a background, in colours that can be read on a light and on a dark page.

A PNG cannot follow the theme of its page. It therefore gets a transparent background. Text and lines outside filled
shapes become grey. Filled boxes, bars and the text on them keep the colours of the light theme.
"""

from __future__ import annotations

from recompviz.core.base.palette import LIGHT, ON_ANY_PAGE
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
