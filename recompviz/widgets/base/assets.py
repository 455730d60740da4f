"""JavaScript and CSS of the widgets: several files are joined into one text for each widget.

The library anywidget takes one JavaScript module and one style sheet for a widget. The files ``js/<folder>/*.js`` are
plain ECMAScript modules. They are joined in the order of their imports. ``import`` statements are removed, and the
keyword ``export`` is removed from declarations; ``export default`` stays. No two files may use the same top-level name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from posixpath import dirname, normpath
from types import MappingProxyType

from recompviz.core.base import palette
from recompviz.core.steps.joint import Category

HERE = Path(__file__).parent.parent
# In the order of the cascade: of two rules of equal specificity, the later one applies.
SHEETS = (
    "explorer/explorer", "graph/boxes", "explorer/card", "explorer/budget", "explorer/fit", "explorer/timeline",
    "graph/graph", "graph/modules", "graph/colouring", "graph/sequence", "explorer/panels", "explorer/pins",
    "explorer/drawer", "explorer/step", "ranks/ranks",
)  # fmt: skip
# Surfaces and text of the Explorer follow JupyterLab's theme.
JUPYTER = {
    "text": "--jp-ui-font-color1", "muted": "--jp-ui-font-color2", "surface": "--jp-layout-color0",
    "raised": "--jp-layout-color1", "line": "--jp-border-color2",
}  # fmt: skip
_IMPORT = re.compile(r"^import\s+\{\s*\w+(?:\s*,\s*\w+)*,?\s*\}\s+from\s+[\"'](\.[\w./]+)[\"'];[ \t]*\n", re.MULTILINE)
_EXPORT = re.compile(r"^export\s+(?=(?:async\s+)?(?:function|const|let|class)\b)", re.MULTILINE)
_UNSUPPORTED = re.compile(r"^(?:import\b|export\s+(?!default \{)).*", re.MULTILINE)


@cache
def esm(entry: str = "explorer/explorer.js") -> str:
    """Return one JavaScript module that contains the file ``entry`` and all files that ``entry`` needs.

    Parameters
    ----------
    entry : str
        Path of a JavaScript file below ``widgets/js``.

    Raises
    ------
    ValueError
        If a file has a form of ``import`` or ``export`` that cannot be joined. The message names the supported forms.
    FileNotFoundError
        If there is no such file.
    """
    done: dict[str, str] = {}
    _join(entry, done)
    return "\n".join(f"// ---- {name}\n{text}" for name, text in done.items())


def _join(name: str, done: dict[str, str]) -> None:
    if name in done:
        return
    text = (HERE / "js" / name).read_text(encoding="utf-8")
    for needed in _IMPORT.findall(text):
        _join(normpath(f"{dirname(name)}/{needed}"), done)
    done[name] = joined = _EXPORT.sub("", _IMPORT.sub("", text))
    if left := _UNSUPPORTED.search(joined):
        raise ValueError(
            f"js/{name} has {left[0]!r}, which cannot be joined; "
            'write import { a, b } from "./file.js" and export in front of a declaration'
        )


@cache
def css() -> str:
    """Return the style sheet of the Explorer. It starts with the colours, from :func:`colours`."""
    sheets = ((HERE / "css" / f"{name}.css").read_text(encoding="utf-8") for name in SHEETS)
    return "\n".join([colours(".rv-explorer", JUPYTER), *sheets])


def colours(selector: str, page: Mapping[str, str] = MappingProxyType({})) -> str:
    """Return CSS rules that define the palette as custom properties, for light and dark themes.

    The properties are ``--rv-<name>`` for each name of the palette, and ``--rv-category-<number>`` for each
    :class:`Category`.

    Parameters
    ----------
    selector : str
        CSS selector of the elements that get the properties.
    page : mapping of str to str, optional
        Name in the palette → custom property of the page, for example ``{"text": "--jp-ui-font-color1"}``. If the page
        defines this property, its colour takes the place of the palette's colour.

    Examples
    --------
    >>> f"--rv-keep:{palette.LIGHT['keep']};" in colours(".rv-lesson")
    True
    """
    themes = {"": palette.LIGHT, '[data-jp-theme-light="false"] ': palette.DARK}
    rules = []
    for prefix, names in themes.items():
        values = {name: f"var({page[name]}, {value})" if name in page else value for name, value in names.items()}
        values |= {f"category-{category.value}": palette.CATEGORIES[category.name] for category in Category}
        values[f"category-{Category.KEPT.value}"] = names["keep"]
        rules.append(f"{prefix}{selector} {{{''.join(f'--rv-{name}:{value};' for name, value in values.items())}}}")
    return "\n".join(rules)
