"""The memory that an optimizer adds to a training step: its state between steps, and scratch memory while it steps.

An optimizer makes its state in its first step. The sizes depend on its class, its options and the parameters' shapes.
A copy of the optimizer therefore takes two steps on parameters that have shapes and no memory, and the bytes that it
would allocate are counted. The user's optimizer is not changed.
"""

from __future__ import annotations

import copy
import weakref
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from recompviz.pytorch.internals.devices.runtimes import device_of, runtime
from recompviz.pytorch.internals.fake_tensors import FakeTensorMode
from recompviz.pytorch.internals.operators import takes_number_as_tensor
from recompviz.pytorch.internals.optimizers import plain_optimizer
from recompviz.pytorch.internals.tensors import storage_key
from recompviz.pytorch.tracing.step import TraceError
from recompviz.pytorch.tracing.user_errors import raise_if_it_must_come_through

# bytes that the CPU's operators allocate for a Python number: a double and its conversion
_NUMBER = 12


@dataclass(frozen=True)
class OptimizerBytes:
    """The memory of an optimizer, in bytes; frozen.

    Attributes
    ----------
    state : int
        Bytes of the state that the optimizer holds on the device between its steps.
    scratch : int
        The largest number of bytes that the optimizer's step needs at one time in addition to state, parameters and
        gradients.
    """

    state: int
    scratch: int


def optimizer_bytes(
    optimizer: torch.optim.Optimizer,
    has_gradient: Callable[[torch.Tensor], bool],
    device: torch.device,
    rounded: Callable[[int], int] = int,
    shard: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> OptimizerBytes:
    """Count the bytes of an optimizer, by two steps of a copy on tensors that have shapes and no memory.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        It may have stepped before. It is not changed.
    has_gradient : callable (parameter) → bool
        Whether a parameter gets a gradient. The optimizer skips the other parameters.
    device : torch.device
        The device on which the optimizer steps. On a GPU, PyTorch updates all parameters together (``foreach``), which
        takes more scratch memory. On the CPU, 12 bytes are added to ``scratch`` if an operator makes a tensor of a
        Python number.
    rounded : callable (bytes) → bytes
        Rounds a size as the allocator of the device does. By default sizes are not rounded.
    shard : callable (tensor) → tensor, optional
        For sharded parameters: returns, for a parameter, an empty tensor of the shape and dtype of the shard that the
        optimizer updates on this rank. State that the optimizer has already is then not counted, because the state is
        made again for the shards. By default, the optimizer updates whole parameters.

    Returns
    -------
    OptimizerBytes

    Raises
    ------
    TraceError
        If the optimizer cannot step on tensors without memory.

    Examples
    --------
    >>> p = torch.nn.Parameter(torch.zeros(100))
    >>> optimizer_bytes(torch.optim.SGD([p], lr=0.1, momentum=0.9), lambda p: True, torch.device("cpu"))
    OptimizerBytes(state=400, scratch=12)
    """
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    shadow = _shadow(optimizer, has_gradient, device, mode, shard)
    watch = _Watch(rounded)
    try:
        with mode, watch, torch.no_grad():
            shadow.step()
            watch.start_again()  # the first step makes the state, so it is not typical
            shadow.step()
    except Exception as error:  # an optimizer may be any code, and raise anything
        raise_if_it_must_come_through(error)
        raise TraceError(
            f"{type(optimizer).__name__}.step() does not run on fake tensors ({type(error).__name__}: {error}); "
            "call without optimizer=, and lower the total by the size of the optimizer's state"
        ) from error
    on_host = device.type != "cpu"  # step counts are on the host then, unless the kernel reads them
    state = {
        storage_key(leaf): leaf.untyped_storage().nbytes()
        for group in shadow.param_groups
        for parameter in group["params"]
        for leaf in pytree.tree_leaves(shadow.state.get(parameter, {}))
        if isinstance(leaf, torch.Tensor)
        and not (on_host and not leaf.dim() and not group.get("capturable") and not group.get("fused"))
    }
    held = sum(rounded(size) for size in state.values())
    numbers = _NUMBER if watch.numbers and not on_host else 0
    return OptimizerBytes(held, watch.most - watch.before + numbers)


def state_bytes(optimizer: torch.optim.Optimizer) -> int:
    """Count the bytes of state that an optimizer holds between its steps, if all trainable parameters get gradients.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        It may have stepped before. It is not changed.

    Returns
    -------
    int
        Bytes. The size of each tensor is rounded as the allocator of the parameters' device rounds it.

    Raises
    ------
    TraceError
        If the optimizer cannot step on tensors without memory.

    Examples
    --------
    >>> p = torch.nn.Parameter(torch.zeros(100))
    >>> state_bytes(torch.optim.SGD([p], lr=0.1, momentum=0.9))
    400
    """
    device = device_of(parameter for group in optimizer.param_groups for parameter in group["params"])
    counted = optimizer_bytes(optimizer, lambda p: p.requires_grad, device, runtime(device).rounded)
    return counted.state


def _shadow(
    optimizer: torch.optim.Optimizer,
    has_gradient: Callable[[torch.Tensor], bool],
    device: torch.device,
    mode: FakeTensorMode,
    shard: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> Any:
    """Copy an optimizer with parameters, gradients and state that have shapes and no memory."""
    shadow: Any = plain_optimizer(optimizer)
    for name, value in vars(shadow).items():
        if name not in ("param_groups", "state"):
            with mode:
                shadow.__dict__[name] = _without_memory(value)
    shadow.state = defaultdict(dict)
    shadow.param_groups = []
    for group in optimizer.param_groups:
        copies = []
        for parameter in group["params"]:
            with mode:
                whole = _shape_of(parameter)
                own = whole if shard is None else shard(whole)
                fake = torch.nn.Parameter(own, parameter.requires_grad)
                if parameter.requires_grad and has_gradient(parameter):
                    fake.grad = torch.empty_like(fake)
                if shard is None and (
                    state := optimizer.state.get(parameter)
                ):  # from the constructor, or from earlier steps
                    shadow.state[fake] = pytree.tree_map_only(torch.Tensor, _shape_of, state)
            copies.append(fake)
        with mode:
            options = {name: _without_memory(value) for name, value in group.items() if name != "params"}
        if options.get("foreach", False) is None and not options.get("fused"):
            options["foreach"] = runtime(device).foreach_optimizers
        shadow.param_groups.append({"params": copies, **options})
    return shadow


def _without_memory(value: Any) -> Any:
    """Copy an attribute or option of an optimizer, with tensors that have shapes and no memory."""
    return pytree.tree_map(lambda leaf: _shape_of(leaf) if isinstance(leaf, torch.Tensor) else copy.copy(leaf), value)


def _shape_of(tensor: torch.Tensor) -> torch.Tensor:
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="cpu")


class _Watch(TorchDispatchMode):
    """A dispatch mode that counts the bytes of live tensors. Reading a tensor as a number (a step count) gives 2."""

    def __init__(self, rounded: Callable[[int], int]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # not annotated
        self.rounded = rounded
        self.before = self.now = self.most = 0
        self.sizes: dict[int, int] = {}
        self.numbers = False  # whether an operator got a number for which its kernel makes a tensor

    def start_again(self) -> None:
        self.before = self.most = self.now

    def __torch_dispatch__(self, function: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is torch.ops.aten._local_scalar_dense.default:
            return 2.0 if args[0].is_floating_point() else 2
        if function is torch.ops.prim.device.default:  # asked several times for each parameter, and makes no tensor
            return function(*args)
        given = {storage_key(leaf) for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)}
        self.numbers |= takes_number_as_tensor(function, args)
        result = function(*args, **(kwargs or {}))
        for leaf in pytree.tree_leaves(result):
            if not isinstance(leaf, torch.Tensor):
                continue
            key = storage_key(leaf)
            if key not in given and key not in self.sizes:
                self.sizes[key] = self.rounded(leaf.untyped_storage().nbytes())
                self.now += self.sizes[key]
                self.most = max(self.most, self.now)
                weakref.finalize(leaf, self._gone, key)
        return result

    def _gone(self, key: int) -> None:
        self.now -= self.sizes.pop(key)
