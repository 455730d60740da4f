"""Make the pictures of the README: ``python notebooks/pictures.py [explorer] [step] [ranks]``, without arguments all.

A JupyterLab on this machine runs the cells below, and Chromium without a window photographs the view in light and dark.
The times of operators in the pictures are measured on this machine, so run it on a machine with no other load, when the
look of the Explorer has changed.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from recompviz.benchmarks.explorer.page import Lab, chromium, opened

IMAGES = Path(__file__).parent / "images"
RESNET = """
import torch
import recompviz as rv
from recompviz import networks

model = networks.resnet50()
x, y = torch.randn(8, 3, 224, 224), torch.randint(0, 1000, (8,))
explorer = rv.explore(model, x, targets=(y,), loss=torch.nn.functional.cross_entropy)
explorer
"""
MOE = """
import torch
from torch import nn


class Experts(nn.Module):
    def __init__(self, width, count):
        super().__init__()
        self.router = nn.Linear(width, count)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)) for _ in range(count)
        )

    def forward(self, x):
        gate, chosen = self.router(x).softmax(-1).max(-1)
        out = torch.zeros_like(x)
        for i, expert in enumerate(self.experts):
            mask = chosen == i
            out[mask] = gate[mask, None] * expert(x[mask])
        return out


class Net(nn.Module):
    def __init__(self, width=128, count=4):
        super().__init__()
        self.inp = nn.Sequential(nn.Linear(32, width), nn.GELU(), nn.Linear(width, width), nn.GELU())
        self.moe = Experts(width, count)
        self.out = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, 8))

    def forward(self, x):
        return self.out(self.moe(self.inp(x)))
"""
STEP = """
import torch
import recompviz as rv
from moe import Net

torch.manual_seed(0)
model = rv.compile(Net(), total="20 MiB")
x, y = torch.randn(2048, 32), torch.randint(0, 8, (2048,))
for _ in range(4):
    torch.nn.functional.cross_entropy(model(x), y).backward()
rv.explore(model)
"""

RANKS = """
import recompviz as rv
from recompviz.benchmarks.ranks.stages import stage_of

stages = [stage_of(stage, 4, layers=12, micro_batches=8) for stage in range(4)]  # of a GPT-2
rv.explore_ranks(stages, budget="60%", title="GPT-2", background=False)
"""


def shoot(page: Any, name: str, first: str, last: str) -> None:
    """Write a picture of the view, from the upper edge of one element to the lower edge of another."""
    top = page.locator(first).first.bounding_box()
    end = page.locator(last).first.bounding_box()
    view = page.locator(".rv-explorer").first.bounding_box()
    height = end["y"] + end["height"] - top["y"]
    clip = {"x": view["x"], "y": top["y"], "width": view["width"], "height": height}
    page.screenshot(path=IMAGES / f"{name}.png", clip=clip)


def wear(page: Any, theme: str) -> None:
    """Choose a theme of JupyterLab in its menu."""
    page.get_by_role("menuitem", name="Settings", exact=True).click()
    page.locator(".lm-Menu-itemLabel", has_text=re.compile("^Theme$")).hover()
    page.locator(".lm-Menu-itemLabel", has_text=re.compile(f"^JupyterLab {theme}$")).click()
    page.wait_for_timeout(1500)
    page.locator(".rv-explorer").first.scroll_into_view_if_needed()


def to_top(page: Any) -> None:
    """Scroll the view to the top of the window, and take the pointer off it."""
    page.locator(".rv-explorer").first.evaluate("view => view.scrollIntoView()")
    page.mouse.move(2, 2)
    page.wait_for_timeout(600)


def explorer_pictures(browser: Any, lab: Lab) -> None:
    """Photograph the Explorer, and its graph in the paper's view."""
    page = opened(browser, lab, "explorer.ipynb", RESNET)
    page.set_default_timeout(200_000)
    page.set_viewport_size({"width": 1400, "height": 1000})
    page.locator(".rv-bound path").first.wait_for(state="attached")  # after the search
    budget = page.get_by_label(re.compile("^Budget, typed"))
    budget.fill("500 MiB")
    budget.press("Enter")
    for theme in ("Light", "Dark"):
        wear(page, theme)
        to_top(page)
        shoot(page, f"explorer-{theme.lower()}", ".rv-header", ".rv-graph-foot")
    page.get_by_role("button", name="Paper's view").click()
    page.get_by_role("button", name="Shapes of the values on the lines").click()
    page.get_by_role("button", name=re.compile("^layer2, ")).click()
    page.get_by_role("button", name="Browse the plan's lower sets").click()
    for _ in range(11):
        page.get_by_role("button", name="Next lower set").click()
    for theme in ("Dark", "Light"):
        wear(page, theme)
        page.locator(".rv-bar").first.evaluate("bar => bar.scrollIntoView()")
        page.mouse.move(2, 2)
        page.wait_for_timeout(600)
        shoot(page, f"graph-{theme.lower()}", ".rv-bar", ".rv-sequence")
    page.context.close()


def step_picture(browser: Any, lab: Lab) -> None:
    """Photograph the recorded step of a compiled mixture of experts."""
    (lab.folder / "moe.py").write_text(MOE.lstrip(), "utf-8")
    page = opened(browser, lab, "step.ipynb", STEP)
    page.set_default_timeout(200_000)
    page.set_viewport_size({"width": 1260, "height": 1000})
    page.locator(".rv-explorer").first.wait_for()
    page.locator(".rv-tile-value").first.wait_for()
    to_top(page)
    view = page.locator(".rv-explorer").first.bounding_box()
    page.screenshot(path=IMAGES / "step-light.png", clip=view)
    page.context.close()


def ranks_picture(browser: Any, lab: Lab) -> None:
    """Photograph the four stages of a pipeline under one budget."""
    page = opened(browser, lab, "ranks.ipynb", RANKS)
    page.set_default_timeout(200_000)
    page.set_viewport_size({"width": 1260, "height": 1000})
    page.locator(".rv-ranks").first.wait_for()
    page.get_by_text("the kernel simulated these plans again").wait_for()
    to_top(page)
    page.screenshot(path=IMAGES / "ranks-light.png", clip=page.locator(".rv-ranks").first.bounding_box())
    page.context.close()


def main(names: list[str]) -> None:
    """Make the pictures with these names, or all."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = chromium(playwright)
        lab = Lab(Path(folder))
        try:
            if not names or "explorer" in names:
                explorer_pictures(browser, lab)
            if not names or "step" in names:
                step_picture(browser, lab)
            if not names or "ranks" in names:
                ranks_picture(browser, lab)
        finally:
            lab.stop()
            browser.close()


if __name__ == "__main__":
    main(sys.argv[1:])
