"""The course as static pages: formulas, Markdown, which cells run, and what a page shows where a cell cannot run."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import recompviz as rv
from recompviz import cli
from recompviz.widgets.course.highlight import highlighted
from recompviz.widgets.course.live_cells import needed, run_cells
from recompviz.widgets.course.markdown import to_html
from recompviz.widgets.course.mathml import FormulaError, formulas, mathml
from recompviz.widgets.course.site import find_course, write_site

COURSE = find_course()


def text_of(latex: str) -> str:
    return "".join(ET.fromstring(mathml(latex)).itertext())


@pytest.mark.parametrize("path", COURSE, ids=lambda path: path.stem)
def test_every_formula_of_the_course_is_converted(path: Path) -> None:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    texts = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]
    found = [formula for text in texts for formula in formulas(text)]
    for _, _, latex, block in found:
        ET.fromstring(mathml(latex, block=block))
    assert len(found) > 10
    for text in texts:  # a dollar sign that is left in the prose is half a formula
        spans = [(start, end) for start, end, _, _ in formulas(text)]
        rest = "".join(letter for i, letter in enumerate(text) if not any(a <= i < b for a, b in spans))
        assert "$" not in rest.replace("`$`", "")


def test_a_formula_keeps_its_symbols_scripts_and_limits() -> None:
    assert text_of(r"\partial(L) = \delta^-(V \setminus L) \cap L") == "∂(L)=δ−(V∖L)∩L"
    assert text_of(r"R(L, t) = \min_{L' \supsetneq L} \; \max\big(\, p, x \,\big)") == "R(L,t)=minL′⊋Lmax(p,x)"
    root = ET.fromstring(mathml(r"\sum_{v \in S}^{k} M_v^2 + \frac{a}{\sqrt{n}} \text{ if } x", block=True))
    assert root.get("display") == "block"
    assert [element.tag for element in root.iter()].count("munderover") == 1
    assert root.find(".//msubsup/mn").text == "2"  # type: ignore[union-attr]
    assert root.find(".//mfrac/msqrt/mi").text == "n"  # type: ignore[union-attr]
    assert root.find(".//mtext").text == "\u00a0if\u00a0"  # type: ignore[union-attr]
    rows = ET.fromstring(mathml(r"\begin{cases} a & x < 1 \\ b & \text{else} \end{cases}")).findall(".//mtr")
    assert [len(row) for row in rows] == [2, 2]


@pytest.mark.parametrize("latex", [r"\wrong", "{a", "a}", r"\frac{a}", r"\begin{wrong}a\end{wrong}", r"\text{a"])
def test_a_formula_that_cannot_be_converted_is_refused_and_shown_as_latex(latex: str) -> None:
    with pytest.raises(FormulaError, match=r"the formula"):
        mathml(latex)
    problems: list[str] = []
    assert "<code>" in to_html(f"so ${latex}$ here", problems=problems)
    assert len(problems) == 1


def test_markdown_keeps_tables_quotes_code_and_links() -> None:
    page = to_html(
        "> **Def.** for $i$:\n> $$\\max_i\n> M(i)$$\n\n| term | $x_1|y$ |\n|---|---|\n| `$a$` | b |\n\n"
        "[next](2-next.ipynb), [other](other.ipynb), [paper](https://arxiv.org/abs/1)",
        {"2-next"},
    )
    assert page.count("<blockquote>") == 1
    assert '<math display="block"' in page[page.index("<blockquote>") : page.index("</blockquote>")]
    assert "<td><code>$a$</code></td>" in page
    assert '<a href="2-next.html">next</a>, other, <a href="https://arxiv.org/abs/1">paper</a>' in page


def test_code_is_marked_and_never_changed() -> None:
    source = 'def f(x):\n    """<doc>"""\n    return f"{x!r} & {x + 1}" if x else None  # 1 < 2\n'
    marked = highlighted(source)
    assert "".join(ET.fromstring(f"<pre>{marked}</pre>").itertext()) == source
    assert '<span class="k">def</span>' in marked
    assert highlighted("%time x <") == "%time x &lt;"


def test_only_the_cells_that_a_lesson_needs_run() -> None:
    sources = [
        "import torch_that_is_not_here",
        "import recompviz as rv",
        "play = rv.playground('diamond')",
        "play.chosen = 'ab'\nplay",
        "print('never')\nplay.chosen = ''",
        "play",
    ]
    assert needed(sources, [3]) == [1, 2, 3]
    lessons, problem = run_cells(sources, [3, 5])
    assert (sorted(lessons), problem) == ([3, 5], "")
    assert "{a, b} is a lower set" in lessons[3][0]  # in the state right after the cell
    assert "{a, b} is a lower set" not in lessons[5][0]
    lessons, problem = run_cells(["x = missing", "x"], [1])
    assert (lessons, problem) == ({}, "NameError: name 'missing' is not defined")


def notebook(folder: Path, name: str, *cells: dict[str, Any]) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))


def code(source: str, *outputs: dict[str, Any]) -> dict[str, Any]:
    return {"cell_type": "code", "source": source, "outputs": outputs, "metadata": {}}


def words(source: str, slide: str = "") -> dict[str, Any]:
    return {"cell_type": "markdown", "source": source, "metadata": {"slideshow": {"slide_type": slide}}}


def picture(text: str) -> dict[str, Any]:
    data = {"image/svg+xml": "<svg><!-- saved --></svg>", "image/png": "AA==", "text/plain": text}
    return {"output_type": "execute_result", "data": data}


def test_a_site_has_a_page_for_each_notebook_and_an_index(tmp_path: Path) -> None:
    source = tmp_path / "notebooks"
    notebook(
        source,
        "0-start.ipynb",
        words("# 0 · Start\n\nFor $n$ values. ![net](images/net.png)"),
        words("Say this.", "notes"),
        code("import recompviz as rv\nrv.playground('chain')", picture("Playground(6 nodes)")),
        code("print(1)", {"output_type": "stream", "name": "stdout", "text": ["1 < 2\n"]}),
    )
    notebook(
        source,
        "1-next.ipynb",
        words("# 1 · Next\n\n$\\wrong$"),
        code("import not_here\nnot_here.show()", picture("Stepper(...)")),
    )
    notebook(source, "other.ipynb", words("# Other"))
    (source / "images").mkdir()
    (source / "images" / "net.png").write_bytes(b"png")
    site = write_site(tmp_path / "out" / "course", source)
    assert [page.name for page in site.pages] == ["index.html", "0-start.html", "1-next.html"]
    first, second = (page.read_text(encoding="utf-8") for page in site.pages[1:])
    assert site.lessons == first.count("application/x-recompviz-lesson") == 1
    assert '<pre class="rv-out">1 &lt; 2' in first
    assert "<summary>Notes for speakers</summary><p>Say this.</p>" in first
    assert (tmp_path / "out" / "course" / "images" / "net.png").read_bytes() == b"png"
    assert "<!-- saved -->" in second
    assert len(site.problems) == 2
    assert "1-next: the formula" in site.problems[0] + site.problems[1]
    assert "1-next: lessons from a cell on are pictures (ModuleNotFoundError" in site.problems[0] + site.problems[1]
    assert "1 · Next →" in first
    assert site.size == sum(file.stat().st_size for file in (tmp_path / "out").rglob("*") if file.is_file())


def test_the_command_writes_the_site_and_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    notebook(tmp_path / "course", "1-a.ipynb", words("# A"))
    assert cli.main(["course", str(tmp_path / "out"), "--notebooks", str(tmp_path / "course")]) == 0
    assert "wrote 2 pages with 0 interactive pictures" in capsys.readouterr().out
    assert cli.main(["course", str(tmp_path / "out"), "--notebooks", str(tmp_path / "none")]) == 1
    assert "give the folder of the course's notebooks" in capsys.readouterr().err
    (tmp_path / "course" / "2-b.ipynb").write_text("{")
    with pytest.raises(rv.FileError, match="not a notebook"):
        write_site(tmp_path / "out", tmp_path / "course")
    with pytest.raises(SystemExit):
        cli.main(["course", str(tmp_path), "--wrong"])


def stems(paths: Sequence[Path]) -> list[str]:
    return [path.stem for path in paths]


def test_the_course_is_found_by_its_names() -> None:
    assert {"1-lower-sets", "2-canonical-strategy", "3-dynamic-programme", "4-from-theory-to-gpu"} <= set(stems(COURSE))
    assert all(stem[0].isdigit() for stem in stems(COURSE))
