"""Access to Dynamo: settings for captures, additional guards, and the data that Dynamo keeps of earlier captures.

Private PyTorch used here: ``Guard`` and ``Source`` of ``torch._guards``, the settings in ``torch._C`` that choose
kernels, the hooks of all modules in ``torch.nn.modules.module``, ``torch._dynamo`` (``config``,
``_torchdynamo_orig_backend``, ``exc``, ``guards``, ``source``, ``symbolic_convert.tls`` with the side effects of its
``output``, ``variables.base``, ``utils.counters``, ``utils.get_metrics_context``, ``utils.get_compilation_metrics``,
``utils.set_compilation_metrics_limit``, ``reset``, ``reset_code``, ``register_backend``, ``eval_frame.skip_code``),
``dynamo_ctx`` of compiled modules, ``compiler_fn`` of ``torch._TorchCompileWrapper``, ``Module._call_impl`` and
``Module._compiled_call_impl``, ``is_fx_symbolic_tracing`` of ``torch.fx._symbolic_trace``,
``is_in_any_mode_without_ignore_compile_internals`` of ``torch.utils._python_dispatch``. For guards:
``CheckFunctionManager`` and ``install_guard`` of ``torch._dynamo.guards`` and ``_debug_get_cache_entry_list`` of
``torch._C._dynamo.eval_frame``. Tried on torch 2.13.0 and 2.14.1, on the CPU.
"""

from __future__ import annotations

import inspect
import os
import re
import sys
import weakref
from collections.abc import Callable
from types import CodeType
from typing import Any, cast

import torch
from torch import nn
from torch._C._dynamo import eval_frame
from torch._dynamo import config as dynamo_config
from torch._dynamo import utils as dynamo_utils
from torch._dynamo.eval_frame import skip_code
from torch._dynamo.exc import TorchDynamoException as DynamoError
from torch._dynamo.guards import CheckFunctionManager, GuardBuilder, install_guard
from torch._dynamo.source import AttrSource, GlobalSource
from torch._dynamo.symbolic_convert import tls as dynamo_tls
from torch._dynamo.utils import counters, get_metrics_context
from torch._dynamo.variables.base import ValueMutationExisting
from torch._guards import Guard, Source
from torch.fx._symbolic_trace import is_fx_symbolic_tracing
from torch.utils._python_dispatch import is_in_any_mode_without_ignore_compile_internals

__all__ = [
    "DynamoError",
    "allow_more_captures",
    "assigns_state",
    "backend_of",
    "captured_code",
    "compile_layers",
    "forget_code",
    "forget_graphs",
    "frequent_recompilation",
    "graph_breaks",
    "guard_process_state",
    "in_dispatch_mode",
    "mark_dynamic",
    "register_name",
    "trim_metrics",
]

# Dynamo's default is 8 graphs for one function; then it runs the function eagerly.
GRAPHS_OF_ONE_FUNCTION = 32

# How many compilations Dynamo remembers, with the reasons of those that failed; its own limit is 64.
REMEMBERED_COMPILATIONS = 4096

# What PyTorch asks when it divides a call into operators: attention and recurrent layers have several kernels.
_KERNEL_SWITCHES: tuple[Callable[[], Any], ...] = tuple(
    getattr(torch._C, name)
    for name in (
        "_get_flash_sdp_enabled",
        "_get_mem_efficient_sdp_enabled",
        "_get_math_sdp_enabled",
        "_get_cudnn_sdp_enabled",
        "_get_overrideable_sdp_enabled",
        "_get_sdp_priority_order",
        "_get_mkldnn_enabled",
        "_get_cudnn_enabled",
    )
    if hasattr(torch._C, name)
)

# What PyTorch looks at in each call of a module.
_GLOBAL_HOOKS: tuple[dict[int, Any], ...] = tuple(
    hooks
    for name in ("forward", "forward_pre", "backward", "backward_pre")
    if isinstance(hooks := vars(torch.nn.modules.module).get(f"_global_{name}_hooks"), dict)
)

# the fields of Dynamo's metrics that have the text of all settings
_SETTINGS = ("dynamo_config", "functorch_config", "inductor_config")

# Reasons for a recompilation that may come in each step: sizes and values. Parameters and layers differ between models.
_VARIES = re.compile(r"size mismatch|stride mismatch|rank mismatch|len\(| == -?[\d.]+")
_OF_MODEL = re.compile(r"_parameters|_buffers|_modules")
# In the reason for a recompilation: the number of the compilation, and what introduces the line of code.
_COMPILATION, _COMMENT = re.compile(r"^\d+/\d+: "), re.compile(r"\s+# ")


def allow_more_captures() -> None:
    """Let Dynamo capture recurrent layers and gradients taken inside a model, and notice hooks that are added later.

    The settings hold for the whole process. By default, Dynamo runs such layers and gradients eagerly, so that they
    cannot be planned, and it does not notice hooks that are added after a capture. The function has four further
    effects. ``numpy.random`` draws from NumPy's generator, and no longer from PyTorch's. An int attribute of a
    ``torch.nn`` layer is no longer a constant. Dynamo remembers more compilations. If Dynamo's limit on the graphs of
    one function has its default value, the limit is raised.
    """
    wanted = {
        "allow_rnn": True,
        "trace_autograd_ops": True,
        "allow_unspec_int_on_nn_module": True,  # an int that a layer counts with is an input, not a constant
        "skip_nnmodule_hook_guards": False,
        "use_numpy_random_stream": True,  # otherwise PyTorch's numbers take the place of NumPy's
    }
    for name, value in wanted.items():
        if hasattr(dynamo_config, name):
            setattr(dynamo_config, name, value)
    if dynamo_config.recompile_limit == 8:
        dynamo_config.recompile_limit = GRAPHS_OF_ONE_FUNCTION
    if len(dynamo_utils.get_compilation_metrics()) < REMEMBERED_COMPILATIONS:
        dynamo_utils.set_compilation_metrics_limit(REMEMBERED_COMPILATIONS)


def guard_process_state() -> None:
    """Add guards for changes that Dynamo does not notice.

    With them, Dynamo captures the function again after each of these changes:

    - A method that the function calls is replaced in its class. (Dynamo itself notices one that is replaced in an
      object.)
    - An environment variable is added or removed, and the function reads ``os.environ``. (Dynamo itself notices a new
      value of an existing variable.)
    - The compiled model is called under other settings that choose kernels, such as
      ``with torch.nn.attention.sdpa_kernel(…):``.
    - A hook for all modules is added or removed, as by ``torch.nn.modules.module.register_module_forward_hook``.

    Call this function in the backend, because Dynamo builds the guards of a graph after the backend has returned.
    """
    translator = getattr(dynamo_tls, "current_tx", None)
    if translator is None:
        return
    output = translator.output
    traced = set(output.tracing_context.traced_code)

    def source_of(value: Any) -> Source:
        return GlobalSource(output.install_global_by_id("__recompviz_guarded", value))

    for owner, name in _methods(
        traced, [value for value in translator.f_locals.values() if isinstance(value, nn.Module)]
    ):
        install_guard(AttrSource(source_of(owner), name).make_guard(GuardBuilder.ID_MATCH))
    look_up = getattr(getattr(os.environ, "encodekey", None), "__code__", None)
    if look_up in traced:
        environment = AttrSource(AttrSource(source_of(os), "environ"), "_data")
        install_guard(environment.make_guard(GuardBuilder.SEQUENCE_LENGTH))
    install_guard(Guard(source_of(_process_state), cast(Any, _guard_state)))


def _process_state() -> tuple[Any, ...]:
    """The switches of :data:`_KERNEL_SWITCHES`, and the hooks that PyTorch calls for every module."""
    return *[read() for read in _KERNEL_SWITCHES], *map(tuple, _GLOBAL_HOOKS)


def _guard_state(builder: GuardBuilder, guard: Guard) -> None:
    """Add a guard: Dynamo captures again when the result of :func:`_process_state` has changed.

    Dynamo calls this when it builds the guards. By then it has put back what the captured function itself switched.
    """
    captured = _process_state()
    builder.guard_manager.root.add_lambda_guard(
        lambda _: _process_state() == captured,
        ["the switches of kernels and the hooks of all modules are those of the capture"],
        guard.user_stack,
    )


def in_dispatch_mode() -> bool:
    """Return whether a dispatch mode is active in which Dynamo runs everything eagerly, such as ``FlopCounterMode``.

    If a compiled function is called in such a mode once, PyTorch 2.13 runs the function eagerly from then on.
    """
    return is_in_any_mode_without_ignore_compile_internals()


def captured_code() -> CodeType | None:
    """Return the code of the function that Dynamo captures now; None outside a capture. Call this in the backend."""
    translator = getattr(dynamo_tls, "current_tx", None)
    return None if translator is None else translator.f_code


def frequent_recompilation(often: bool) -> str:
    """Return the text of a warning if the current function was compiled so often that Dynamo will not do so again.

    The text names the function and the cause of the current compilation. It is empty if there is nothing to warn of.
    Call this in the backend.

    Parameters
    ----------
    often : bool
        Whether the caller finds that Dynamo compiles the function often. If True, the text is also returned at an
        earlier compilation, but only if a size or a value caused the current compilation.
    """
    translator = getattr(dynamo_tls, "current_tx", None)
    if translator is None:
        return ""
    code, limit = translator.f_code, dynamo_config.recompile_limit
    count = len(eval_frame._debug_get_cache_entry_list(code)) + 1
    if count != limit and not often:
        return ""
    # for example "0/31: len(self.seen) == 31  # self.seen.append(y)  # model.py:10 in forward"
    reason = str(getattr(get_metrics_context(), "_metrics", {}).get("recompile_reason") or "")
    condition, *comments = _COMMENT.split(_COMPILATION.sub("", reason.split("\n")[0]))
    place = f" ({comments[-1].strip()})" if comments else ""
    cause = f"; the last cause is that {condition.strip()}{place} no longer held" if condition.strip() else ""
    if count < limit and (not _VARIES.search(condition) or _OF_MODEL.search(condition)):
        return ""
    then = (
        "At the next change of this kind it runs eagerly and keeps every value"
        if count == limit
        else f"Each compilation takes time, and after {limit} of them it runs eagerly and keeps every value"
    )
    return (
        f"{code.co_name} ({code.co_filename}:{code.co_firstlineno}) was compiled {count} times{cause}. {then}. Keep "
        "what changes in each step out of the compiled model, or pass it as a tensor"
    )


def assigns_state() -> bool:
    """Return whether the function that Dynamo captures now assigns to attributes of ``self``, or changes a container.

    The submodules of ``self`` count as well. Containers are lists, dicts and sets; only those that existed before the
    call of the function count. Call this in the backend.
    """
    translator = getattr(dynamo_tls, "current_tx", None)
    if translator is None:
        return False
    effects = translator.output.side_effects
    assigned = [variable.source for variable, names in effects.store_attr_mutations.items() if names]
    names = [source.name() if callable(source.name) else source.name for source in assigned if source is not None]
    # libraries assign to their global objects while they are captured; containers there may be caches
    return any(name.startswith("L['self']") for name in names) or any(
        isinstance(variable.mutation_type, ValueMutationExisting) and variable.mutation_type.is_modified
        for variable in effects.id_to_variable.values()
    )


# Classes that had a traced method: after it was replaced, the code of the new one does not show its class.
_guarded_classes: weakref.WeakSet[type] = weakref.WeakSet()


def _methods(traced: set[CodeType], modules: list[nn.Module]) -> list[tuple[type, str]]:
    """Return (class, name) of each method and property whose code is in ``traced``.

    Only the classes of the modules, the classes with traced code (now or in an earlier call), and the base classes of
    both are searched.
    """
    files = {code.co_filename for code in traced}
    loaded = [getattr(module, "__dict__", {}) for module in list(sys.modules.values())]
    places = {names.get("__file__"): names for names in loaded if names.get("__file__") in files}
    main = vars(sys.modules["__main__"])  # also for the cells of a notebook
    for code in traced:
        *path, _ = code.co_qualname.split(".")
        found: Any = places.get(code.co_filename, main).get(path[0]) if path else None
        for part in path[1:]:
            found = getattr(found, "__dict__", {}).get(part)
        if isinstance(found, type):
            _guarded_classes.add(found)
    classes = {type(part) for module in modules for part in module.modules()}
    owners = {owner for one in (*classes, *_guarded_classes) for owner in one.__mro__}
    return [
        (owner, name)
        for owner in owners
        for name, value in list(vars(owner).items())
        if getattr(value.fget if isinstance(value, property) else value, "__code__", None) in traced
    ]


def compile_layers(model: nn.Module, backend: Callable[..., Any], dynamic: bool | None) -> None:
    """Compile each ``torch.nn`` layer inside a model on its own, in place, unless it is compiled already.

    The model itself, ``ModuleList`` and ``ModuleDict`` are left out.

    Dynamo cannot capture some functions, for example if a branch in a loop depends on data. It then captures the user's
    functions that such a function calls, but no functions of PyTorch. Therefore PyTorch's layers are compiled here. A
    layer that is called in a captured function still belongs to the graph of this function. ``backend`` and ``dynamic``
    are the arguments of ``torch.compile``.
    """
    for module in model.modules():
        from_torch = type(module).__module__.startswith("torch.nn.modules")
        if module is model or not from_torch or isinstance(module, nn.ModuleList | nn.ModuleDict):
            continue
        if module._compiled_call_impl is None:
            call = _caller(module)
            module._compiled_call_impl = _unless_traced(call, torch.compile(call, backend=backend, dynamic=dynamic))


def _caller(module: nn.Module) -> Callable[..., Any]:
    """Return a function that calls a module. ``Module.compile`` has no effect on modules that PyTorch defines.

    The function refers to the module, and the module to it: a weak reference would be in the names of traced values.
    """

    def call(*arguments: Any, **named: Any) -> Any:
        return module._call_impl(*arguments, **named)

    # Dynamo keeps its graphs by code object
    call.__code__ = call.__code__.replace(co_name=type(module).__name__)
    return call


def _unless_traced(call: Callable[..., Any], compiled: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that calls the compiled layer, but the layer itself while ``torch.jit.trace`` or fx records.

    Such tools refuse compiled functions. They are given the user's model, which must not show that it was compiled.
    The layer itself is also called inside a dispatch mode; see :func:`in_dispatch_mode`.
    """

    def layer(*arguments: Any, **named: Any) -> Any:
        traced = torch._C._get_tracing_state() is not None or is_fx_symbolic_tracing()
        if traced or in_dispatch_mode():
            return call(*arguments, **named)
        return compiled(*arguments, **named)

    layer._recompviz_compiled = compiled  # type: ignore[attr-defined]  # backend_of reads it
    skip_code(layer.__code__)  # otherwise Dynamo would capture this function in place of the layer
    return layer


def backend_of(module: nn.Module) -> Callable[..., Any] | None:
    """Return the backend with which ``torch.compile`` or ``Module.compile`` compiled a module; None if neither did."""
    context = vars(module).get("dynamo_ctx")
    called = vars(module).get("_compiled_call_impl")
    called = getattr(called, "_recompviz_compiled", called)
    callback = getattr(context, "callback", None)
    if callback is None and called is not None:
        callback = inspect.getclosurevars(called).nonlocals.get("callback")
    if not callable(callback):
        return None
    backend: Any = callback
    while hasattr(backend, "_torchdynamo_orig_backend"):  # set on the functions that wrap a backend
        backend = backend._torchdynamo_orig_backend
    return cast("Callable[..., Any]", getattr(backend, "compiler_fn", backend))


def register_name(name: str, backend: Callable[..., Any]) -> None:
    """Register a backend of ``torch.compile`` under a name in this process, unless the name is registered already."""
    if name not in torch._dynamo.list_backends(exclude_tags=()):
        torch._dynamo.register_backend(backend, name=name)


def forget_code(code: CodeType) -> None:
    """Drop the graphs that Dynamo compiled for a code object, and their guards.

    The compiled graphs and the code object refer to each other, and Python's garbage collector does not find this
    cycle.
    """
    dropped = [entry.guard_manager for entry in eval_frame._debug_get_cache_entry_list(code)]
    torch._dynamo.reset_code(code)  # type: ignore[attr-defined, unused-ignore]  # not declared in all releases
    _forget_guards({id(manager) for manager in dropped})


def _forget_guards(dropped: set[int]) -> None:
    """Detach the finalizers that keep guards alive; ``dropped`` has the identities of their guard managers.

    Dynamo registers a finalizer for each object that a guard names. Classes and functions live as long as the process,
    and so would the guards.
    """
    registry: dict[Any, Any] = getattr(weakref.finalize, "_registry", {})
    for finalizer, entry in list(registry.items()):
        function = getattr(entry, "func", None)
        guards = getattr(getattr(function, "func", None), "__self__", None)
        if isinstance(guards, CheckFunctionManager) and id(getattr(guards, "guard_manager", None)) in dropped:
            finalizer.detach()


def trim_metrics() -> None:
    """Free memory that Dynamo's metrics hold for earlier compilations.

    Tracebacks are dropped. Otherwise they, and the code objects in them, would stay alive until the process ends. The
    texts of Dynamo's settings are equal in most compilations. Equal texts are kept only once.
    """
    edits = getattr(get_metrics_context(), "_edits", None)
    if edits:
        edits.clear()
    for entry in reversed(dynamo_utils.get_compilation_metrics()):
        texts = {name: text for name in _SETTINGS if (text := getattr(entry, name, None))}
        if all(text is sys.intern(text) for text in texts.values()):
            return  # this entry and those before it were seen
        for name, text in texts.items():
            setattr(entry, name, sys.intern(text))


def mark_dynamic(tensor: torch.Tensor, dimension: int) -> None:
    """Tell Dynamo that a dimension of an input varies, so that the first captured graph is not for one size only."""
    torch._dynamo.mark_dynamic(tensor, dimension)


def forget_graphs() -> None:
    """Drop all graphs that Dynamo captured in this process, and set Dynamo's counters to zero."""
    torch._dynamo.reset()
    counters.clear()


def graph_breaks() -> int:
    """Return the number of graph breaks since the start of this process or the last call of :func:`forget_graphs`."""
    return int(sum(counters["graph_break"].values()))
