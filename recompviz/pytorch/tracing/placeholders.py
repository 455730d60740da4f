"""The role of each input of a captured graph (parameter, buffer, input or target), and the input's name in the model.

Dynamo makes parameters and buffers inputs of the graph. For each input it records a *source*: the Python expression by
which it found the value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.fx import Node

from recompviz.pytorch.internals.export import Role, placeholder_role

_ATTRIBUTE = re.compile(r"\._(?:modules|parameters|buffers)\['([^']*)'\]|\.([A-Za-z_]\w*)|\['([^']*)'\]|\[(\d+)\]")


def roles_of_inputs(
    sources: Sequence[str], inputs: Sequence[Any], arguments: Sequence[Any] = ()
) -> Callable[[Node], Role]:
    """Return a function from a placeholder of the joint graph to its role: what its value is in the training step.

    The role is ``("parameter", name)``, ``("buffer", name)``, ``("target", position)`` or ``("input", position)``,
    where ``position`` is the index of the value in ``arguments``, or −1 if it is not among them. The role is
    ``("tangent", 0)`` for the gradient of any output. A tensor that is a plain attribute of the model counts as a
    buffer.

    Parameters
    ----------
    sources : sequence of str
        Dynamo's source of each input, for example ``"L['self']._modules['fc']._parameters['weight']"``.
    inputs : sequence
        The value of each input of the graph.
    arguments : sequence
        The flattened inputs, keyword arguments and targets of the training step. Dynamo gives its inputs another order.
    """
    roles: list[Role] = []
    positions = {id(value): i for i, value in reversed(list(enumerate(arguments))) if isinstance(value, torch.Tensor)}
    for value, source in zip(inputs, sources, strict=True):
        if isinstance(value, torch.nn.Parameter):
            roles.append(("parameter", name_of(source)))
        elif "._buffers[" in source or source.startswith("L['self']."):  # or a tensor that is a plain attribute
            roles.append(("buffer", name_of(source)))
        else:
            role = "target" if source.startswith("L['targets']") else "input"
            roles.append((role, positions.get(id(value), -1)))

    def role_of(node: Node) -> Role:
        role, which = placeholder_role(node)
        return roles[which] if role == "input" and isinstance(which, int) and which < len(roles) else (role, which)

    return role_of


def name_of(source: str) -> str:
    """Return the dotted name of a parameter or buffer in the model, from Dynamo's source expression.

    Examples
    --------
    >>> name_of("L['self']._modules['layers']._modules['0']._parameters['weight']")
    'layers.0.weight'
    >>> name_of("G['head']._parameters['weight']")
    'head.weight'
    """
    root, _, rest = source.partition("]")
    variable = root[3:].rstrip("'")
    parts = [next(group for group in match if group) for match in _ATTRIBUTE.findall(rest)]
    return ".".join(parts if variable == "self" and parts else [variable, *parts])
