"""A docstring that begins with "Return whether" belongs to a function that returns True or False."""

from __future__ import annotations

import ast
import pathlib

PACKAGE = pathlib.Path(__file__).parent.parent / "recompviz"


def test_return_whether_means_true_or_false() -> None:
    functions = [
        (path, node)
        for path in sorted(PACKAGE.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
        and (ast.get_docstring(node) or "").startswith(("Return whether", "Whether"))
    ]
    assert len(functions) > 100
    found = [
        f"{path.relative_to(PACKAGE.parent)}:{node.lineno} {node.name}"
        for path, node in functions
        if node.returns is not None and "bool" not in ast.unparse(node.returns)
    ]
    assert found == []
