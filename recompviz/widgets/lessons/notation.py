"""Short texts in pictures: numbers as subscripts, sizes in one unit, and names and sets of nodes as labels."""

from __future__ import annotations

from dataclasses import dataclass

from recompviz.core.graphs.bitsets import bits
from recompviz.core.graphs.graph import Graph

SUBSCRIPT = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
MOST_LETTERS = 22  # of a set; a longer label is shortened
_LETTER = 0.64  # mean width of a letter in units of the size of the type
_WHOLE = 10_000  # up to this size, sizes are whole numbers of bytes


def sub(number: int) -> str:
    """Return a whole number in subscript digits.

    Examples
    --------
    >>> sub(12)
    '₁₂'
    """
    return str(number).translate(SUBSCRIPT)


def short_set(graph: Graph, mask: int) -> str:
    """Return a label for a set of nodes: their names without braces, for example ``abd``. The empty set is ∅.

    ``mask`` is the set as a bit mask. If the graph has a name of several letters, the names in the label are separated
    by spaces. A label of more than 22 letters is replaced by the first name, the last name and the number of names.

    Examples
    --------
    >>> short_set(Graph.from_edges([("a", "b")], memory=dict(a=1, b=1)), 0b11)
    'ab'
    >>> chain = Graph.from_edges([], memory=dict.fromkeys(["first", "second", "third", "fourth"], 1))
    >>> short_set(chain, 0b1111)
    'first … fourth (4)'
    """
    separator = "" if all(len(str(name)) == 1 for name in graph.names) else " "
    names = [str(graph.names[v]) for v in bits(mask)]
    text = separator.join(names) or "∅"
    return text if len(text) <= MOST_LETTERS else f"{_cut(names[0], 7)} … {_cut(names[-1], 7)} ({len(names)})"


def _cut(name: str, letters: int) -> str:
    return name if len(name) <= letters else f"{name[: letters // 2]}…{name[-(letters - letters // 2 - 1) :]}"


def fit_name(name: object, width: float) -> tuple[str, dict[str, str]]:
    """Fit a name into a box. Return the text, and arguments of :meth:`Canvas.text` that set a smaller font size.

    A short name has the normal font size of 15 px and needs no arguments. A longer name gets a smaller font of at least
    10 px. If the name is still too wide at 10 px, its middle is left out.

    Parameters
    ----------
    name : object
        Anything that ``str`` turns into a name.
    width : float
        Width of the box, in pixels.

    Examples
    --------
    >>> fit_name("conv1", 56)
    ('conv1', {})
    >>> fit_name("attention", 64)
    ('attention', {'css': 'font-size:10px'})
    >>> fit_name("layers.0.attention", 56)
    ('laye…ion', {'css': 'font-size:10px'})
    """
    text = str(name)
    size = int((width - 4) / max(len(text), 1) / _LETTER)
    if size >= 14:
        return text, {}
    if size >= 10:
        return text, {"css": f"font-size:{size}px"}
    return _cut(text, int((width - 4) / 10 / _LETTER)), {"css": "font-size:10px"}


@dataclass(frozen=True)
class SizeFormat:
    """Writes sizes as text, all in one unit.

    Attributes
    ----------
    divisor : int
        Bytes in one unit.
    unit : str
        ``"KiB"``, ``"MiB"``, …; empty if sizes are whole numbers of bytes.
    """

    divisor: int
    unit: str

    @classmethod
    def of(cls, graph: Graph) -> SizeFormat:
        """Return the format for the sizes of a graph.

        The unit depends on 2M(V), twice the size of all values. If 2M(V) is below 10,000 bytes, the unit is bytes.
        Otherwise it is the largest of KiB, MiB, GiB and TiB that is at most 2M(V).
        """
        total = 2 * graph.memory_of(graph.everything)
        if total < _WHOLE:
            return cls(1, "")
        power = min(4, (total.bit_length() - 1) // 10)
        return cls(1024**power, ("", "KiB", "MiB", "GiB", "TiB")[power])

    def __call__(self, size: int) -> str:
        """Return a size as a number without its unit.

        Examples
        --------
        >>> SizeFormat(1, "")(12), SizeFormat(1024, "KiB")(2560)
        ('12', '2.5')
        """
        if self.divisor == 1:
            return str(size)
        number = size / self.divisor
        return f"{number:.0f}" if number >= 100 else f"{number:.3g}"

    def full(self, size: int) -> str:
        """Return a size as a number with its unit."""
        return f"{self(size)} {self.unit}".rstrip()

    @property
    def note(self) -> str:
        """A note that names the unit, for example ``"sizes in MiB"``; empty if the unit is bytes."""
        return f"sizes in {self.unit}" if self.unit else ""


def label_width(text: str) -> float:
    """Return the estimated width of a label with this text, in pixels; at least 30."""
    return max(30.0, 9.0 * len(text) + 14)


def cost_lines(graph: Graph, v: int, sizes: SizeFormat, width: float) -> list[str]:
    """Return the size and the cost of a node as one line of text, or as two lines if one does not fit.

    ``v`` is the number of the node, and ``width`` the space in pixels.

    Examples
    --------
    >>> cost_lines(Graph.from_edges([("a", "b")], memory=dict(a=1, b=1)), 0, SizeFormat(1, ""), 70)
    ['M 1, T 1']
    """
    parts = [f"M {sizes(int(graph.memory[v]))}", f"T {graph.time[v]:.3g}"]
    line = ", ".join(parts)
    return [line] if 6.2 * len(line) <= width else parts
