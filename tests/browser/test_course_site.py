"""The course site, opened from the disk with the network off: formulas are set, lessons step both ways, both themes."""

from __future__ import annotations

import pytest

from recompviz.widgets.course.site import write_site

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    return write_site(tmp_path_factory.mktemp("site"))


# formulas that are not drawn as such: without height, or with LaTeX left in them
UNSET = """() => [...document.querySelectorAll('math')].filter((e) => {
  const { width, height } = e.getBoundingClientRect();
  return !e.closest('details:not([open])') && (width < 4 || height < 8) || /[\\\\$]/.test(e.textContent);
}).map((e) => e.getAttribute('alttext'))"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_page_opens_without_a_network(chromium, site, theme):
    assert site.problems == []
    assert site.size < 10 << 20
    context = chromium.new_context(viewport={"width": 1280, "height": 720}, color_scheme=theme, offline=True)
    page = context.new_page()
    asked, errors = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    steppers = 0
    for path in site.pages:
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-mounted]")
        assert page.evaluate(UNSET) == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        for player in page.locator(".rv-tplayer").all()[:2]:
            steppers += 1
            caption = player.locator(".rv-tcaption")
            player.get_by_label("Step", exact=True).press("Home")  # some open at their last step
            first = caption.inner_text()
            player.get_by_role("button", name="Next step", exact=True).click()
            assert caption.inner_text() != first
            player.get_by_role("button", name="Previous step", exact=True).click()
            assert caption.inner_text() == first
    assert steppers >= 5
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    before = page.evaluate(ground)
    page.get_by_role("button", name="Dark or light").click()
    assert page.evaluate(ground) != before
    page.goto(site.pages[0].as_uri())
    page.locator(".rv-contents a").first.click()
    page.wait_for_selector("html[data-mounted]")
    assert errors == []
    assert all(url.startswith(("file:", "data:", "blob:")) for url in asked)
    context.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_lecture_is_shown_as_slides_that_fit_the_screen(chromium, site, theme):
    context = chromium.new_context(viewport={"width": 1280, "height": 720}, color_scheme=theme, offline=True)
    page = context.new_page()
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(site.pages[2].as_uri())
    page.wait_for_selector("html[data-mounted]")
    assert page.get_by_role("button", name="Slides", exact=True).count() == 0  # only the lecture has slides
    page.goto(site.pages[1].as_uri())
    page.wait_for_selector("html[data-mounted]")
    page.get_by_role("button", name="Slides", exact=True).click()
    bar = page.get_by_role("navigation", name="Slides")
    count = int(bar.inner_text().split("/")[1].split()[0])
    assert count >= 14
    for i in range(1, count + 1):
        assert f"{i} / {count}" in " ".join(bar.inner_text().split())
        assert page.evaluate("document.documentElement.scrollHeight") <= 720
        assert page.get_by_text("Notes for speakers").filter(visible=True).count() == 0
        page.keyboard.press("PageDown")
    for _ in range(count):
        page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowRight")  # to the strips
    slider = page.get_by_label("Step", exact=True).filter(visible=True)
    slider.press("Home")
    caption = page.locator(".rv-tcaption").filter(visible=True)
    before = caption.inner_text()
    slider.press("ArrowRight")  # in a lesson, the key steps
    assert caption.inner_text() != before
    slider.press("PageDown")  # and this one turns the slide
    assert f"3 / {count}" in " ".join(bar.inner_text().split())
    page.reload()
    page.wait_for_selector("html[data-mounted]")
    assert f"3 / {count}" in " ".join(bar.inner_text().split())
    page.keyboard.press("Escape")
    assert page.get_by_text("Notes for speakers").filter(visible=True).count() == 8
    assert errors == []
    context.close()
