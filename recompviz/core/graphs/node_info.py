"""Facts about a node besides its costs: the operator, the module, the user's source line."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class NodeInfo:
    """Facts about a node besides its costs; all empty for a graph made by hand.

    Attributes
    ----------
    key : str
        Module path, operator and occurrence; the same in every trace of the same model.
    op : str
        The operator, for example ``"aten.convolution"``.
    module : str
        Dotted path of the module that called it; empty at the top.
    source : str
        ``file:line`` in the user's code, a tab, and the text of that line.
    shape : tuple of int
        Of the first output.
    dtype : str
        Of the first output.
    block : str
        The repeated block the node belongs to, for example ``"layer1.*"``; empty for none.
    checkpoint : str
        The user's checkpoint (``torch.utils.checkpoint``) that recomputes the value; empty for none.
    needed, output, mutation : bool
        Needed by the backward pass; an output of the step; its operator updates a buffer.
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
