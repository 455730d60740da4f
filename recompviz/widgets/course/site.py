"""The course site: one page for each notebook, an index page, and one style sheet and script for all.

``recompviz course OUT`` writes it. The pages open from a disk: formulas are MathML, lessons step without a
kernel, and nothing is loaded from a network. A notebook whose cells have slide types can be shown as slides.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import recompviz
from recompviz.core.base import palette
from recompviz.core.base.errors import FileError
from recompviz.core.base.files import make_folder, read_text, write_file
from recompviz.widgets.base import assets
from recompviz.widgets.course.highlight import highlighted
from recompviz.widgets.course.live_cells import run_cells
from recompviz.widgets.course.markdown import title_of, to_html
from recompviz.widgets.lessons.lesson import lesson_css
from recompviz.widgets.lessons.lesson_page import page_css, page_script

PATTERN = "[0-9]-*.ipynb"
MOST_BYTES = 50 << 20  # of a notebook
STYLES = assets.HERE / "css" / "lessons" / "course.css"

_PAGE = """<!doctype html>
<html lang="en" data-jp-theme-light="true">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="stylesheet" href="course.css">
</head>
<body>
<header class="rv-top"><nav aria-label="Course">{nav}</nav>
<span class="rv-tools">{tools}<button id="rv-theme" type="button">Dark or light</button></span></header>
<main class="rv-course">
{body}
</main>
<footer class="rv-turn">{turn}</footer>
<script src="course.js"></script>
</body>
</html>
"""
_SLIDES = '<button id="rv-slides" type="button">Slides</button>'
# the saved text of a widget that is shown live; an Explorer would need PyTorch
_LESSON = re.compile(r"(?!Explorer)[A-Z]\w*\(")


@dataclass
class Site:
    """The pages that :func:`write_site` has written.

    Attributes
    ----------
    pages : list of Path
        The pages, the index first.
    lessons : int
        The number of lessons in the pages that work without a kernel.
    size : int
        The size of all files together, in bytes.
    problems : list of str
        A sentence for each part of a page that is not as it should be: a formula shown as LaTeX, a lesson shown as a
        picture, or a picture that does not exist.
    """

    pages: list[Path] = field(default_factory=list)
    lessons: int = 0
    size: int = 0
    problems: list[str] = field(default_factory=list)


def find_course(folder: Path | None = None) -> list[Path]:
    """Return the notebooks of the course, in order.

    Parameters
    ----------
    folder : Path, optional
        The folder of the notebooks. Default: ``notebooks`` in the checkout of recompviz, if it has notebooks of the
        course; otherwise ``notebooks`` in the current folder.

    Raises
    ------
    FileError
        If the folder has no notebook whose name starts with a digit and a hyphen.
    """
    folders = [Path(recompviz.__file__).resolve().parent.parent / "notebooks", Path.cwd() / "notebooks"]
    for candidate in [folder] if folder else folders:
        if found := sorted(candidate.glob(PATTERN)):
            return found
    raise FileError(
        str(folder or folders[-1]),
        f"it has no notebook {PATTERN}",
        "give the folder of the course's notebooks",
        reads=True,
    )


def write_site(out: str | Path, folder: Path | None = None) -> Site:
    """Write the pages of the course.

    The cells that make lessons are run, and the cells that these need. If a cell cannot run, for example because
    PyTorch is missing, the page shows the saved picture of the lesson. All other outputs are the saved ones.

    Parameters
    ----------
    out : str or Path
        The folder of the pages; it is made if it does not exist.
    folder : Path, optional
        The folder of the notebooks. If None, as for :func:`find_course`.

    Returns
    -------
    Site

    Raises
    ------
    FileError
        If there is no notebook, a notebook cannot be read, or a page cannot be written. The error is also an OSError.
    """
    site = Site()
    sources = find_course(folder)
    notebooks = {path.stem: _read(path) for path in sources}
    titles = {stem: _title(notebook) or stem for stem, notebook in notebooks.items()}
    target = make_folder(out)
    files: dict[str, str | bytes] = {"index.html": _index(notebooks, titles)}
    for path in sources:
        page = _Page(path.stem, notebooks[path.stem], titles, site)
        files[f"{path.stem}.html"] = page.html()
        files.update(page.pictures(path.parent))
    files["course.css"] = "\n".join([lesson_css(), page_css(), _colours(), STYLES.read_text(encoding="utf-8")])
    files["course.js"] = page_script()
    for name, content in files.items():
        make_folder((target / name).parent)
        written = write_file(target / name, content, durable=False)
        site.size += written.stat().st_size
        if name.endswith(".html"):
            site.pages.append(written)
    return site


def _read(path: Path) -> dict[str, Any]:
    try:
        notebook = json.loads(read_text(path, MOST_BYTES))
        return {"cells": [dict(cell) for cell in notebook["cells"]]}
    except (ValueError, KeyError, TypeError) as error:
        raise FileError(
            str(path), f"it is not a notebook ({error})", "give a folder of notebooks", reads=True
        ) from error


def _text(cell: Mapping[str, Any], key: str = "source") -> str:
    value = cell.get(key, "")
    return "".join(value) if isinstance(value, list) else str(value)


def _slide(cell: Mapping[str, Any]) -> str:
    """Return the slide type of a cell; empty if it has none."""
    return str(cell.get("metadata", {}).get("slideshow", {}).get("slide_type") or "")


def _title(notebook: Mapping[str, Any]) -> str:
    texts = (_text(cell) for cell in notebook["cells"] if cell.get("cell_type") == "markdown")
    return next(filter(None, map(title_of, texts)), "")


def _index(notebooks: Mapping[str, Mapping[str, Any]], titles: Mapping[str, str]) -> str:
    items = []
    for stem, title in titles.items():
        first = next((_text(cell) for cell in notebooks[stem]["cells"] if cell.get("cell_type") == "markdown"), "")
        paragraphs = [
            part for part in re.split(r"\n\s*\n", first) if part.strip() and not part.lstrip().startswith("#")
        ]
        about = to_html(paragraphs[0], titles) if paragraphs else ""
        items.append(f'<li><a href="{stem}.html">{escape(title)}</a>{about}</li>')
    body = (
        "<h1>Recomputation: the course</h1>\n<p>Pictures step with the buttons, the slider or the arrow keys. "
        f'No network and no installation are needed.</p>\n<ol class="rv-contents">{"".join(items)}</ol>'
    )
    return _PAGE.format(title="Recomputation: the course", nav="<span>Course</span>", body=body, turn="", tools="")


class _Page:
    """The page of one notebook."""

    def __init__(self, stem: str, notebook: Mapping[str, Any], titles: Mapping[str, str], site: Site) -> None:
        self.stem, self.cells, self.titles, self.site = stem, notebook["cells"], titles, site
        self.used: set[str] = set()

    def html(self) -> str:
        code = [i for i, cell in enumerate(self.cells) if cell.get("cell_type") == "code"]
        wanted = [place for place, i in enumerate(code) if any(map(_is_lesson, self.cells[i].get("outputs", [])))]
        lessons, problem = run_cells([_text(self.cells[i]) for i in code], wanted)
        if problem:
            self.site.problems.append(f"{self.stem}: lessons from a cell on are pictures ({problem})")
        live = {code[place]: parts for place, parts in lessons.items()}
        body = "\n".join(self.cell(cell, live.get(i, [])) for i, cell in enumerate(self.cells))
        stems = list(self.titles)
        at = stems.index(self.stem)
        turn = [f'<a href="{stems[at - 1]}.html">← {escape(self.titles[stems[at - 1]])}</a>' if at else "<span></span>"]
        turn += (
            [f'<a href="{stems[at + 1]}.html">{escape(self.titles[stems[at + 1]])} →</a>']
            if at + 1 < len(stems)
            else []
        )
        links = ['<a href="index.html">Course</a>']
        for stem in stems:
            here = ' aria-current="page"' if stem == self.stem else ""
            links.append(f'<a href="{stem}.html"{here}>{escape(stem.split("-")[0])}</a>')
        title = escape(self.titles[self.stem])
        tools = _SLIDES if any(_slide(cell) for cell in self.cells) else ""
        return _PAGE.format(title=title, nav="".join(links), body=body, turn="".join(turn), tools=tools)

    def cell(self, cell: Mapping[str, Any], lessons: Sequence[str]) -> str:
        kind = f' data-slide="{escape(_slide(cell))}"' if _slide(cell) else ""
        if cell.get("cell_type") == "markdown":
            text = self.markdown(_text(cell))
            self.used |= set(re.findall(r'<img src="([\w./-]+)"', text))
            if _slide(cell) == "notes":
                return f"<details{kind}><summary>Notes for speakers</summary>{text}</details>"
            return f"<section{kind}>{text}</section>"
        if cell.get("cell_type") != "code":
            return ""
        left = list(lessons)
        hidden = " data-code-hidden" if cell.get("metadata", {}).get("jupyter", {}).get("source_hidden") else ""
        parts = [f'<pre class="rv-code"{hidden}><code>{highlighted(_text(cell).rstrip())}</code></pre>']
        for output in cell.get("outputs", []):
            if left and _is_lesson(output):
                parts.append(f'<div class="rv-wide">{left.pop(0)}</div>')
                self.site.lessons += 1
            else:
                parts.append(self.output(output))
        return f'<div class="rv-cell"{kind}>{"".join(parts)}</div>'

    def output(self, output: Mapping[str, Any]) -> str:
        """Return a saved output as HTML, in the richest of its forms."""
        if output.get("output_type") == "stream":
            return _preformatted(_text(output, "text"))
        if output.get("output_type") == "error":
            return _preformatted(f"{output.get('ename')}: {output.get('evalue')}")
        data = output.get("data", {})
        for kind in ("image/svg+xml", "text/html"):
            if kind in data:
                return f'<div class="rv-wide">{_text(data, kind)}</div>'
        if "image/png" in data:
            words, content = escape(_text(data, "text/plain")), _text(data, "image/png").strip()
            return f'<img alt="{words}" src="data:image/png;base64,{content}">'
        if "text/markdown" in data:
            return f'<div class="rv-out">{self.markdown(_text(data, "text/markdown"))}</div>'
        return _preformatted(_text(data, "text/plain"))

    def markdown(self, text: str) -> str:
        problems: list[str] = []
        page = to_html(text, self.titles, problems)
        self.site.problems += [f"{self.stem}: {problem}" for problem in problems]
        return page

    def pictures(self, folder: Path) -> dict[str, bytes]:
        """Return the picture files that the page shows: name relative to the page → content."""
        found = {}
        for name in sorted(self.used):
            file = (folder / name).resolve()
            if file.is_relative_to(folder.resolve()) and file.is_file():
                found[name] = file.read_bytes()
            else:
                self.site.problems.append(f"{self.stem}: there is no picture {name!r}")
        return found


def _preformatted(text: str) -> str:
    return f'<pre class="rv-out">{escape(text)}</pre>'


def _is_lesson(output: Mapping[str, Any]) -> bool:
    data = output.get("data", {})
    return "image/svg+xml" in data and bool(_LESSON.match(_text(data, "text/plain")))


def _colours() -> str:
    """Return the colours of the pages around the lessons as custom properties, for both themes."""
    names = ("text", "muted", "line", "quiet", "keep", "good", "bad", "second")
    rules = []
    for light, colours in (("true", palette.LIGHT), ("false", palette.DARK)):
        body = "".join(f"--rv-{name}:{colours[name]};" for name in names)
        rules.append(f'html[data-jp-theme-light="{light}"]{{{body}}}')
    return "\n".join(rules)
