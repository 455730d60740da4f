"""The origin of a value: module path, operator, occurrence, and the user's source line.

The key of a node consists of its module path, the public name of its operator, and its occurrence (0 for the first call
of such an operator in the module). The key is the same in every trace of the same model.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from typing import Any

import torch
from torch.fx import Graph, Node
from torch.utils.checkpoint import CheckpointPolicy

from recompviz.core.graphs.node_info import NodeInfo
from recompviz.core.graphs.operator_names import public_name
from recompviz.pytorch.internals.operators import operator_name

_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+), in [^\n]*\n(?P<text>[^\n]*)')
_INDEX = re.compile(r"\[(?:'([^']*)'|\"([^\"]*)\"|(\d+))\]")
# files below these folders belong to a library, not to the user
_LIBRARIES = (os.path.dirname(torch.__file__) + os.sep, os.path.dirname(os.path.dirname(__file__)) + os.sep)


class InfoMaker:
    """Makes the :class:`NodeInfo` of each call of one trace, and counts the occurrences of operators in modules."""

    def __init__(self) -> None:
        self._seen: Counter[tuple[str, str]] = Counter()

    def __call__(self, node: Node, value: Any, backward: bool, op: str = "", **flags: bool) -> NodeInfo:
        """Return the :class:`NodeInfo` of one call.

        Parameters
        ----------
        node : torch.fx.Node
        value : Any
            The call's result as fake tensors.
        backward : bool
            Whether the call belongs to the backward pass.
        op : str
            The name of the operator; by default the operator that the node calls.
        **flags
            ``needed``, ``output`` and ``mutation`` of the NodeInfo.
        """
        op = op or operator_name(node.target)  # the argument names a function that is several calls
        # outside every module there are the loss function, and autograd's sums of gradients
        module = module_path(node) or ("backward" if backward else "loss" if _in_loss(node) else "")
        short = public_name(op)
        occurrence = self._seen[module, short]
        self._seen[module, short] += 1
        key = f"{module}/{short}" if module else short
        tensor = first_tensor(value)
        return NodeInfo(
            key=key + (f"#{occurrence}" if occurrence else ""),
            op=op,
            module=module,
            source=innermost_user_line(node.meta.get("stack_trace") or ""),
            shape=tuple(int(size) for size in tensor.shape) if tensor is not None else (),
            dtype=str(tensor.dtype).removeprefix("torch.") if tensor is not None else "",
            block=block_of(module),
            checkpoint=_checkpoint(node),
            calls=_calls(node, module),
            **flags,
        )


def module_path(node: Node) -> str:
    """Return the dotted path of the module whose ``forward`` called an operator.

    The path is empty for the model itself, and for an operator outside of all modules, as in a loss function. An
    operator of the backward pass has the path of its forward operator.
    """
    stack = _stack(node)
    return _dotted(str(next(reversed(stack.values()))[0])) if stack else ""


def _stack(node: Node) -> dict[str, tuple[str, Any]]:
    """Return the modules around an operator, the outermost first: identity → (path, class).

    From the second call of a module on, its identity ends in ``@`` and the number of earlier calls.
    """
    return node.meta.get("nn_module_stack") or node.meta.get("fwd_nn_module_stack") or {}


def _dotted(path: str) -> str:
    """Return a path of Dynamo as the dotted path of a module below the model."""
    path = path.replace("._modules", "")
    path = path.removeprefix("G") if path.startswith("G[") else path  # a global variable
    path = _INDEX.sub(lambda match: "." + next(group for group in match.groups() if group is not None), path)
    parts = [part for part in path.split(".") if part not in ("", "L", "self")]
    return ".".join(parts[1:] if parts[:1] == ["model"] else parts)


def _calls(node: Node, module: str) -> tuple[int, ...]:
    """Return for each part of the path of a module how often that module had been called before.

    A container that is never called, such as a ``ModuleList``, has 0.
    """
    earlier = {_dotted(str(path)): int(key.rpartition("@")[2]) for key, (path, _) in _stack(node).items() if "@" in key}
    parts = module.split(".") if earlier else []
    return tuple(earlier.get(".".join(parts[: i + 1]), 0) for i in range(len(parts)))


def _checkpoint(node: Node) -> str:
    """Return the number of the user's checkpoint that recomputes a call, as AOTAutograd tags it; empty for none."""
    recomputed = (CheckpointPolicy.MUST_RECOMPUTE, CheckpointPolicy.PREFER_RECOMPUTE)
    return str(node.meta.get("ac_graph_id", 0)) if node.meta.get("recompute") in recomputed else ""


def _in_loss(node: Node) -> bool:
    return not (node.meta.get("nn_module_stack") or node.meta.get("fwd_nn_module_stack"))


def block_of(module: str) -> str:
    """Return the outermost series of repeated blocks that contains a module; empty if there is none.

    A series is the modules whose names differ only in a number, such as the elements of a ``ModuleList``.

    Examples
    --------
    >>> block_of("layer1.0.conv1"), block_of("fc")
    ('layer1.*', '')
    """
    parts = module.split(".")
    for i, part in enumerate(parts):
        if part.isdigit() and i:
            return ".".join(parts[:i]) + ".*"
    return ""


def innermost_user_line(stack_trace: str) -> str:
    """Return the innermost frame of a stack trace that is in the user's code, as ``file:line<TAB>text``.

    If no frame is in the user's code, the result is empty. Here all files count as the user's that belong to neither
    PyTorch nor ``recompviz.pytorch``.
    """
    best = ""
    for match in _FRAME.finditer(stack_trace):
        if not is_pytorch_file(match["file"]):
            best = f"{match['file']}:{match['line']}\t{match['text'].strip()}"
    return best


def is_pytorch_file(file: str) -> bool:
    """Return whether a file belongs to PyTorch or to ``recompviz.pytorch``."""
    return file.startswith(_LIBRARIES)


def first_tensor(value: Any) -> torch.Tensor | None:
    """Return the first tensor in a call's result; None if it contains no tensor."""
    if isinstance(value, torch.Tensor):
        return value
    if isinstance(value, (tuple, list)):
        return next((found for item in value if (found := first_tensor(item)) is not None), None)
    return None


def autograd_node(node: Node) -> int:
    """Return the number of the autograd node that ran a backward operator while the graph was traced; −1 if unknown.

    All backward operators that one autograd node runs have the same number. For a forward operator, the result is −1.
    """
    number = node.meta.get("seq_nr", -1) if node.meta.get("autograd_backward") else -1
    return number if isinstance(number, int) else -1


def values_for_loss(graph: Graph) -> list[Node]:
    """Return the values that operators of the model compute and operators of the loss function read."""
    found: dict[Node, None] = {}
    for node in graph.nodes:
        if node.op == "call_function" and _in_loss(node) and not node.meta.get("autograd_backward"):
            sources = (source for source in node.all_input_nodes if source.op == "call_function")
            found.update((source, None) for source in sources if not _in_loss(source))
    return list(found)
