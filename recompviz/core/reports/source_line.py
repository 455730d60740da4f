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
        Path of the file.
    number : int
        Line number, counted from 1.
    text : str
        The source text of the line; empty if it is not known.
    function : str
        Name of the function that contains the line; empty if it is not known.
    cell : str
        For code of a notebook, the name of the cell that contains it, such as ``"In[3]"``; empty for other code.
    """

    file: str
    number: int
    text: str = ""
    function: str = ""
    cell: str = ""

    @property
    def place(self) -> str:
        """File name and line number, for example ``train.py:12``; in a notebook, cell and line: ``In[3], line 12``."""
        if self.cell:
            return f"{self.cell}, line {self.number}"
        return f"{os.path.basename(self.file)}:{self.number}"

    @property
    def assigned(self) -> str:
        """The variable, attribute or item that the line assigns to, as source text.

        Empty if the line is not a complete statement ``target = …`` with one such target. If the line has several
        statements, only the first counts.

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
