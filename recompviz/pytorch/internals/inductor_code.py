"""The memory of a graph that Inductor compiles, counted by running the code that Inductor generates for it.

When Inductor lowers a graph, it decides which values become buffers, where buffers are allocated and freed, and which
buffers it reuses. The generated host code runs here on tensors without memory, with kernels that do nothing. No kernel
is compiled.

Private PyTorch used here: ``compile_fx_inner`` of ``torch._inductor.compile_fx``, ``GraphLowering``, the names that
generated code reads, ``collect_fw_donated_buffer_idxs``, ``TracingContext`` and ``SymInt.node.hint``. Tried on torch
2.13.0 and 2.14.1, on the CPU.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import types
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
from torch.fx import Graph, GraphModule, Node
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from recompviz.pytorch.internals.undone import undone

__all__ = ["InductorMemory", "graph_key", "inductor_memory"]


@dataclass(frozen=True)
class InductorMemory:
    """The memory of a forward and a backward graph under Inductor, in bytes; frozen.

    The inputs of the forward graph, for example parameters, are not counted.

    Attributes
    ----------
    forward : int
        The largest number of bytes alive at one time in the forward pass.
    held : int
        Bytes of outputs and saved values, which are alive between the forward and the backward pass.
    saved : int
        Bytes of the saved values that share no storage with an output.
    backward : int
        The largest number of bytes alive at one time in the backward pass, including outputs, saved values and the
        gradients of the outputs.
    """

    forward: int
    held: int
    saved: int
    backward: int

    @property
    def peak(self) -> int:
        """The larger of ``forward`` and ``backward``, in bytes."""
        return max(self.forward, self.backward)


def inductor_memory(
    forward: GraphModule,
    backward: GraphModule,
    output_count: int,
    static: Sequence[int],
    rounded: Callable[[int], int] = int,
) -> InductorMemory:
    """Lower a forward and a backward graph with Inductor, and count the bytes of Inductor's buffers.

    Parameters
    ----------
    forward, backward : torch.fx.GraphModule
        The two graphs of a partitioned joint graph. They are not changed.
    output_count : int
        The number of outputs of the forward graph that are not saved values. These outputs come first.
    static : sequence of int
        The positions of the inputs of the forward graph that have the same address in every training step.
    rounded : callable (bytes) → bytes
        Rounds a size as the allocator does. By default sizes are not rounded.

    Returns
    -------
    InductorMemory
    """
    code = _generated(forward, range(output_count), static, None)
    given = [_without_memory(n.meta["val"]) for n in forward.graph.find_nodes(op="placeholder")]
    counter = _Counter(rounded, given)
    results = _run(code, list(given), counter)
    outputs, made = results[:output_count], results[output_count:]
    held, forward_peak = counter.now, counter.most
    counter.most = counter.now
    placeholders = backward.graph.find_nodes(op="placeholder")
    saved = [n for n in placeholders if "tangents" not in str(n.target)]
    # forward graphs return saved tensors, then sizes; backward graphs take sizes first
    tensors = [value for value in made if isinstance(value, torch.Tensor)]
    sizes = [value for value in made if not isinstance(value, torch.Tensor)]
    with counter:
        tangents = [_without_memory(n.meta["val"]) for n in placeholders[len(saved) :]]
    arguments = [*sizes, *tensors, *tangents]
    before = held - sum(counter.bytes_of(t) for t in {counter.key(t): t for t in outputs if _is_tensor(t)}.values())
    del made, tensors, results, tangents
    code = _generated(backward, (), range(len(saved)), _donated(forward, backward, output_count))
    kept = [*given, *outputs]  # the caller holds inputs and outputs
    gradients = _run(code, arguments, counter)
    del gradients, kept
    return InductorMemory(forward_peak, held, before, counter.most)


def graph_key(joint: GraphModule, output_count: int, static: Sequence[int]) -> str:
    """Return a key of a joint graph. If two graphs have the same key, Inductor generates the same code for them.

    The key depends on the code of the graph, on dtype, device, shape and strides of its inputs, on ``output_count`` and
    ``static`` (as in :func:`inductor_memory`), and on Inductor's settings, except the custom partitioner.
    """
    from torch._inductor import config

    inputs: list[object] = []
    for node in joint.graph.find_nodes(op="placeholder"):
        value = node.meta.get("val")
        if isinstance(value, torch.Tensor):
            size, stride = [_number(n) for n in value.shape], [_number(n) for n in value.stride()]
            inputs.append((value.dtype, value.device, size, stride))
        else:
            inputs.append(_number(value))
    # every Partitioner has an identity of its own, and it is one of the settings
    with config.patch(custom_partitioner_fn=None):
        settings = config.get_hash()
    return hashlib.sha256(f"{joint.code} {inputs} {output_count} {list(static)} {settings!r}".encode()).hexdigest()


def _is_tensor(value: Any) -> bool:
    return isinstance(value, torch.Tensor)


# -------------------------------------------------------------------- generated code


class _Generated(BaseException):
    """Ends a compilation and carries the generated code. It is a BaseException, so that PyTorch does not catch it."""

    def __init__(self, code: str, constants: dict[str, Any]) -> None:
        super().__init__()
        self.code, self.constants = code, constants


def _generated(
    module: GraphModule, visible: Sequence[int], static: Sequence[int], donated: list[int] | None
) -> _Generated:
    """Return the code that Inductor generates for a graph.

    Parameters
    ----------
    module : torch.fx.GraphModule
    visible : sequence of int
        The positions of the outputs that the user sees, whose strides Inductor keeps.
    static : sequence of int
        The positions of the inputs that have the same address in every training step.
    donated : list of int or None
        The positions of the inputs that a backward graph may overwrite; None for a forward graph.
    """
    from torch._inductor import config
    from torch._inductor.compile_fx import compile_fx_inner
    from torch._inductor.graph import GraphLowering
    from torch._inductor.utils import BoxedBool

    graph = Graph()
    graph.output(graph.graph_copy(module.graph, {}))
    output = next(iter(reversed(graph.nodes)))
    output.meta = dict(next(iter(reversed(module.graph.nodes))).meta)
    output.meta["user_visible_output_idxs"] = [i for i in visible if isinstance(output.args[0][i], Node)]
    copied = GraphModule(module, graph)
    inputs = [node.meta["val"] for node in graph.find_nodes(op="placeholder")]

    def stop(lowering: Any) -> Any:
        raise _Generated(lowering.codegen()[0].value, dict(lowering.constants))

    settings: dict[str, Any] = {
        "static_input_idxs": static,
        "cudagraphs": BoxedBool(False),
        "is_backward": donated is not None,
    }
    no_cache = config.patch(fx_graph_cache=False, fx_graph_remote_cache=False)
    with mock.patch.object(GraphLowering, "compile_to_module", stop), _donating(donated), no_cache:
        try:
            compile_fx_inner(copied, inputs, **settings)
        except _Generated as generated:
            return generated
    raise AssertionError("Inductor generated no code")


@contextlib.contextmanager
def _donating(positions: list[int] | None) -> Iterator[None]:
    """In a ``with`` block, tell Inductor the positions of the saved values that a backward graph may overwrite."""
    context = torch._guards.TracingContext.try_get()
    if context is None:
        yield
        return
    with undone(functools.partial(setattr, context, "fw_metadata", context.fw_metadata)):
        donated: Any = types.SimpleNamespace(bw_donated_idxs=positions or [])  # all that Inductor reads of it
        context.fw_metadata = donated
        yield


def _donated(forward: GraphModule, backward: GraphModule, output_count: int) -> list[int]:
    """Return the positions of the backward graph's inputs that are saved values, but no inputs or outputs."""
    from torch._functorch import config
    from torch._functorch._aot_autograd.graph_compile import collect_fw_donated_buffer_idxs

    if not config.donated_buffer:
        return []

    def values(nodes: Sequence[Any]) -> list[Any]:
        return [node.meta.get("val") if isinstance(node, Node) else None for node in nodes]

    inputs = forward.graph.find_nodes(op="placeholder")
    outputs = next(iter(reversed(forward.graph.nodes))).args[0][:output_count]
    gradients = next(iter(reversed(backward.graph.nodes))).args[0]
    saved = [n for n in backward.graph.find_nodes(op="placeholder") if "tangents" not in str(n.target)]
    # a size is not a fake tensor, so it is not donated
    return collect_fw_donated_buffer_idxs(values(inputs), values(outputs), values(gradients), values(saved))


# -------------------------------------------------------------------- running it without memory


class _Nothing:
    """Takes the place of a kernel, or of a compiler of kernels, and does nothing."""

    def __call__(self, *_arguments: Any, **_options: Any) -> Any:
        return self

    def __getattr__(self, _name: str) -> Any:
        return self


def _run(generated: _Generated, arguments: list[Any], counter: _Counter) -> list[Any]:
    """Run generated code on tensors without memory, and return its results. The list of arguments is emptied."""
    names: dict[str, Any] = {"__name__": "recompviz_without_memory"}
    nothing = _Nothing()
    with mock.patch("torch._inductor.async_compile.AsyncCompile", nothing):
        exec(compile(generated.code, "<generated by Inductor>", "exec"), names)
    for name in [name for name in names if name.startswith("empty_strided_")]:
        names[name] = _empty_strided
    names["reinterpret_tensor"] = _reinterpreted
    for name in ("assert_size_stride", "assert_alignment", "get_raw_stream", "get_cuda_stream"):
        names[name] = nothing
    for name, value in generated.constants.items():
        names[name] = _without_memory(value) if _is_tensor(value) else value
    with counter:
        return list(names["call"](arguments))


def _empty_strided(size: Any, stride: Any, dtype: torch.dtype) -> torch.Tensor:
    return torch.empty_strided(size, stride, dtype=dtype, device="meta")


def _reinterpreted(value: torch.Tensor, size: Any, stride: Any, offset: int = 0) -> torch.Tensor:
    return torch.as_strided(value, size, stride, int(value.storage_offset()) + offset)


def _without_memory(value: Any) -> Any:
    """Return a meta tensor with the shape and strides of a tensor. Symbolic sizes become the example's numbers."""
    if isinstance(value, torch.Tensor):
        size, stride = [_number(n) for n in value.shape], [_number(n) for n in value.stride()]
        return torch.empty_strided(size, stride, dtype=value.dtype, device="meta")
    return _number(value)


def _number(value: Any) -> Any:
    return value.node.hint if isinstance(value, (torch.SymInt, torch.SymFloat, torch.SymBool)) else value


class _Counter(TorchDispatchMode):
    """A dispatch mode that counts the bytes of the storages of live tensors, without the ``given`` inputs."""

    def __init__(self, rounded: Callable[[int], int], given: Sequence[Any]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # not annotated
        self.rounded = rounded
        self.now = self.most = 0
        self.given = {self.key(value) for value in given if _is_tensor(value)}
        self.looking: Counter[int] = Counter()
        self.sizes: dict[int, int] = {}
        self.seen: set[int] = set()

    @staticmethod
    def key(value: torch.Tensor) -> int:
        """Return a number that identifies the storage of a tensor."""
        return int(value.untyped_storage()._cdata)

    def bytes_of(self, value: torch.Tensor) -> int:
        """Return the bytes of a tensor's storage if it is counted; 0 for an input."""
        return self.sizes.get(self.key(value), 0)

    def __torch_dispatch__(self, function: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if isinstance(kwargs.get("device"), torch.device):
            kwargs["device"] = torch.device("meta")
        result = function(*args, **kwargs)
        for leaf in pytree.tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self._count(leaf)
        return result

    def _count(self, value: torch.Tensor) -> None:
        key = self.key(value)
        if key in self.given or id(value) in self.seen:
            return
        self.seen.add(id(value))
        if not self.looking[key]:
            self.sizes[key] = self.rounded(value.untyped_storage().nbytes())
            self.now += self.sizes[key]
            self.most = max(self.most, self.now)
        self.looking[key] += 1
        weakref.finalize(value, self._gone, id(value), key)

    def _gone(self, identity: int, key: int) -> None:
        self.seen.discard(identity)
        self.looking[key] -= 1
        if not self.looking[key]:
            self.now -= self.sizes.pop(key)
            del self.looking[key]
