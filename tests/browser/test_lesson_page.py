"""Lessons as pages without a kernel, opened from the disk with the network off, in both themes."""

from __future__ import annotations

import itertools
import re
from contextlib import contextmanager

import pytest

import recompviz as rv
from recompviz.core.teaching.small_graphs import small_graph
from recompviz.widgets.lessons.lesson import lesson_css
from recompviz.widgets.lessons.lesson_page import lesson_html, lesson_page

pytestmark = pytest.mark.browser

PLAYGROUND = ("_lesson", "_presets", "_scene", "_chosen", "_sequence", "_stepper")
BLOCK = {
    "input": 3, "norm1": 3, "attention.qkv": 9, "attention.scores": 33, "attention.out": 3, "add1": 3, "norm2": 3,
    "mlp.up": 12, "mlp.gelu": 12, "mlp.down": 3, "add2": 3,
}  # fmt: skip


def block():
    """A transformer block with real sizes and long names."""
    names = list(BLOCK)
    edges = [*itertools.pairwise(names), ("input", "add1"), ("add1", "add2")]
    return rv.Graph.from_edges(edges, memory={name: size << 18 for name, size in BLOCK.items()})


@pytest.fixture
def open_lesson(chromium, tmp_path):
    """Open a lesson's page offline; a function that gives a context manager."""

    @contextmanager
    def open_(lesson, theme="light"):
        lesson.to_html(tmp_path / "page.html")
        context = chromium.new_context(viewport={"width": 1280, "height": 720}, color_scheme=theme, offline=True)
        page = context.new_page()
        errors = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto((tmp_path / "page.html").as_uri())
        page.wait_for_selector("html[data-mounted]")
        yield page
        assert errors == []
        context.close()

    return open_


def button(page, name):
    return page.get_by_role("button", name=name, exact=True)


def caption(page):
    return page.locator(".rv-tcaption").inner_text()


# for each chapter of each lesson: pairs of texts that share more than a few pixels, and a height above the limit
FAULTS = """() => [...document.querySelectorAll('.rv-lesson')].flatMap((lesson) => {
  const meet = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 2
    && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 5;
  const chapters = [...lesson.querySelectorAll('.rv-tchapters button')];
  return (chapters.length ? chapters : [null]).flatMap((chapter) => {
    chapter?.click();
    const texts = [...lesson.querySelectorAll('.rv-scene text')].filter((e) => e.textContent);
    const boxes = texts.map((e) => [e.textContent, e.getBoundingClientRect()]);
    const pairs = boxes.flatMap(([s, a], i) =>
      boxes.slice(i + 1).filter(([, b]) => meet(a, b)).map(([t]) => `${s} | ${t}`));
    const height = lesson.getBoundingClientRect().height;
    const words = lesson.querySelector('.rv-tbar').innerText.replaceAll('\\n', ' ');
    return [...pairs, ...(chapter && height > 600 ? [`${words}: ${height} px high`] : [])];
  });
})"""


def test_texts_do_not_collide_and_a_stepper_fits_the_page(chromium, tmp_path):
    parts = []
    graphs = [*map(small_graph, ("diamond", "inception", "uneven chain")), block()]
    for graph in graphs:
        play = rv.playground(graph)
        traits = {name: getattr(play, name) for name in PLAYGROUND}
        parts.append(lesson_html({"kind": "playground", "traits": traits}, ""))  # without the frames of its strategies
        steppers = (
            rv.step_strategy(graph),
            rv.step_strategy(graph, []),
            rv.step_programme(graph),
            rv.step_budgets(graph),
        )
        parts += [stepper.lesson_html() for stepper in steppers]
    (tmp_path / "all.html").write_text(lesson_page(parts, "all", lesson_css()), encoding="utf-8")
    context = chromium.new_context(viewport={"width": 1280, "height": 720}, offline=True)
    page = context.new_page()
    page.goto((tmp_path / "all.html").as_uri())
    page.wait_for_selector("html[data-mounted]")
    assert page.locator(".rv-teach").count() == 5 * len(graphs)
    assert page.evaluate(FAULTS) == []
    context.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_page_steps_both_ways_by_mouse_and_keys(open_lesson, theme):
    with open_lesson(rv.step_strategy("chain", ["a", "abc"]), theme) as page:
        assert page.locator("html").get_attribute("data-jp-theme-light") == str(theme == "light").lower()
        seen = [caption(page)]
        for _ in range(5):
            button(page, "Next step").click()
            seen.append(caption(page))
        assert len(set(seen)) == 6
        page.get_by_label("Step", exact=True).focus()
        for before in reversed(seen[:-1]):
            page.keyboard.press("ArrowLeft")
            assert caption(page) == before
        page.keyboard.press("End")
        assert caption(page).startswith("All gradients are computed; discard ")


def test_the_next_bar_is_drawn_and_what_is_freed_is_marked(open_lesson):
    with open_lesson(rv.step_strategy("diamond", [{"a", "b"}, {"a", "b", "c", "d"}], predict=True)) as page:
        answer = page.locator(".rv-tanswer")
        chart = page.locator(".rvt-veil").bounding_box()
        scale = chart["height"] / 123  # pixels of the page per pixel of the picture; the veil is 123 high
        page.mouse.move(chart["x"] + 10, chart["y"] + chart["height"] - 40 * scale)
        page.mouse.down()
        page.mouse.move(chart["x"] + 10, chart["y"] + chart["height"] - 2 * 7.5 * scale, steps=4)  # 2 of 16 bytes
        page.mouse.up()
        assert page.get_by_label("Predicted memory").input_value() == "2"
        assert page.locator(".rvt-guess").count() == 1
        assert caption(page).startswith("Nothing is computed yet")  # the click did not step
        button(page, "Reveal").click()
        assert answer.inner_text() == "Right: 2 live."
        page.get_by_label("Predicted memory").fill("7")
        page.keyboard.press("Enter")
        assert answer.inner_text() == "Not quite: 3 live."
        assert "segment 1 ends forward" in page.locator(".rv-tpredict").inner_text()
        button(page, "Reveal").click()  # nothing marked: nothing freed
        assert answer.inner_text() == "Right: freed: nothing."
        for _ in range(2):
            button(page, "Next step").click()
        assert "segment 2 ends forward" in page.locator(".rv-tpredict").inner_text()
        page.locator(".rv-choice", has=page.locator("title", has_text=re.compile("^c$"))).click()
        page.keyboard.press("ArrowRight")
        assert answer.inner_text() == "Not quite: freed: c." or answer.inner_text() == "Right: freed: c."
        assert page.get_by_text("of 4 right").inner_text() == "3 of 4 right"


def test_a_playground_without_a_kernel_takes_a_sequence_and_steps_through_it(open_lesson):
    with open_lesson(rv.playground("diamond")) as page:
        button(page, "node b").click()
        page.get_by_role("button", name=re.compile("Take the closure")).click()
        button(page, "Add the set to the sequence").click()
        costs = page.locator(".rv-tcosts").inner_text()
        plan = rv.Plan.from_lower_sets(rv.playground("diamond").graph, ["ab", "abcde"])
        assert (
            costs
            == f"∅ ⊊ {{a, b}} ⊊ {{a, b, c, d, e}} (V is added at the end): overhead {plan.overhead:g}, peak {plan.peak}"
        )
        button(page, "Step through the strategy").click()
        assert caption(page).startswith("Nothing is computed yet: ∅ ⊊ {a, b} ⊊")
        assert not page.get_by_text("Change the graph").is_visible()


def test_the_shown_step_is_saved_as_a_picture(open_lesson, tmp_path):
    with open_lesson(rv.step_strategy("diamond")) as page:
        for kind, start in (("svg", b"<svg"), ("png", b"\x89PNG")):
            with page.expect_download() as download:
                page.get_by_label("Save the picture").select_option(kind)
            assert download.value.suggested_filename.endswith(f"-1.{kind}")
            download.value.save_as(tmp_path / kind)
            assert (tmp_path / kind).read_bytes().startswith(start)


def test_one_budget_moves_curve_strip_graph_and_lattice_together(open_lesson):
    with open_lesson(rv.step_budgets("inception")) as page:
        kept = (
            "[...document.querySelectorAll('.rvt-recompute, .rvt-cell-path, .rvt-point-lit')].map((e) => e.outerHTML)"
        )
        strip = "document.querySelector('.rvt-bar-recompute').getAttribute('d')"
        slider, seen = page.get_by_label("Step", exact=True), []
        assert page.locator(".rv-tplace").inner_text() == "budget 23"
        slider.press("Home")
        for _ in range(5):
            seen.append(
                (caption(page), page.locator(".rv-tplace").inner_text(), page.evaluate(kept), page.evaluate(strip))
            )
            page.keyboard.press("ArrowRight")
        assert [place for _, place, _, _ in seen] == [f"budget {size}" for size in range(21, 26)]
        assert slider.get_attribute("aria-valuetext") == "budget 26"
        assert len(seen[0][2]) == 1  # only the legend: the first budget is infeasible
        for before, after in itertools.pairwise(seen):
            assert all(one != other for one, other in zip(before, after, strict=True))
        page.keyboard.press("ArrowLeft")
        assert caption(page) == seen[-1][0]
        button(page, "budget 22: overhead 7").click()
        assert caption(page) == seen[1][0]
