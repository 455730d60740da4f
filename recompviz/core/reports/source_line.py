"""A line of the user's source code."""

from __future__ import annotations

import ast
import os
from dataclasses import dataclass


@dataclass(frozen=True)
class SourceLine:
    """A line of the user's source code.

    Attributes
    ----------
    file : str
    number : int
        From 1.
    text : str
        The line itself; empty if it is not known.
    function : str
        The function that contains it.
    """

    file: str
    number: int
    text: str = ""
    function: str = ""

    @property
    def place(self) -> str:
        """``train.py:12``."""
        return f"{os.path.basename(self.file)}:{self.number}"

    @property
    def assigned(self) -> str:
        """The name or attribute that the line assigns; empty if the line is not an assignment to one name.

        Examples
        --------
        >>> SourceLine("a.py", 3, "scores = q @ k").assigned, SourceLine("a.py", 3, "return q").assigned
        ('scores', '')
        """
        try:
            statement = ast.parse(self.text.strip()).body[0]
        except (SyntaxError, IndexError, ValueError):
            return ""
        if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
            target = statement.targets[0]
            return ast.unparse(target) if isinstance(target, ast.Name | ast.Attribute | ast.Subscript) else ""
        return ""

    def __str__(self) -> str:
        return f"{self.place}  {self.text.strip()}".rstrip()
