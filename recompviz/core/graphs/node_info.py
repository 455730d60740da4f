"""Facts about a node besides its costs, for example its operator, its module and the user's source line."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class NodeInfo:
    """Facts about a node besides its costs.

    Tracing a model (:func:`recompviz.trace`) fills them in; a graph made by hand has the defaults.

    Attributes
    ----------
    key : str
        Module path and operator, with a number from the second such node on, for example ``"layer1.0/add#1"``. The key
        is the same in every trace of the same model.
    op : str
        The operator that computes the value, for example ``"aten.convolution"``.
    module : str
        Dotted path of the module that calls the operator; empty for the model itself. If no module calls the operator,
        it is ``"loss"`` in the forward pass and ``"backward"`` in the backward pass.
    calls : tuple of int
        One number for each prefix of the path ``module``: the number of earlier calls of that module. For
        ``"head.conv"`` in the second call of ``head``, it is ``(1, 1)``: one earlier call of ``head``, one of
        ``head.conv``. Empty if all are 0, or if they are not known.
    source : str
        The user's source line that calls the operator: ``file:line``, a tab, and the text of the line.
    shape : tuple of int
        Shape of the operator's first output.
    dtype : str
        Data type of the operator's first output, for example ``"float32"``.
    block : str
        The series of repeated modules that the node belongs to, for example ``"layer1.*"``; empty if there is none.
    checkpoint : str
        The number, as a str, of the user's ``torch.utils.checkpoint`` call that recomputes the value; empty if there is
        none.
    needed : bool
        Whether a backward call reads the value, and the node is neither an output of the training step nor a view. A
        view has no memory of its own.
    output : bool
        Whether the value is an output of the training step.
    mutation : bool
        Whether the operator overwrites one of its arguments, as batch norm does with its running statistics.
    """

    key: str = ""
    op: str = ""
    module: str = ""
    source: str = ""
    shape: tuple[int, ...] = ()
    dtype: str = ""
    block: str = ""
    checkpoint: str = ""
    needed: bool = True
    output: bool = False
    mutation: bool = False
    calls: tuple[int, ...] = ()

    @property
    def member(self) -> str:
        """The path of the repeated module that the node belongs to; empty if there is none.

        Examples
        --------
        >>> NodeInfo(module="layer1.0.conv1", block="layer1.*").member
        'layer1.0'
        """
        return ".".join(self.module.split(".")[: len(self.block.split("."))]) if self.block else ""
