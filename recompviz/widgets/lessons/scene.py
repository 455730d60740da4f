"""A scene: a picture and its frames, made in Python and shown in the page or as a static SVG.

A scene is a list of SVG elements. An element with a key can change: a frame maps keys to the style, text or attributes
that differ from the element's own. The page needs only the elements and frame i to show step i, so stepping in both
directions works without a kernel. A static picture is the same elements, with one frame applied, written as SVG.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from textwrap import wrap
from typing import Any

from recompviz.core.base.palette import LIGHT
from recompviz.widgets.base.styles import STYLES, style_attributes

Value = str | float | int
#: key → {"style" | "text" | attribute: value}
Patch = Mapping[str, Mapping[str, Value]]


@dataclass(frozen=True)
class Element:
    """One SVG element.

    Attributes
    ----------
    tag : str
    style : str
        A key of :data:`recompviz.widgets.base.styles.STYLES`.
    attributes : mapping
        SVG attributes of the geometry.
    text : str
    key : str
        Name of the element in frames; empty if it never changes.
    go : int
        The frame that a click on the element shows; −1 for none.
    label : str
        What a click does, for screen readers.
    """

    tag: str
    style: str
    attributes: Mapping[str, Value]
    text: str = ""
    key: str = ""
    go: int = -1
    label: str = ""

    def __post_init__(self) -> None:
        if self.style not in STYLES:
            raise ValueError(f"style {self.style!r} is unknown; styles are {', '.join(STYLES)}")


@dataclass(frozen=True)
class Frame:
    """The changes that one step makes to the picture, and its caption."""

    patch: Patch
    caption: str


@dataclass(frozen=True)
class Scene:
    """A picture and its frames.

    Attributes
    ----------
    width, height : float
    title : str
    elements : tuple of Element
    frames : tuple of Frame
    chapters : tuple of (frame, label)
        Frames that have a button of their own.
    still : int
        The frame of the static picture.
    """

    width: float
    height: float
    title: str
    elements: tuple[Element, ...]
    frames: tuple[Frame, ...]
    chapters: tuple[tuple[int, str], ...] = ()
    still: int = -1

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
        """The scene as data for the page."""
        return {
            "width": self.width,
            "height": self.height,
            "title": self.title,
            "elements": [[e.tag, e.style, dict(e.attributes), e.text, e.key, e.go, e.label] for e in self.elements],
            "frames": [{key: dict(change) for key, change in frame.patch.items()} for frame in self.frames],
            "captions": [frame.caption for frame in self.frames],
            "chapters": [list(chapter) for chapter in self.chapters],
        }

    def to_svg(self, frame: int | None = None, words: str = "") -> str:
        """Draw one frame as an SVG document in light colours.

        Parameters
        ----------
        frame : int, optional
            Default: ``still``.
        words : str
            Text below the picture; it is wrapped to the width of the picture.
        """
        shown = self.frames[self.still if frame is None else frame]
        lines = [line for part in words.splitlines() for line in wrap(part, int((self.width - 40) / 7.6))]
        height = self.height + 21 * len(lines) + (20 if lines else 0)
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width:g} {height:g}" '
            f'width="{self.width:g}" height="{height:g}" role="img" '
            f'font-family="system-ui, sans-serif" style="max-width:100%;height:auto;background:{LIGHT["surface"]}">',
            f"<title>{escape(self.title)}: {escape(shown.caption)}</title>",
            f'<rect width="{self.width:g}" height="{height:g}" fill="{LIGHT["surface"]}"/>',
        ]
        under = [
            Element("text", "text", {"x": 20, "y": self.height + 20 + 21 * i}, line) for i, line in enumerate(lines)
        ]
        for e in (*self.elements, *under):
            change = dict(shown.patch.get(e.key, {})) if e.key else {}
            style, text = str(change.pop("style", e.style)), str(change.pop("text", e.text))
            if style == "hidden":
                continue
            attributes = {**e.attributes, **style_attributes(style), **change}
            written = "".join(f' {name}="{escape(_number(value))}"' for name, value in attributes.items())
            parts.append(f"<{e.tag}{written}>{escape(text)}</{e.tag}>" if text else f"<{e.tag}{written}/>")
        return "".join([*parts, "</svg>"])


def _number(value: Value) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)


@dataclass
class Canvas:
    """Collect the elements of a scene."""

    elements: list[Element] = field(default_factory=list)

    def add(
        self, tag: str, style: str, text: str = "", key: str = "", go: int = -1, label: str = "", **at: Value
    ) -> str:
        """Append an element and return its key; underscores in attribute names become hyphens."""
        attributes = {name.replace("_", "-"): value for name, value in at.items()}
        self.elements.append(Element(tag, style, attributes, text, key, go, label))
        return key

    def text(self, x: float, y: float, text: str, style: str = "text", key: str = "", **more: Any) -> str:
        """Append a line of text."""
        return self.add("text", style, text, key, x=x, y=y, **more)

    def box(self, x: float, y: float, w: float, h: float, style: str, key: str = "", rx: float = 0, **more: Any) -> str:
        """Append a rectangle."""
        return self.add("rect", style, "", key, x=x, y=y, width=w, height=h, rx=rx, **more)


def beside(scenes: Sequence[Scene], title: str, gap: float = 24) -> Scene:
    """Put scenes side by side and step them together; a scene that ends earlier stays at its last frame."""
    canvas: list[Element] = []
    x = 0.0
    count = max(len(scene.frames) for scene in scenes)
    patches: list[dict[str, Mapping[str, Value]]] = [{} for _ in range(count)]
    for i, scene in enumerate(scenes):
        for e in scene.elements:
            moved = f"translate({x:g} 0) {e.attributes.get('transform', '')}".rstrip()
            attributes = {**e.attributes, "transform": moved}
            canvas.append(Element(e.tag, e.style, attributes, e.text, e.key and f"{i}/{e.key}", e.go, e.label))
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
