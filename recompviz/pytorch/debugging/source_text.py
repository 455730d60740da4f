"""Questions about the user's source text: where a name is assigned, where a function is called, which use is the last.

The answers come from the syntax tree of the file. If the text is not known, or the answer is not certain, a function
returns None.
"""

from __future__ import annotations

import ast
import linecache
from collections.abc import Iterator
from functools import lru_cache

from recompviz.core.reports.source_line import SourceLine
from recompviz.pytorch.internals.user_lines import source_line

_Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_LOOPS = (ast.For, ast.While, ast.AsyncFor)


@lru_cache(maxsize=64)
def _tree(text: str) -> ast.Module | None:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError):
        return None


def _parsed(file: str) -> ast.Module | None:
    return _tree("".join(linecache.getlines(file)))


def assignment_line(file: str, name: str) -> SourceLine | None:
    """Return the line of a file, outside functions and classes, that first assigns the global variable ``name``.

    Return None if there is no such line, or if the file cannot be read or parsed.
    """
    tree = _parsed(file)
    if tree is None:
        return None
    for statement in tree.body:
        for node in ast.walk(statement) if not isinstance(statement, _SCOPES) else ():
            if isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Store):
                return source_line(file, node.lineno, "<module>")
    return None


def attribute_line(file: str, attribute: str, first: int, last: int) -> SourceLine | None:
    """Return a line from ``first`` to ``last`` that assigns an attribute, as in ``ctx.y = y``; None if there is none.

    Of several such lines, the least nested is returned, and of equally nested lines the first.
    """
    tree = _parsed(file)
    for node in ast.walk(tree) if tree is not None else ():
        if not isinstance(node, ast.Attribute) or not isinstance(node.ctx, ast.Store):
            continue
        if node.attr == attribute and first <= node.lineno <= last:
            return source_line(file, node.lineno, "")
    return None


def call_line(file: str, function: str) -> SourceLine | None:
    """Return the line of a file that calls the function or class ``function``; None if no or several lines call it."""
    tree = _parsed(file)
    found = []
    for node in ast.walk(tree) if tree is not None else ():
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called == function:
                found.append(node.lineno)
    return source_line(file, found[0], "") if len(set(found)) == 1 else None


def last_use(line: SourceLine, name: str) -> SourceLine | None:
    """Return the last line of a function that reads a local variable, if the variable can be deleted after this line.

    This is the case if no inner function uses the name, the name is not declared global or nonlocal, no loop contains
    the line, and the line neither returns nor begins a compound statement such as ``if``.

    Parameters
    ----------
    line : SourceLine
        A line of the function.
    name : str
        The name of the variable.

    Returns
    -------
    SourceLine or None
        The end of the last statement that reads the variable. None if the function is not found or is a lambda, if no
        line reads the variable, or if deleting it may not be safe.
    """
    function = _function_at(line)
    if function is None or isinstance(function, ast.Lambda):
        return None
    for inner in _nested(function):
        if any(isinstance(node, ast.Name) and node.id == name for node in ast.walk(inner)):
            return None
    declared = (node for node in ast.walk(function) if isinstance(node, ast.Global | ast.Nonlocal))
    if any(name in node.names for node in declared):
        return None
    reads = [
        node
        for node in ast.walk(function)
        if isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Load)
    ]
    if not reads:
        return None
    last = max(reads, key=lambda node: (node.lineno, node.col_offset))
    for loop in (node for node in ast.walk(function) if isinstance(node, _LOOPS)):
        end = loop.end_lineno or loop.lineno
        if loop.lineno <= last.lineno <= end:
            return None  # the next iteration may read the name again
    statement = _statement_of(function, last)
    if statement is None or isinstance(statement, ast.Return):
        return None
    return source_line(line.file, statement.end_lineno or statement.lineno, line.function)


def _function_at(line: SourceLine) -> _Function | None:
    tree = _parsed(line.file)
    if tree is None:
        return None
    around = [
        node
        for node in ast.walk(tree)
        if isinstance(node, _Function) and node.lineno <= line.number <= (node.end_lineno or node.lineno)
    ]
    innermost = max(around, key=lambda node: node.lineno, default=None)
    return innermost if getattr(innermost, "name", "<lambda>") == line.function else None


def _nested(function: ast.AST) -> Iterator[ast.AST]:
    for node in ast.walk(function):
        if node is not function and isinstance(node, _Function):
            yield node


def _statement_of(function: ast.AST, node: ast.AST) -> ast.stmt | None:
    """Return the innermost simple statement around a node; None if the node is in the head of a compound statement."""
    around = [
        statement
        for statement in ast.walk(function)
        if isinstance(statement, ast.stmt)
        and statement is not function
        and any(inner is node for inner in ast.walk(statement))
    ]
    innermost = max(around, key=lambda statement: statement.lineno, default=None)
    compound = ast.For | ast.While | ast.If | ast.With | ast.Try | ast.AsyncFor | ast.AsyncWith | ast.Match
    return None if innermost is None or isinstance(innermost, compound) else innermost
