"""The module that contains several others, from their dotted paths."""

from __future__ import annotations

from collections.abc import Sequence


def common_module(paths: Sequence[str]) -> str:
    """Return the path of the innermost module that contains all given ones; empty if only the whole model does.

    Parameters
    ----------
    paths : sequence of str
        Dotted paths of modules, at least one.

    Examples
    --------
    >>> common_module(["blocks.3.norm", "blocks.3.mlp.up"]), common_module(["blocks", "blocks2"])
    ('blocks.3', '')
    """
    parts = [path.split(".") for path in paths]
    count = 0
    while all(len(each) > count and each[count] == parts[0][count] for each in parts):
        count += 1
    return ".".join(parts[0][:count])
