"""Every notebook, converted to a page without a kernel, shows its pictures; the Explorer's is that of a final plan."""

import base64
import pathlib
import re
import subprocess
import sys
from urllib.parse import unquote

import nbformat
import pytest

pytestmark = pytest.mark.browser
HOME = pathlib.Path(__file__).parent.parent.parent / "notebooks"
NOTEBOOKS = sorted(HOME.glob("*.ipynb"))


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    command = [sys.executable, "-m", "nbconvert", "--to", "html", "--output-dir", str(folder)]
    subprocess.run([*command, *map(str, NOTEBOOKS)], check=True, capture_output=True, timeout=300)
    return folder


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_pictures_of_a_notebook_are_on_its_page(path, pages, chromium):
    context = chromium.new_context(viewport={"width": 1280, "height": 900}, offline=True)
    page = context.new_page()
    page.goto((pages / f"{path.stem}.html").as_uri(), wait_until="domcontentloaded")
    assert "Error displaying widget" not in page.locator("body").inner_text()
    outputs = [o for cell in nbformat.read(path, as_version=4).cells for o in cell.get("outputs", [])]
    expected = sum("image/svg+xml" in output.get("data", {}) for output in outputs)
    pictures = page.locator(".jp-RenderedSVG, .jp-RenderedImage")
    assert pictures.count() == expected
    for i in range(expected):
        box = pictures.nth(i).bounding_box()
        assert box["width"] > 100
        assert box["height"] > 20
    broken = page.evaluate("[...document.images].filter((image) => image.complete && !image.naturalWidth).length")
    assert broken == 0
    if path.stem == "explore":
        source = pictures.first.evaluate("element => element.innerHTML")
        packed = re.search(r'data:image/svg\+xml;base64,([\w+/=]+)"', source)
        text = base64.b64decode(packed[1]).decode() if packed else unquote(source)
        assert "values recomputed" in text
    context.close()
