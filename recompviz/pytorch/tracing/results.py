"""The values that a joint graph returns: the outputs of the forward pass, then the gradients."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch.fx import Node

from recompviz.core.steps.joint import Category
from recompviz.pytorch.internals.export import is_forward_output, is_gradient
from recompviz.pytorch.tracing.step import TraceError, refuse_no_scalar
from recompviz.pytorch.tracing.storage_table import StorageTable

Values = tuple[Node | None, ...]


def split_outputs(output: Node, output_count: int | None) -> tuple[Values, Values]:
    """Split the values that a joint graph returns into the outputs of the forward pass and the gradients.

    There is one gradient for each input; None if the input gets no gradient.

    Parameters
    ----------
    output : torch.fx.Node
        The output node of the joint graph.
    output_count : int or None
        The number of outputs of a region, which is a part of a training step. None for a whole training step, which
        returns its loss and the tensors that it assigns to attributes of modules.

    Raises
    ------
    TraceError
        If a whole training step returns anything but one scalar, or overwrites a parameter or an input that requires a
        gradient.
    """
    values: Any = output.args[0]
    if output_count is not None:
        return tuple(values[:output_count]), tuple(values[output_count:])
    count = forward_output_count(output)
    if count == 0 or not is_forward_output(output.meta["desc"][0]):
        raise TraceError(
            "the step overwrites a parameter, or an input that requires a gradient; a plan cannot run it twice. "
            "Overwrite it outside forward() (an embedding with max_norm overwrites its weight inside)"
        )
    loss = values[0]
    refuse_no_scalar([loss.meta["val"] if isinstance(loss, Node) else loss])
    return tuple(values[:count]), tuple(values[count:])


def forward_output_count(output: Node) -> int:
    """Count the outputs of a whole training step: its loss, and the tensors that it assigns to modules' attributes."""
    return sum(map(is_forward_output, output.meta["desc"]))


def gradients_start(output: Node) -> int:
    """Return the position of the first gradient among the outputs of a joint graph.

    If no output is a gradient, return the number of outputs.
    """
    found = [i for i, desc in enumerate(output.meta["desc"]) if is_gradient(desc)]
    return found[0] if found else len(output.meta["desc"])


def name_results(table: StorageTable, outputs: Values, gradients: Values, region: bool, leaves: bool) -> None:
    """Set the category and label of the storages of outputs and of gradients.

    The gradients of parameters get the category of parameter gradients. So do the gradients of inputs if ``leaves`` is
    True. Otherwise the gradient of an input is passed on to the code that computed the input, and the storage of the
    gradient keeps its category and label.

    Parameters
    ----------
    table : StorageTable
        Changed in place.
    outputs, gradients : tuple of (torch.fx.Node or None)
    region : bool
        Whether the graph is a region, a part of a training step. Its outputs are labelled ``"output"``. The outputs of
        a whole training step are labelled ``"loss"``.
    leaves : bool
        Whether the inputs are leaves, so that autograd accumulates their gradients.
    """
    for node in outputs:
        if node is not None and node in table.storage_of:
            _name(table, node, Category.OUTPUT, "output" if region else "loss")
    for (_, (role, which)), gradient in zip(table.placeholders, gradients, strict=False):
        if gradient is not None and (role == "parameter" or leaves):
            _name(table, gradient, Category.PARAMETER_GRADIENT, f"gradient of {which}")


def _name(table: StorageTable, node: Node, category: Category, label: str) -> None:
    s = table.storage_of[node]
    if table.storages[s].maker >= 0:
        table.storages[s] = replace(table.storages[s], category=category, label=label)


def copied_gradients(table: StorageTable, gradients: Values, leaves: bool) -> tuple[tuple[int, int], ...]:
    """Return the gradients that autograd's AccumulateGrad copies, as pairs (storage, bytes of the copy).

    AccumulateGrad copies a gradient whose strides differ from the strides of its parameter. It also copies a gradient
    that several parameters share, for all of them but one. The arguments are as in :func:`name_results`.
    """
    arriving = [
        (placeholder, gradient)
        for (placeholder, (role, _)), gradient in zip(table.placeholders, gradients, strict=False)
        if gradient is not None and (role == "parameter" or leaves)
    ]
    last = {gradient: placeholder for placeholder, gradient in arriving}
    copied = []
    moved: set[int] = set()  # storages that become a parameter's gradient without a copy
    for placeholder, gradient in arriving:
        mine, theirs = gradient.meta["val"], placeholder.meta["val"]
        other_layout = mine.stride() != theirs.stride() and mine.numel() > 1
        if other_layout or last[gradient] is not placeholder:
            copied.append((table.storage_of[gradient], placeholder, theirs.numel() * mine.element_size()))
        else:
            moved.add(table.storage_of[gradient])
    # if another parameter keeps the storage, only the copy is counted, under the parameter's own storage
    return tuple((table.storage_of[p] if s in moved else s, size) for s, p, size in copied)
