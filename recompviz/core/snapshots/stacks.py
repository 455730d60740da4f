"""The stack traces of a memory snapshot: the user's source lines, and the category of the memory allocated there.

A snapshot has millions of frames, but few different ones. Each frame and stack is read once, and cached by the identity
of the unpickled objects.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from recompviz.core.reports.source_line import SourceLine
from recompviz.core.steps.joint import Category

# Files of installed packages and of Python itself. Files of PyTorch's own source tree are recognised by names that only
# PyTorch has, because a user's project may be in a folder called torch.
_LIBRARY = re.compile(
    r"/site-packages/|/dist-packages/|/lib(?:64)?/python3[.\d]*/|(?:^|/)<frozen|\bimportlib\b"
    r"|(?:^|/)torch/(?:_(?:tensor|ops|compile|utils|jit_internal|guards|linalg_utils)\.py"
    r"|_(?:dynamo|inductor|functorch|higher_order_ops|library|logging|refs|prims|decomp|subclasses|export|C|vendor)/"
    r"|nn/modules/|nn/(?:functional|parameter|init)\.py|nn/parallel/"
    r"|autograd/(?:__init__|function|graph|grad_mode|functional|forward_ad|profiler)\.py"
    r"|optim/(?:_\w+|optimizer|\w*ada\w*|\w*adam\w*|asgd|sgd|lbfgs|rprop|rmsprop|lr_scheduler|swa_utils)\.py"
    r"|utils/(?:checkpoint|hooks|_contextlib|_device|_pytree|_foreach_utils)\.py|utils/data/(?:_utils/|dataloader\.py)"
    r"|amp/(?:autocast_mode|grad_scaler)\.py|cuda/(?:__init__|graphs|memory|streams|amp/\w+)\.py"
    r"|distributed/(?:fsdp|_\w+|algorithms|tensor|checkpoint|pipelining)/|distributed/distributed_c10d\.py"
    r"|fx/(?:interpreter|graph_module|traceback|_\w+|experimental/\w+)\.py|jit/_\w+\.py"
    r"|(?:functional|storage|serialization|overrides)\.py)"
)
_OPTIMIZER = re.compile(r"/\w*optim\w*[/.]")
# files that torch.compile writes
_GENERATED = re.compile(r"torchinductor_|/torch_compile_debug/|<eval_with_key>|/fx_codegen|_fx_codegen/")
# functions into which Dynamo cuts the user's functions
_RESUMED = re.compile(r"^torch_dynamo_resume_in_(\w+)_at_\d+$")
# C++ functions that run a node of autograd's graph, or an operator
_NODE = re.compile(r"^torch::autograd::(?:generated::)?(\w{1,60})::apply\b")
_OPERATOR = re.compile(r"^at::_ops::(\w{1,60})::(?:call|redispatch)\b")
_ENGINE = re.compile(r"^torch::autograd::(?:\w+::)?(?:Python)?Engine::")
# a node that runs a Python function, whose frames say more
_PYTHON_NODE = "PyNode"
# a line of a stack trace as text
_TRACE_LINE = re.compile(r'^ *File "([^"\n]{1,1000})", line (\d{1,9})(?:, in ([^\n]{1,200}))?', re.MULTILINE)
# larger line numbers are ignored
MOST_LINES = 1 << 31
# texts with stack traces are read up to this length
MOST_TEXT = 100_000


@dataclass(frozen=True)
class Stack:
    """One stack trace.

    Attributes
    ----------
    lines : tuple of SourceLine
        The user's source lines, innermost first. An allocation of the backward pass has the lines of the forward pass,
        if they are recorded. An allocation by generated code of torch.compile has the lines from which the code was
        generated, if they are recorded. If no line of the stack is the user's, all lines of Python files.
    category : Category
        The use of the memory, guessed from the stack. It is ``OPTIMIZER`` if a frame is in a library's optimizer.
        Otherwise it is ``GRADIENT`` if the stack is of a backward pass, and ``KEPT`` if not. An empty stack has the
        category ``OTHER``.
    label : str
        File and line number of the first of ``lines``. Without lines, the name of the autograd node or of the operator
        in the C++ frames, for example ``"MmBackward0"``; empty if there is none.
    operator : str
        The name of the autograd node, or else of the outermost operator, in the C++ frames; empty if there is none.
    compiled : bool
        Whether generated code of torch.compile made the allocation.
    forward : bool
        True if the backward pass allocated, but ``lines`` are of the forward pass.
    """

    lines: tuple[SourceLine, ...] = ()
    category: Category = Category.OTHER
    label: str = ""
    operator: str = ""
    compiled: bool = False
    forward: bool = False


@dataclass(frozen=True)
class _Frame:
    line: SourceLine | None
    own: bool
    generated: bool = False
    optimizes: bool = False
    backward: bool = False
    node: str = ""  # the autograd node that the frame runs
    operator: str = ""  # the operator that the frame runs
    origin: tuple[SourceLine, ...] = ()  # the user's lines behind generated code, innermost first


class Stacks:
    """A cache of stack traces. Frames and lists of frames are cached by ``id``, so the caller must keep them alive."""

    def __init__(self) -> None:
        self._frames: dict[int, _Frame | None] = {}
        self._same: dict[tuple[Any, ...], _Frame] = {}  # frames of JSON are equal, but never identical
        self._stacks: dict[tuple[int, ...], Stack] = {}
        self._of_list: dict[tuple[int, int], Stack] = {}  # many events share one list

    def of(self, frames: Any, forward: Any = None) -> Stack:
        """Return the stack trace of a list of frames of a snapshot. The trace is empty if ``frames`` is not a list.

        Parameters
        ----------
        frames : list of dict
            The frames of an event or of a block, innermost first.
        forward : list of str, optional
            The event's ``forward_frames``: the stack of the forward operator, as text, outermost first.

        Examples
        --------
        >>> frames = [{"filename": "/x/torch/nn/modules/linear.py", "line": 3, "name": "f"},
        ...           {"filename": "/home/me/torch/train.py", "line": 7, "name": "step"}]
        >>> stack = Stacks().of(frames)
        >>> [line.place for line in stack.lines], stack.category.label
        (['train.py:7'], 'kept values')
        """
        if not isinstance(frames, list):
            frames = None
        if not isinstance(forward, list):
            forward = None
        of_list = id(frames), id(forward)
        found = self._of_list.get(of_list)
        if found is None:
            key = (*map(id, frames or ()), 0, *map(id, forward or ()))
            found = self._stacks.get(key) or self._read(frames or [], forward or [])
            self._stacks[key] = self._of_list[of_list] = found
        return found

    def of_record(self, record: Mapping[str, Any]) -> Stack:
        """Return the stack trace of an event or a block of a snapshot."""
        return self.of(record.get("frames"), record.get("forward_frames"))

    def _read(self, frames: list[Any], forward: list[Any]) -> Stack:
        known = [one for one in map(self._frame, frames) if one is not None]
        nodes = [one.node for one in known if one.node and one.node != _PYTHON_NODE]
        operators = [one.operator for one in known if one.operator]
        operator = nodes[0] if nodes else operators[-1] if operators else ""  # the frames are ordered from the inside
        if any(one.optimizes for one in known):
            category = Category.OPTIMIZER
        elif any(one.backward for one in known):
            category = Category.GRADIENT
        else:
            category = Category.KEPT if known else Category.OTHER
        compiled = any(one.generated for one in known)
        own = tuple(line for one in known for line in (one.origin or ((one.line,) if one.own and one.line else ())))
        of_forward = _user_lines(forward) if category is Category.GRADIENT or not own else ()
        if of_forward:
            own = of_forward
        if not own:
            own = tuple(one.line for one in known if one.line is not None)
        return Stack(own, category, own[0].place if own else operator, operator, compiled, bool(of_forward))

    def _frame(self, frame: Any) -> _Frame | None:
        key = id(frame)
        if key not in self._frames:
            self._frames[key] = self._read_frame(frame) if isinstance(frame, dict) else None
        return self._frames[key]

    def _read_frame(self, frame: dict[str, Any]) -> _Frame:
        given, number, called = frame.get("filename"), frame.get("line"), frame.get("name")
        # values of another type than PyTorch writes are not shown: they may be of any size
        file, name, trace = shown_text(given), shown_text(called), shown_text(frame.get("fx_original_trace"))
        number = number if isinstance(number, int) and 0 <= number < MOST_LINES else None
        key = file, number, name, trace
        if key not in self._same:
            self._same[key] = _described(*key)
        return self._same[key]


def shown_text(value: Any) -> str:
    """Return a text with its lone surrogates replaced, so that it can be shown; empty if ``value`` is not a str."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else ""


def is_library(file: str) -> bool:
    """Return whether a file belongs to Python, to PyTorch or to an installed package, judged by its path.

    Examples
    --------
    >>> is_library("/env/lib/python3.12/site-packages/einops/einops.py"), is_library("/src/pytorch/torch/_ops.py")
    (True, True)
    >>> is_library("/home/me/torch/train.py"), is_library("/work/torch/models/unet.py")
    (False, False)
    """
    return _LIBRARY.search(file.replace("\\", "/")) is not None


def _described(file: str, number: int | None, name: str, trace: str) -> _Frame:
    path = file.replace("\\", "/")
    generated = _GENERATED.search(path) is not None
    cell = "ipykernel" in path or path.startswith("<ipython")
    python = number is not None and (path.endswith((".py", ">")) or generated)
    resumed = _RESUMED.match(name)
    function = resumed[1] if resumed else name
    line = SourceLine(file, number or 0, "", function) if python or cell else None
    library = _LIBRARY.search(path) is not None and not cell
    node, operator = (pattern.search(name) for pattern in (_NODE, _OPERATOR))
    if library:
        backward = "backward" in name.lower()
    else:  # a user's function may be called forward_backward
        backward = node is not None or name == "backward" or _ENGINE.search(name) is not None
    return _Frame(
        line,
        line is not None and not library and not generated,
        generated and line is not None,
        library and _OPTIMIZER.search(path) is not None,
        backward,
        node[1] if node else "",
        operator[1] if operator else "",
        _user_lines([trace]) if trace else (),
    )


def _user_lines(texts: list[Any]) -> tuple[SourceLine, ...]:
    """Return the user's lines, innermost first, of stack traces as text, whose order is outermost first."""
    found = []
    for text in texts:
        for file, number, name in _TRACE_LINE.findall(shown_text(text)[:MOST_TEXT]):
            if not is_library(file) and not _GENERATED.search(file):
                found.append(SourceLine(file, int(number), "", name))
    return tuple(found[::-1])
