"""A scene: a picture with frames, made in Python and shown in the page or as a static SVG picture.

A scene has SVG elements and frames. Every frame shows the same elements, but some of them look different. The *patch*
of a frame says how: it maps the keys of these elements to a new style, text or new attributes. A patch is always
applied to the original elements. The page can therefore step in both directions without a kernel. A static picture
shows one frame.
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
        SVG attributes, for example position and size.
    text : str
        The text inside the element; may be empty.
    key : str
        Name of the element in the patches of frames; empty if the element never changes.
    go : int
        The number of the frame that is shown after a click on the element; −1 if a click has no effect.
    label : str
        For screen readers: a description of this frame; may be empty.
    tip : str
        A text that appears when the pointer rests on the element; may be empty. An element with a tip has no ``text``.

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
    patch : mapping of str to mapping
        Key of an element → its new style, text or SVG attributes, for example ``{"box": {"style": "keep", "x": 5}}``.
        An element that is not in the patch looks as in ``Scene.elements``.
    caption : str
        The text below the picture.
    """

    patch: Patch
    caption: str


@dataclass(frozen=True)
class Prediction:
    """A question about the next frame of a scene. The reader of the lesson can answer it before this frame is shown.

    Attributes
    ----------
    kind : "bar" or "freed"
        ``"bar"``: the reader draws the height of the next bar in the chart. ``"freed"``: the reader clicks the elements
        of the scene whose values and gradients are freed next.
    words : str
        The question.
    answer : int or tuple of str
        The right answer. For ``"bar"``, a size in bytes. For ``"freed"``, the keys of the elements.
    solution : str
        The right answer in words.
    choices : tuple of str
        For ``"freed"``, the keys of all elements that the reader can click. Empty for ``"bar"``.
    """

    kind: str
    words: str
    answer: int | tuple[str, ...]
    solution: str
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Gauge:
    """The axes of a bar chart, in which the reader of a lesson draws a guess: the height of the next bar.

    Attributes
    ----------
    slots : tuple of (float, float)
        For each frame, the left edge and the width of its bar, in pixels.
    top, bottom : float
        The y coordinates of the top and the bottom of the chart, in pixels.
    scale : float
        The height of a bar, in pixels per byte.
    most : int
        The largest size that the reader can draw, in bytes.
    grain : float
        The reader can draw only multiples of this number of bytes.
    divisor : int
        The number of bytes in one ``unit``.
    unit : str
        The unit of the number that the page shows for a guess, for example ``"MiB"``; empty for bytes.
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
        The elements, in the order in which they are drawn. No two elements have the same key, other than the empty key.
    frames : tuple of Frame
        The frames, in the order of stepping.
    chapters : tuple of (int, str)
        Buttons below the picture, as pairs (number of the frame that the button shows, text of the button).
    still : int
        The number of the frame that a static picture shows; negative numbers count from the end.
    predictions : tuple of Prediction or None
        For each frame, the question about the next frame; None for no question. An empty tuple means that the scene has
        no questions.
    gauge : Gauge, optional
        The axes of the chart for guesses. Required if the scene has questions. If a question has the kind ``"bar"``, an
        element must have the key ``"guess"``: the bar that the reader draws.
    places : tuple of str
        For each frame, the text beside the slider, for example ``"budget 28"``. If the tuple is empty, the text is the
        number of the frame.

    Raises
    ------
    ValueError
        If two elements have the same key, or if the patch of a frame has a key that no element has or a style that is
        not in ``STYLES``.
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
        """Return the scene as a dictionary for the page. The file ``widgets/lessons.md`` lists its keys."""
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
        """Return one frame as an SVG picture.

        Parameters
        ----------
        frame : int, optional
            The number of the frame; negative numbers count from the end. Default: the attribute ``still``.
        words : str
            The text below the picture. The lines of the text are wrapped to the width of the picture. Default: no text.

        Raises
        ------
        IndexError
            If there is no such frame.
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
        """Add an element and return its key, which may be empty.

        Parameters
        ----------
        tag, style, text, key, go, label, tip
            As in :class:`Element`.
        **at : str or number
            SVG attributes. An underscore in a name becomes a hyphen. The name ``css`` becomes the SVG attribute
            ``style``.

        Raises
        ------
        ValueError
            If ``style`` is not a key of ``STYLES``.
        """
        attributes = {"style" if name == "css" else name.replace("_", "-"): value for name, value in at.items()}
        self.elements.append(Element(tag, style, attributes, text, key, go, label, tip))
        return key

    def text(self, x: float, y: float, text: str, style: str = "text", key: str = "", **more: Any) -> str:
        """Add a line of text and return its key.

        (x, y) is the point in pixels at which SVG places the text. ``more`` are further arguments of :meth:`add`.
        """
        return self.add("text", style, text, key, x=x, y=y, **more)

    def box(self, x: float, y: float, w: float, h: float, style: str, key: str = "", rx: float = 0, **more: Any) -> str:
        """Add a rectangle and return its key.

        (x, y) is the top left corner, w the width, h the height and rx the radius of the corners, in pixels. ``more``
        are further arguments of :meth:`add`.
        """
        return self.add("rect", style, "", key, x=x, y=y, width=w, height=h, rx=rx, **more)


def fitting_scale(width: float, height: float) -> float:
    """Return the scale at which a picture fits a notebook in a browser window of 1280 × 720 pixels; at most 1.35.

    ``width`` and ``height`` are the size of the picture at scale 1, in pixels.

    Examples
    --------
    >>> fitting_scale(1120, 860), fitting_scale(560, 200)
    (0.5, 1.35)
    """
    return min(1120 / width, 430 / height, 1.35)


def beside(scenes: Sequence[Scene], title: str, gap: float = 24) -> Scene:
    """Return a scene that shows several scenes side by side. One step of the new scene is one step of each of them.

    After its last frame, a scene stays at this frame until the longest scene has ended. The new scene has the chapters
    of the first scene, and no predictions.

    Parameters
    ----------
    scenes : sequence of Scene
        One scene or more.
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
