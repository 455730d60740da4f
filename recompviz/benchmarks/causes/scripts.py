"""The registry of planted scripts. A script is a source text, so that the advice of a report can be applied to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from textwrap import dedent

HEADER = "import torch\nimport torch.nn.functional as F\nfrom torch import nn\n"


@dataclass(frozen=True)
class Script:
    """A small program that calls ``debug`` once, with the arguments of :func:`recompviz.debug`.

    Attributes
    ----------
    name : str
        A description in a few words.
    source : str
        The text of the program. The line that the report must name ends in ``# here``.
    cause : str
        The cause that the first finding must name; empty for a healthy script.
    value : str
        A text that the name of the value in the first finding must contain.
    follow : tuple of (str, str)
        Pairs (old text, new text): the changes to ``source`` that the printed advice asks for.
    says : str
        A text that the printed advice must contain.
    """

    name: str
    source: str
    cause: str = ""
    value: str = ""
    follow: tuple[tuple[str, str], ...] = field(default=())
    says: str = ""

    @property
    def text(self) -> str:
        """The whole program: common imports, then ``source``."""
        return HEADER + dedent(self.source)

    @property
    def followed(self) -> str:
        """The whole program, with the changes in ``follow``."""
        text = self.text
        for old, new in self.follow:
            assert old in text, (self.name, old)
            text = text.replace(old, new)
        return text

    @property
    def line(self) -> int:
        """The number of the line that ends in ``# here``; 0 for a healthy script."""
        lines = self.text.splitlines()
        return next((i for i, line in enumerate(lines, 1) if line.rstrip().endswith("# here")), 0)
