"""A scene: a picture with frames, made in Python and shown in the page or as a static SVG picture.

A scene is a list of SVG elements. An element with a key can change. The *patch* of a frame maps keys to the style, text
or attributes that replace those of the element. Frame i is shown by applying patch i to the original elements, so the
page can step in both directions without a kernel. A static picture shows one frame.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from html import escape
from textwrap import wrap
from typing import Any

from recompviz.widgets.base.styles import STYLES, still_sheet, style_attributes

Value = str | float | int
#: Key of an element → {"style", "text" or an SVG attribute: new value}.
Patch = Mapping[str, Mapping[str, Value]]


@dataclass(frozen=True)
class Element:
    """One SVG element of a scene.

    Attributes
    ----------
    tag : str
        For example ``"rect"``.
    style : str
        A key of :data:`recompviz.widgets.base.styles.STYLES`.
    attributes : mapping of str to str or number
        SVG attributes of position, size and shape.
    text : str
        Text content; may be empty.
    key : str
        Name of the element in patches; empty if the element never changes.
    go : int
        The number of the frame that a click on the element shows. −1 if a click shows no frame.
    label : str
        A description for screen readers of what a click on the element shows.
    tip : str
        A text that appears when the pointer rests on the element; empty if there is none. Only for elements without
        ``text``.

    Raises
    ------
    ValueError
        If ``style`` is not a key of ``STYLES``.
    """

    tag: str
    style: str
    attributes: Mapping[str, Value]
    text: str = ""
    key: str = ""
    go: int = -1
    label: str = ""
    tip: str = ""

    def __post_init__(self) -> None:
        if self.style not in STYLES:
            raise ValueError(f"style {self.style!r} is unknown; styles are {', '.join(STYLES)}")


@dataclass(frozen=True)
class Frame:
    """One step of a scene.

    Attributes
    ----------
    patch : mapping
        The changes to the original elements: key → style, text or attributes.
    caption : str
        The text below the picture.
    """

    patch: Patch
    caption: str


@dataclass(frozen=True)
class Prediction:
    """A question about the next frame, which the reader can answer before the step.

    Attributes
    ----------
    kind : "bar" or "freed"
        Whether the reader draws the height of the next bar, or marks the boxes that the step frees.
    words : str
        The question.
    answer : int or tuple of str
        The size in bytes, or the keys of the boxes.
    solution : str
        The answer in words.
    choices : tuple of str
        The keys of the boxes that can be marked; empty for ``"bar"``.
    """

    kind: str
    words: str
    answer: int | tuple[str, ...]
    solution: str
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Gauge:
    """The place and scale at which the reader of a lesson draws a guess of the next bar of the chart.

    Attributes
    ----------
    slots : tuple of (float, float)
        For each frame, the left edge and the width of its bar, in pixels.
    top, bottom : float
        Top and bottom of the chart, in pixels.
    scale : float
        Pixels per byte.
    most : int
        The largest size in bytes that can be drawn.
    grain : float
        Sizes are drawn in multiples of this number of bytes.
    divisor : int
        Bytes in one unit.
    unit : str
        The unit, for example ``"MiB"``; empty for bytes.
    """

    slots: tuple[tuple[float, float], ...]
    top: float
    bottom: float
    scale: float
    most: int
    grain: float
    divisor: int
    unit: str


@dataclass(frozen=True)
class Scene:
    """A picture and its frames.

    Attributes
    ----------
    width, height : float
        Size of the picture, in pixels.
    title : str
        Title of the picture.
    elements : tuple of Element
        In the order in which they are drawn. Keys must be unique.
    frames : tuple of Frame
        The steps, in order.
    chapters : tuple of (int, str)
        The frames that have a button of their own, as pairs (number of the frame, text of the button).
    still : int
        The number of the frame that a static picture shows; negative numbers count from the end.
    predictions : tuple of Prediction or None
        For each frame, the question about the next one; empty if the scene asks nothing.
    gauge : Gauge, optional
        Where the reader draws the next bar. Required if there are predictions. If one of them asks for a bar,
        ``elements`` must include an element with the key ``"guess"``.
    places : tuple of str
        For each frame, its name beside the slider, for example ``"budget 28"``; empty for the number of the frame.

    Raises
    ------
    ValueError
        If two elements have the same key, if the patch of a frame has a key that no element has, or if it sets a style
        that does not exist.
    """

    width: float
    height: float
    title: str
    elements: tuple[Element, ...]
    frames: tuple[Frame, ...]
    chapters: tuple[tuple[int, str], ...] = ()
    still: int = -1
    predictions: tuple[Prediction | None, ...] = ()
    gauge: Gauge | None = None
    places: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        keys = [e.key for e in self.elements if e.key]
        if len(set(keys)) != len(keys):
            raise ValueError(f"scene {self.title!r} uses a key twice; give each element its own key")
        known = set(keys)
        for frame in self.frames:
            for key, change in frame.patch.items():
                if key not in known or change.get("style", "node") not in STYLES:
                    raise ValueError(
                        f"a frame changes {key!r} to {dict(change)!r}: the scene has no such key or no such style"
                    )

    def message(self) -> dict[str, Any]:
        """Return the scene as a dictionary for the page. ``lessons.md`` lists its keys; ``still`` is left out."""
        choices = sorted({key for asked in self.predictions if asked for key in asked.choices})
        return {
            "width": self.width,
            "height": self.height,
            "title": self.title,
            "elements": [
                [e.tag, e.style, dict(e.attributes), e.text, e.key, e.go, e.label, e.tip] for e in self.elements
            ],
            "frames": [{key: dict(change) for key, change in frame.patch.items()} for frame in self.frames],
            "captions": [frame.caption for frame in self.frames],
            "chapters": [list(chapter) for chapter in self.chapters],
            "predictions": [asked and asdict(asked) for asked in self.predictions],
            "gauge": self.gauge and asdict(self.gauge),
            "choices": choices,
            "places": list(self.places),
        }

    def to_svg(self, frame: int | None = None, words: str = "") -> str:
        """Return one frame as an SVG document. Its colours follow the theme of the system, or of JupyterLab.

        Parameters
        ----------
        frame : int, optional
            Number of the frame. Default: the attribute ``still``.
        words : str
            Text below the picture; it is wrapped to the width of the picture. Default: no text.
        """
        shown = self.frames[self.still if frame is None else frame]
        lines = [line for part in words.splitlines() for line in wrap(part, int((self.width - 40) / 7.6))]
        height = self.height + 21 * len(lines) + (20 if lines else 0)
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width:g} {height:g}" '
            f'width="{self.width:g}" height="{height:g}" role="img" class="rv-still" '
            f'font-family="system-ui, sans-serif" style="max-width:100%;height:auto">',
            f"<title>{escape(self.title)}: {escape(shown.caption)}</title>",
        ]
        ground = Element("rect", "ground", {"width": self.width, "height": height})
        under = [
            Element("text", "text", {"x": 20, "y": self.height + 20 + 21 * i}, line) for i, line in enumerate(lines)
        ]
        used: set[str] = set()
        for e in (ground, *self.elements, *under):
            change = dict(shown.patch.get(e.key, {})) if e.key else {}
            style, text = str(change.pop("style", e.style)), str(change.pop("text", e.text))
            if style == "hidden":
                continue
            used.add(style)
            attributes = {**e.attributes, **style_attributes(style), **change, "class": f"rvs-{style}"}
            written = "".join(f' {name}="{escape(_number(value))}"' for name, value in attributes.items())
            inner = escape(text) + (f"<title>{escape(e.tip)}</title>" if e.tip else "")
            parts.append(f"<{e.tag}{written}>{inner}</{e.tag}>" if inner else f"<{e.tag}{written}/>")
        parts.insert(1, f"<style>{still_sheet(used)}</style>")
        return "".join([*parts, "</svg>"])


def _number(value: Value) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)


@dataclass
class Canvas:
    """A list to which the elements of a scene are added."""

    elements: list[Element] = field(default_factory=list)

    def add(
        self,
        tag: str,
        style: str,
        text: str = "",
        key: str = "",
        go: int = -1,
        label: str = "",
        tip: str = "",
        **at: Value,
    ) -> str:
        """Add an element and return its key.

        Parameters
        ----------
        tag, style, text, key, go, label, tip
            As in :class:`Element`.
        **at
            SVG attributes. An underscore in a name becomes a hyphen. ``css`` stands for the attribute ``style``.
        """
        attributes = {"style" if name == "css" else name.replace("_", "-"): value for name, value in at.items()}
        self.elements.append(Element(tag, style, attributes, text, key, go, label, tip))
        return key

    def text(self, x: float, y: float, text: str, style: str = "text", key: str = "", **more: Any) -> str:
        """Add a line of text at (x, y) and return its key; ``more`` as in :meth:`add`."""
        return self.add("text", style, text, key, x=x, y=y, **more)

    def box(self, x: float, y: float, w: float, h: float, style: str, key: str = "", rx: float = 0, **more: Any) -> str:
        """Add a rectangle and return its key. (x, y) is the top left corner; ``more`` as in :meth:`add`."""
        return self.add("rect", style, "", key, x=x, y=y, width=w, height=h, rx=rx, **more)


def fitting_scale(width: float, height: float) -> float:
    """Return the scale at which a picture of this size fits a notebook on a page of 1280 × 720, at most 1.35.

    Examples
    --------
    >>> fitting_scale(1120, 860), fitting_scale(560, 200)
    (0.5, 1.35)
    """
    return min(1120 / width, 430 / height, 1.35)


def beside(scenes: Sequence[Scene], title: str, gap: float = 24) -> Scene:
    """Return a scene that shows several scenes side by side and steps through them together.

    A scene with fewer frames stays at its last frame. The chapters are those of the first scene. The new scene asks no
    predictions.

    Parameters
    ----------
    scenes : sequence of Scene
    title : str
        Title of the new scene.
    gap : float
        Space between two scenes, in pixels.
    """
    canvas: list[Element] = []
    x = 0.0
    count = max(len(scene.frames) for scene in scenes)
    patches: list[dict[str, Mapping[str, Value]]] = [{} for _ in range(count)]
    for i, scene in enumerate(scenes):
        for e in scene.elements:
            moved = f"translate({x:g} 0) {e.attributes.get('transform', '')}".rstrip()
            attributes = {**e.attributes, "transform": moved}
            canvas.append(Element(e.tag, e.style, attributes, e.text, e.key and f"{i}/{e.key}", e.go, e.label, e.tip))
        for f in range(count):
            frame = scene.frames[min(f, len(scene.frames) - 1)]
            patches[f].update({f"{i}/{key}": change for key, change in frame.patch.items()})
        x += scene.width + gap
    captions = [
        "\n".join(f"{s.title}: {s.frames[min(f, len(s.frames) - 1)].caption}" for s in scenes) for f in range(count)
    ]
    frames = tuple(Frame(patch, caption) for patch, caption in zip(patches, captions, strict=True))
    still = max(scene.still % len(scene.frames) for scene in scenes)
    return Scene(x - gap, max(s.height for s in scenes), title, tuple(canvas), frames, scenes[0].chapters, still)
