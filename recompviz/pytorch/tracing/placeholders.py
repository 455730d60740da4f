"""What each input of a captured graph is: a parameter, a buffer or an input, and its name in the model.

Dynamo lifts parameters and buffers to graph inputs. Its source for each says where in the model it was found.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.fx import GraphModule, Node

from recompviz.pytorch.internals.aot import input_sources
from recompviz.pytorch.internals.export import Role, placeholder_role

_ATTRIBUTE = re.compile(r"\._(?:modules|parameters|buffers)\['([^']*)'\]|\.([A-Za-z_]\w*)|\['([^']*)'\]|\[(\d+)\]")


def roles_of_inputs(graph: GraphModule, inputs: Sequence[Any]) -> Callable[[Node], Role]:
    """A function from a placeholder of the joint graph to its role and name.

    Parameters
    ----------
    graph : torch.fx.GraphModule
        As Dynamo captured it.
    inputs : sequence
        Its example inputs.
    """
    sources = input_sources(graph)
    roles: list[Role] = []
    for position, (value, source) in enumerate(zip(inputs, sources, strict=True)):
        name = _name(source)
        if isinstance(value, torch.nn.Parameter):
            roles.append(("parameter", name))
        elif "._buffers[" in source:
            roles.append(("buffer", name))
        else:
            roles.append(("input", position))

    def role_of(node: Node) -> Role:
        role, which = placeholder_role(node)
        return roles[which] if role == "input" and isinstance(which, int) and which < len(roles) else (role, which)

    return role_of


def _name(source: str) -> str:
    """``"layers.0.weight"`` for ``"L['self']._modules['layers']._modules['0']._parameters['weight']"``."""
    root, _, rest = source.partition("]")
    parts = [next(group for group in match if group) for match in _ATTRIBUTE.findall(rest)]
    return ".".join(parts) or root.removeprefix("L['").rstrip("'")
