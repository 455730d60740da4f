"""Who made a value: module path, operator, occurrence, and the user's own line.

The key of a node is its module path, operator and occurrence, so that it is the same in every trace
of the same model; names that fx makes up and addresses never enter it.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from typing import Any

import torch
from torch.fx import Node

from recompviz.core.graphs.node_info import NodeInfo
from recompviz.pytorch.internals.operators import operator_name

_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+), in [^\n]*\n(?P<text>[^\n]*)')
_INDEX = re.compile(r"\[(?:'([^']*)'|\"([^\"]*)\"|(\d+))\]")
# lines inside these belong to a library, not to the user
_LIBRARIES = (os.path.dirname(torch.__file__) + os.sep, os.path.dirname(os.path.dirname(__file__)) + os.sep)


class InfoMaker:
    """Makes the :class:`NodeInfo` of each call of one trace, counting occurrences."""

    def __init__(self) -> None:
        self._seen: Counter[tuple[str, str]] = Counter()

    def __call__(self, node: Node, value: Any, backward: bool, op: str = "", **flags: bool) -> NodeInfo:
        op = op or operator_name(node.target)  # given where several calls are one function
        # what runs outside every module is the loss function, or autograd adding up gradients
        module = module_path(node) or ("backward" if backward else "loss" if _in_loss(node) else "")
        occurrence = self._seen[module, op]
        self._seen[module, op] += 1
        short = op.removeprefix("aten.")
        key = f"{module}/{short}" if module else short
        tensor = first_tensor(value)
        return NodeInfo(
            key=key + (f"#{occurrence}" if occurrence else ""),
            op=op,
            module=module,
            source=source_line(node.meta.get("stack_trace") or ""),
            shape=tuple(int(size) for size in tensor.shape) if tensor is not None else (),
            dtype=str(tensor.dtype).removeprefix("torch.") if tensor is not None else "",
            block=block_of(module),
            **flags,
        )


def module_path(node: Node) -> str:
    """The dotted path of the module whose forward called the operator; empty for the model itself."""
    stack = node.meta.get("nn_module_stack") or node.meta.get("fwd_nn_module_stack") or {}
    path = str(next(reversed(stack.values()))[0]) if stack else ""
    path = path.replace("._modules", "")
    path = _INDEX.sub(lambda match: "." + next(group for group in match.groups() if group is not None), path)
    parts = [part for part in path.split(".") if part not in ("", "L", "self")]
    return ".".join(parts[1:] if parts[:1] == ["model"] else parts)


def _in_loss(node: Node) -> bool:
    return not (node.meta.get("nn_module_stack") or node.meta.get("fwd_nn_module_stack"))


def block_of(module: str) -> str:
    """The series of repeated blocks a module lies in: ``"layer1.*"`` for ``"layer1.0.conv1"``."""
    parts = module.split(".")
    for i, part in enumerate(parts):
        if part.isdigit() and i:
            return ".".join(parts[:i]) + ".*"
    return ""


def source_line(stack_trace: str) -> str:
    """``file:line<TAB>text`` of the innermost frame that is the user's own."""
    best = ""
    for match in _FRAME.finditer(stack_trace):
        if not is_library(match["file"]):
            best = f"{match['file']}:{match['line']}\t{match['text'].strip()}"
    return best


def is_library(file: str) -> bool:
    """Whether a file belongs to PyTorch or to this layer, not to the user."""
    return file.startswith(_LIBRARIES)


def first_tensor(value: Any) -> torch.Tensor | None:
    """The first tensor in a call's output."""
    if isinstance(value, torch.Tensor):
        return value
    if isinstance(value, (tuple, list)):
        return next((found for item in value if (found := first_tensor(item)) is not None), None)
    return None
