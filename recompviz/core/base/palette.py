"""The colours of all figures, static pictures and widgets.

Most hues are from the palette of Okabe and Ito, which colour-blind readers can tell apart. ``LIGHT`` and ``DARK`` map
the same names to the colours of the light and of the dark theme. ``CATEGORIES`` maps each category of memory to its
colour, the same in both themes. ``recompviz/widgets/base/assets.py`` passes these three tables to the style sheets of
the widgets as CSS custom properties.

References
----------
M. Okabe and K. Ito, *Color Universal Design*, 2008.
"""

from __future__ import annotations

BLUE, SKY, GREEN, YELLOW = "#0072b2", "#56b4e9", "#009e73", "#f0e442"
ORANGE, VERMILION, PINK, GREY, BLACK = "#e69f00", "#d55e00", "#cc79a7", "#8a929c", "#000000"

#: Name of a member of ``Category`` → colour. Memory that is allocated before the training step is grey.
CATEGORIES = {
    "PARAMETER": "#6b7480",
    "BUFFER": "#868f9b",
    "INPUT": "#a3abb5",
    "TARGET": "#bcc3cb",
    "OPTIMIZER": "#4b535d",
    "KEPT": BLUE,
    "TRANSIENT": SKY,
    "RECOMPUTED": ORANGE,
    "GRADIENT": GREEN,
    "PARAMETER_GRADIENT": PINK,
    "OUTPUT": YELLOW,
    "WORKSPACE": VERMILION,
    "OTHER": "#9aa0a6",
}

#: Colours of pictures without a ground: text and lines, and what covers a part of a chart. The text has nearly the same
#: contrast to white and to the ground of JupyterLab's dark theme, #111111.
ON_ANY_PAGE = {"text": "#7a7a7a", "veil": "#b4bac2"}

LIGHT = {
    # text and surfaces
    "text": "#1f2328", "muted": "#59636e", "surface": "#ffffff", "raised": "#ffffff", "quiet": "#f3f5f8",
    "line": "#d0d7de", "edge": "#8b98a7",
    # nodes by their state; "-line" is the border, "on-" the text
    "keep": BLUE, "keep-line": "#005a8e", "on-keep": "#ffffff",
    "transient": "#d3ecfa", "transient-line": "#56a5d4", "on-transient": "#0b3550",
    "recompute": ORANGE, "recompute-fill": "#ffe3a8", "recompute-ground": "#fff4d6", "recompute-hatch": "#f6d488",
    "on-recompute": "#4a3200",
    "gradient": "#00785a", "gradient-line": "#005540", "on-gradient": "#ffffff",
    # marks
    "accent": VERMILION, "accent-text": "#a84a00", "accent-wash": "#fde6d6",
    "wash": "#e4eef7", "good": "#00785a", "bad": "#b3261e",
    "second": "#a5487f", "cursor": "#8a1fd1",
    # the graph pane: bands of the segments, closed modules, classes of a quantity, hues of the segments
    "band-0": "#5a697d1a", "band-1": "#5a697d3d", "module-ground": "#f4f6f8",
    "level-0": "#f3f3ee", "level-1": "#d5e4ef", "level-2": "#a8cae1", "level-3": "#7db0d2", "level-4": "#4f93c1",
    "level-5": "#3177aa", "level-6": "#1b5f94", "level-7": "#114777", "level-8": "#082d55",
    "on-level-0": "#14181c", "on-level-1": "#0c1116", "on-level-2": "#0c1116", "on-level-3": "#0c1116",
    "on-level-4": "#0c1116", "on-level-5": "#ffffff", "on-level-6": "#ffffff", "on-level-7": "#ffffff",
    "on-level-8": "#ffffff",
    "hue-0": "#bfe1f6", "hue-1": "#b9e4d6", "hue-2": "#f0d3e2", "hue-3": "#f7efae", "on-hue": "#14181c",
    "hue-pattern": "#00000033",
    # the memory landscape: memory from before the step, gradients, workspace, strata in the order of the model
    "land-parameters": "#c3cad2", "land-static": "#ecd9a0", "land-optimizer": "#93a2b8", "land-gradients": "#e2c8f8",
    "land-flight": "#66717d", "land-workspace": "#b07f55", "land-hatch": "#f5a623", "land-edge": "#ffffff",
    "on-land": "#ffffff",
    "land-ramp-0": "#5d3a9b", "land-ramp-1": "#2a5db8", "land-ramp-2": "#0f8296", "land-ramp-3": "#2f8450",
    "land-ramp-4": "#77751a",
    # the memory of a rank of a distributed run
    "rank-parameters": "#6b7480", "rank-optimizer": "#a3abb5", "rank-inputs": "#d3d8de", "rank-gradients": PINK,
    "rank-gathered": GREEN, "rank-collectives": YELLOW, "rank-flight": SKY,
}  # fmt: skip
DARK = {
    "text": "#e6e9ed", "muted": "#a8b1bb", "surface": "#111418", "raised": "#1a1e24", "quiet": "#1d2228",
    "line": "#343b44", "edge": "#7d8896",
    "keep": "#3793d0", "keep-line": "#7cc3f0", "on-keep": "#04121c",
    "transient": "#17364a", "transient-line": "#56a5d4", "on-transient": "#cfeafb",
    "recompute": "#e9a820", "recompute-fill": "#4a380e", "recompute-ground": "#3a2c0c", "recompute-hatch": "#6b5014",
    "on-recompute": "#ffe2a0",
    "gradient": "#2aa983", "gradient-line": "#8ce8cc", "on-gradient": "#03130e",
    "accent": "#ff8a3c", "accent-text": "#ff8a3c", "accent-wash": "#46280f",
    "wash": "#1b2c3b", "good": "#3ecfa3", "bad": "#ff8f86",
    "second": "#e79cc4", "cursor": "#d08bff",
    "band-0": "#a0afc31a", "band-1": "#a0afc340", "module-ground": "#262b31",
    "level-0": "#2a2f35", "level-1": "#0a3460", "level-2": "#124978", "level-3": "#1b5f94", "level-4": "#3177aa",
    "level-5": "#5195c2", "level-6": "#7fb2d4", "level-7": "#adcde3", "level-8": "#dde9f2",
    "on-level-0": "#f2f5f8", "on-level-1": "#ffffff", "on-level-2": "#ffffff", "on-level-3": "#ffffff",
    "on-level-4": "#ffffff", "on-level-5": "#0c1116", "on-level-6": "#0c1116", "on-level-7": "#0c1116",
    "on-level-8": "#0c1116",
    "hue-0": "#7db9dc", "hue-1": "#77c2aa", "hue-2": "#d59cbb", "hue-3": "#d3c667", "on-hue": "#14181c",
    "hue-pattern": "#00000033",
    "land-parameters": "#3f4751", "land-static": "#6b5f3c", "land-optimizer": "#5d6f8c", "land-gradients": "#5b3f80",
    "land-flight": "#8b96a3", "land-workspace": "#b3814f", "land-hatch": "#ffc24d", "land-edge": "#111418",
    "on-land": "#0a1016",
    "land-ramp-0": "#a78bea", "land-ramp-1": "#6aa5f5", "land-ramp-2": "#45c3d6", "land-ramp-3": "#5fd092",
    "land-ramp-4": "#c6d15a",
    "rank-parameters": "#7d8692", "rank-optimizer": "#565e69", "rank-inputs": "#353c45", "rank-gradients": PINK,
    "rank-gathered": "#2aa983", "rank-collectives": "#d3c667", "rank-flight": "#9fd3f2",
}  # fmt: skip


def mixed(one: str, other: str, share: float) -> str:
    """Return a mixture of the colours ``one`` and ``other``, each a string ``"#rrggbb"``.

    ``share`` is the share of ``other``, from 0 to 1.

    Examples
    --------
    >>> mixed("#000000", "#ffffff", 0.5)
    '#808080'
    """
    pairs = [(int(one[i : i + 2], 16), int(other[i : i + 2], 16)) for i in (1, 3, 5)]
    return "#" + "".join(f"{int(a + (b - a) * share + 0.5):02x}" for a, b in pairs)
