"""The strata of the memory landscape: the parts of the model, in the order in which they run.

``js/data/strata.js`` computes the same in the page; a test compares both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# Parts; more cannot be distinguished by colour.
MOST = 16
# A part with a larger share of the bytes is split by the next level of the module path.
HEAVY = 0.55
# Neighbouring parts with a smaller share are one part.
LIGHT = 0.05
# The part of the values that belong to no module: the model's own forward computes them.
ROOT = "outside modules"


@dataclass(frozen=True)
class Strata:
    """The parts of a model in the memory landscape: modules, and groups of modules that run one after the other.

    Attributes
    ----------
    names : tuple of str
        The name of each part, in the order in which the parts first run.
    of : tuple of int
        For each node, the index in ``names`` of the part that computes it.
    """

    names: tuple[str, ...]
    of: tuple[int, ...]


def strata_of(modules: Sequence[str], sizes: Sequence[int]) -> Strata:
    """Return the strata of a graph, from the module path and the bytes of each node.

    A module with more than 55 % of the bytes is divided into its submodules, while there are at most 16 parts.
    Neighbouring parts with less than 5 % of the bytes are joined.

    Examples
    --------
    >>> strata_of(["stem", "layers.0", "layers.0", "layers.1"], [1, 9, 9, 9]).names
    ('stem', 'layers.0', 'layers.1')
    """
    total = sum(sizes) or 1
    split: set[str] = set()
    weights = _weights(modules, sizes, split)
    while heavy := [key for key, weight in weights.items() if weight > HEAVY * total and key not in split]:
        finer = _weights(modules, sizes, split | {heavy[0]})
        if len(finer) > MOST:
            break
        split.add(heavy[0])
        weights = finer
    groups: list[list[str]] = []
    group_weights: list[int] = []
    for key, weight in weights.items():
        if groups and group_weights[-1] < LIGHT * total and weight < LIGHT * total:
            groups[-1].append(key)
            group_weights[-1] += weight
        else:
            groups.append([key])
            group_weights.append(weight)
    place = {key: number for number, group in enumerate(groups) for key in group}
    names = ("model",) if groups == [[""]] else tuple(map(_name, groups))
    return Strata(names, tuple(place[_key(path, split)] for path in modules))


def _weights(modules: Sequence[str], sizes: Sequence[int], split: set[str]) -> dict[str, int]:
    """Return the bytes of each part, where the parts in ``split`` are divided."""
    weights: dict[str, int] = {}
    for path, size in zip(modules, sizes, strict=True):
        key = _key(path, split)
        weights[key] = weights.get(key, 0) + size
    return weights


def _key(path: str, split: set[str]) -> str:
    names, length = path.split("."), 1
    while ".".join(names[:length]) in split and length < len(names):
        length += 1
    return ".".join(names[:length])


def _name(group: Sequence[str]) -> str:
    named = [path or ROOT for path in group]
    return named[0] if len(named) == 1 else f"{named[0]} – {named[-1]}"
