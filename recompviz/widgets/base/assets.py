"""The Explorer's JavaScript and CSS, joined into the one module and the one sheet that anywidget wants.

``js/<room>/*.js`` are plain ECMAScript modules that Node and a browser import as they are. For the widget they are
joined in the order of their imports, with the imports and the ``export`` keywords taken away, so no
build step and no download is needed. It follows that top-level names must be unique over all files.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from posixpath import dirname, normpath

HERE = Path(__file__).parent.parent
# of two rules of one weight the later holds
SHEETS = (
    "explorer/explorer", "graph/boxes", "explorer/card", "explorer/budget", "explorer/timeline", "graph/graph",
    "graph/modules", "graph/colouring", "graph/sequence", "explorer/panels", "explorer/pins", "explorer/drawer",
)  # fmt: skip
_IMPORT = re.compile(r"^import\s+(?:[\s\S]*?\sfrom\s+)?[\"'](\.[\w./]+)[\"'];[ \t]*\n", re.MULTILINE)
_EXPORT = re.compile(r"^export\s+(?!default\b)", re.MULTILINE)


@cache
def esm(entry: str = "explorer/explorer.js") -> str:
    """The one module: ``entry`` and everything it imports, each file once."""
    done: dict[str, str] = {}
    _join(entry, done)
    return "\n".join(f"// ---- {name}\n{text}" for name, text in done.items())


def _join(name: str, done: dict[str, str]) -> None:
    if name in done:
        return
    text = (HERE / "js" / name).read_text(encoding="utf-8")
    for needed in _IMPORT.findall(text):
        _join(normpath(f"{dirname(name)}/{needed}"), done)
    done[name] = _EXPORT.sub("", _IMPORT.sub("", text))


@cache
def css() -> str:
    """The style sheet of the Explorer: the files of ``SHEETS`` in this order."""
    return "\n".join((HERE / "css" / f"{name}.css").read_text(encoding="utf-8") for name in SHEETS)
