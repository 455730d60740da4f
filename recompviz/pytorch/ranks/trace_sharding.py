"""Read from a trace which parameters each unit has, and how many rows and elements they have.

A *unit* is a module that is given to ``fully_shard``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch

from recompviz.core.base.arguments import shown
from recompviz.core.ranks.sharding import ROOT, ShardedParameter, ShardedUnit
from recompviz.core.steps.joint import Category
from recompviz.pytorch.ranks.rank_arguments import expect_paths, expect_reshard, fits
from recompviz.pytorch.tracing.traced_step import Trace


def units_of(
    trace: Trace,
    units: Iterable[str],
    reshard: bool | Mapping[str, bool] = True,
    stored: torch.dtype | None = None,
    reduced: torch.dtype | None = None,
) -> tuple[ShardedUnit, ...]:
    """Return the units of a trace: first the root (the model), then the others in the order of their forward passes.

    Units that do not run come last.

    Parameters
    ----------
    trace : Trace
    units : iterable of str
        Dotted paths of modules, in which ``*`` stands for one name of a path.
    reshard : bool or mapping of str to bool
        Whether units free their gathered parameters after their forward passes: one value for all, or a mapping from
        paths or patterns to values. The root never frees them, as is PyTorch's default.
    stored, reduced : torch.dtype, optional
        The dtype of the parts of parameters that each rank holds, and the dtype of gradients while they are reduced. By
        default, both are the dtype of the traced parameters.

    Raises
    ------
    ValueError
        If a path or pattern of ``units`` fits no module, one of ``reshard`` fits no unit, or ``reshard`` says that the
        root reshards.
    TypeError
        If ``units`` has an object that is not a str, or ``reshard`` is neither a bool nor a mapping to bools.
    """
    modules = [name for name, _ in trace.model.named_modules() if name]
    names: dict[str, None] = {}
    for pattern in expect_paths(units):
        fitting = [name for name in modules if fits(name, pattern)]
        if not fitting:
            known = ", ".join(map(repr, modules[:5]))
            raise ValueError(
                f'no module fits the unit {shown(pattern)}; write for example "layers.*" (modules: {known}, …)'
            )
        names.update(dict.fromkeys(fitting))
    expect_reshard(reshard, list(names))
    first: dict[str, int] = {}
    for c, call in enumerate(trace.joint.calls[: trace.joint.forward_count]):
        for name in names:
            if f"{call.info.module}.".startswith(f"{name}."):
                first.setdefault(name, c)
    ordered = sorted(names, key=lambda name: first.get(name, len(trace.joint.calls)))
    own: dict[str, list[ShardedParameter]] = {name: [] for name in (ROOT, *ordered)}
    for name, parameter in _parameters(trace, stored, reduced):
        inside = [unit for unit in ordered if name.startswith(f"{unit}.")]
        own[max(inside, key=len, default=ROOT)].append(parameter)
    return tuple(
        ShardedUnit(name, tuple(own[name]), name != ROOT and _reshards(name, reshard)) for name in (ROOT, *ordered)
    )


def _reshards(name: str, reshard: bool | Mapping[str, bool]) -> bool:
    if not isinstance(reshard, Mapping):
        return reshard
    return next((value for pattern, value in reshard.items() if fits(name, pattern)), True)


def _parameters(
    trace: Trace, stored: torch.dtype | None, reduced: torch.dtype | None
) -> list[tuple[str, ShardedParameter]]:
    """Return the path in the model and the sizes of each parameter of a trace."""
    folded = trace.folded
    tensors: dict[str, torch.Tensor] = dict(trace.step.named_parameters(remove_duplicate=False))
    paths = {id(p): name for name, p in reversed(list(trace.model.named_parameters(remove_duplicate=False)))}
    found: dict[int, tuple[str, ShardedParameter]] = {}
    given = [(node, role) for node, role in folded.placeholders if role[0] != "tangent"]
    for (node, (role, which)), gradient in zip(given, folded.gradients, strict=False):
        if role == "parameter":
            tensor = tensors[str(which)]
            storage = folded.storage_of[node]
            made = -1 if gradient is None else folded.storage_of[gradient]
            found[storage] = paths.get(id(tensor), str(which)), _sizes(tensor, storage, made, stored, reduced)
    by_label = {s.label: i for i, s in enumerate(folded.joint.storages) if s.category is Category.PARAMETER}
    for name, tensor in tensors.items():  # those that the step does not read
        extra = by_label.get(name)
        if extra is not None and extra not in found:
            found[extra] = paths.get(id(tensor), name), _sizes(tensor, extra, -1, stored, reduced)
    return list(found.values())


def _sizes(
    tensor: torch.Tensor, storage: int, gradient: int, stored: torch.dtype | None, reduced: torch.dtype | None
) -> ShardedParameter:
    """Return the sizes of a parameter with the given storages of its value and gradient in the joint graph."""
    rows = int(tensor.shape[0]) if tensor.dim() else 1
    row = tensor[0].numel() if tensor.dim() and rows else 1
    given = tensor.dtype
    return ShardedParameter(
        storage, gradient, rows, row, given.itemsize, (stored or given).itemsize, (reduced or given).itemsize
    )


def shard_maker(shards: int, rank: int, stored: torch.dtype | None = None) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return a function that takes a parameter and makes an empty tensor with the shape of its shard on a rank.

    Parameters
    ----------
    shards : int
        The number of ranks among which the parameter is divided.
    rank : int
        The number of the rank, from 0.
    stored : torch.dtype, optional
        The dtype of the shard; by default the dtype of the parameter.
    """

    def shard(tensor: torch.Tensor) -> torch.Tensor:
        shape = list(tensor.shape)
        if shape:
            rows = -(-shape[0] // shards)
            shape[0] = max(0, min(rows, shape[0] - rank * rows))
        return tensor.new_empty(shape, dtype=stored or tensor.dtype)

    return shard


def shapes_of(model: torch.nn.Module, units: Iterable[str]) -> dict[str, dict[str, tuple[int, ...]]]:
    """Return for each unit the shapes of its parameters, by their paths in the unit.

    A sharded parameter has the shape of the whole parameter.

    Examples
    --------
    >>> shapes_of(torch.nn.Sequential(torch.nn.Linear(3, 2)), ["0"])
    {'0': {'weight': (2, 3), 'bias': (2,)}}
    """
    return {unit: {path: tuple(p.shape) for path, p in model.get_submodule(unit).named_parameters()} for unit in units}
