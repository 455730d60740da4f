"""The rooms of the package and the imports between them, as a picture.

A room is a sub-package of one of the layers ``core``, ``pytorch`` and ``widgets``, or one of the packages
``networks`` and ``benchmarks``. The picture is drawn from the import statements. Write it again after a change:

    python -m tests.rooms
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path
from textwrap import wrap

HOME = Path(__file__).resolve().parent.parent / "recompviz"
PICTURE = HOME.parent / "docs" / "rooms.svg"
COMMAND = "python -m tests.rooms"

# a room may import itself and the rooms before it
ROOMS = {
    "core": (
        "base",
        "allocator",
        "graphs",
        "steps",
        "plans",
        "exact",
        "live",
        "bounds",
        "sequences",
        "planning",
        "ranks",
        "reports",
        "snapshots",
        "teaching",
    ),
    "pytorch": (
        "internals",
        "tracing",
        "policies",
        "executing",
        "budgeting",
        "running",
        "measuring",
        "ranks",
        "debugging",
    ),
    "widgets": ("base", "layout", "recordings", "explorer", "ranks", "lessons", "course"),
}
# the layers and the packages without rooms, from the lowest to the highest
ORDER = ("core", "networks", "pytorch", "widgets", "benchmarks")
COLOURS = {
    "core": "#2f6fb3",
    "networks": "#6b7280",
    "pytorch": "#c2571a",
    "widgets": "#2f855a",
    "benchmarks": "#6b7280",
}


@dataclass(frozen=True)
class Import:
    """One imported module.

    Attributes
    ----------
    module : str
        Its full name.
    at_top : bool
        False inside a function, a class or an ``if``.
    """

    module: str
    at_top: bool


@cache
def imports(path: Path) -> tuple[Import, ...]:
    """Every absolute import of a Python file.

    ``from package import module`` counts as an import of ``package.module``, ``from module import name`` as one of
    ``module``.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    top = {id(node) for node in tree.body}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            inside = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if is_ours(name) else node.module for name in inside]
        else:
            continue
        found += [Import(name, id(node) in top) for name in names]
    return tuple(found)


@cache
def is_ours(module: str) -> bool:
    """Whether recompviz has a module or package of that full name."""
    path = HOME.parent.joinpath(*module.split("."))
    return module.split(".")[0] == HOME.name and (path.with_suffix(".py").is_file() or (path / "__init__.py").is_file())


def modules() -> dict[str, Path]:
    """Full name → file of every module of recompviz; packages go by their own name."""
    return {
        ".".join((HOME.name, *path.relative_to(HOME).with_suffix("").parts)).removesuffix(".__init__"): path
        for path in sorted(HOME.rglob("*.py"))
    }


def room_of(module: str) -> str | None:
    """The room of a module; None for the public names and the command line.

    Examples
    --------
    >>> room_of("recompviz.core.graphs.graph"), room_of("recompviz.networks"), room_of("recompviz.cli")
    ('core/graphs', 'networks', None)
    """
    layer, *rest = [*module.split(".")[1:], ""]
    if layer in ROOMS:
        return f"{layer}/{rest[0]}" if rest[0] in ROOMS[layer] else None
    return layer if layer in ORDER else None


def arrows() -> Counter[tuple[str, str]]:
    """(importing room, imported room) → number of pairs of modules of which one imports the other."""
    pairs = {(name, found.module) for name, path in modules().items() for found in imports(path)}
    between = Counter((room_of(a), room_of(b)) for a, b in pairs if is_ours(b))
    return Counter({(a, b): count for (a, b), count in between.items() if a and b and a != b})


def rooms() -> list[str]:
    """All rooms with a file in them, the highest first."""
    named = [f"{layer}/{room}" if room else layer for layer in ORDER for room in ROOMS.get(layer, ("",))]
    return [room for room in reversed(named) if (HOME / room / "__init__.py").is_file()]


def idea(room: str) -> str:
    """The first paragraph of a room's docstring, in one line."""
    text = ast.get_docstring(ast.parse((HOME / room / "__init__.py").read_text(encoding="utf-8"))) or ""
    return " ".join(text.split("\n\n")[0].replace("``", "").split())


# -------------------------------------------------------------------- drawing

BOX = 600  # width of a room's box
NAME = 154  # of which the name takes
ROW, GAP = 38, 14  # height of a row, space between layers
LETTERS = 70  # letters of a line of text beside the name
RAIL = 24  # width of the lane of an arrow
LEFT, TOP = 16, 64
FONT = "font-family='system-ui, sans-serif'"


def picture(boxes: Sequence[str], counts: Counter[tuple[str, str]]) -> str:
    """The rooms as an SVG.

    Rooms are boxes in one column. Each imported room has one vertical line, which ends in an arrow at its box. A
    number on that line belongs to the room in whose row it lies. It counts the pairs (module of the importing room,
    module of the imported room) that have an import.

    Parameters
    ----------
    boxes : sequence of str
        Rooms, the highest first.
    counts : Counter
        (importing room, imported room) → pairs of modules.
    """
    y, at = {}, TOP
    for i, room in enumerate(boxes):
        at += GAP if i and layer_of(room) != layer_of(boxes[i - 1]) else 0
        y[room], at = at, at + ROW
    targets = [room for room in boxes if any(b == room for _, b in counts)]
    x = {room: LEFT + BOX + 40 + RAIL * i for i, room in enumerate(targets)}
    width, height = max(x.values(), default=LEFT + BOX) + 32, at + 12
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' width='{width}' height='{height}' "
        f"{FONT} font-size='12'>",
        f"<!-- drawn from the imports: {COMMAND} -->",
        f"<rect width='{width}' height='{height}' fill='#ffffff'/>",
        f"<text x='{LEFT}' y='24' font-size='16' font-weight='600' fill='#111827'>The rooms of recompviz</text>",
        f"<text x='{LEFT}' y='44' fill='#4b5563'>A room imports only rooms drawn below it. Each number counts the "
        "imports that the room in its row makes from the room at the arrow. Right in each box: number of files.</text>",
    ]
    for target in targets:
        parts += rail(target, x[target], y, counts)
    for room in boxes:
        parts += box(room, y[room])
        parts += [dot(x[b], y[room] + 11, counts[a, b], COLOURS[layer_of(b)]) for a, b in sorted(counts) if a == room]
    return "\n".join([*parts, "</svg>", ""])


def rail(target: str, x: int, y: dict[str, int], counts: Counter[tuple[str, str]]) -> list[str]:
    """The vertical line of one imported room, and the arrow at its end."""
    colour = COLOURS[layer_of(target)]
    top = min(y[a] for a, b in counts if b == target) + 11
    end = y[target] + 21
    lines = [f"<path d='M{x} {top}V{end}H{LEFT + BOX + 8}' fill='none' stroke='{colour}' stroke-width='1.5'/>"]
    tip = LEFT + BOX
    lines.append(f"<path d='M{tip} {end}l9 -4.5v9z' fill='{colour}'/>")
    return [
        *lines,
        *(
            f"<path d='M{LEFT + BOX} {y[a] + 11}H{x}' stroke='#cbd5e1' stroke-width='1'/>"
            for a, b in sorted(counts)
            if b == target
        ),
    ]


def box(room: str, y: int) -> list[str]:
    """The box of one room: its name, its idea, its number of files."""
    colour = COLOURS[layer_of(room)]
    files = sum(path.name != "__init__.py" for path in (HOME / room).rglob("*.py"))
    layer, _, name = room.rpartition("/")
    lines = wrap(idea(room), LETTERS, max_lines=2, placeholder=" …")
    first = y + (ROW / 2 + 4 if len(lines) == 1 else ROW / 2 - 2)
    return [
        f"<rect x='{LEFT}' y='{y + 2}' width='{BOX}' height='{ROW - 4}' rx='4' fill='{colour}' fill-opacity='0.08' "
        f"stroke='{colour}'/>",
        f"<text x='{LEFT + 10}' y='{y + 23}' fill='{colour}' font-weight='600'>"
        f"{f'{layer}/' if layer else ''}{name}</text>",
        *(
            f"<text x='{LEFT + NAME}' y='{first + 13 * i:g}' fill='#374151' font-size='11'>"
            f"{escape(line, quote=False)}</text>"
            for i, line in enumerate(lines)
        ),
        f"<text x='{LEFT + BOX - 8}' y='{y + 23}' fill='#6b7280' font-size='11' text-anchor='end'>{files}</text>",
    ]


def dot(x: int, y: int, count: int, colour: str) -> str:
    """A number on a line."""
    return (
        f"<circle cx='{x}' cy='{y}' r='9' fill='{colour}'/><text x='{x}' y='{y + 3.5}' fill='#ffffff' font-size='10' "
        f"text-anchor='middle'>{count}</text>"
    )


def layer_of(room: str) -> str:
    """The layer of a room."""
    return room.split("/")[0]


def main() -> None:
    """Write the picture."""
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(picture(rooms(), arrows()), encoding="utf-8")
    print(f"wrote {PICTURE.relative_to(HOME.parent)}")


if __name__ == "__main__":
    main()
