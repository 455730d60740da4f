"""The names that the user's notebook gives to the model, the batch and the loss, for code that is shown to copy.

Variables of the notebook are looked at, by identity. A loss function that is no variable is looked for in the modules
that the notebook has imported. What has no name gets a usual one, for example ``x``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from operator import attrgetter
from types import ModuleType
from typing import Any

from recompviz.widgets.base.interactive import running_shell


@dataclass(frozen=True)
class ScriptNames:
    """Names of variables.

    Attributes
    ----------
    model : str
    inputs, targets : tuple of str
    kwargs, loss : str
        Empty if the training step has none.
    """

    model: str = "model"
    inputs: tuple[str, ...] = ("x",)
    targets: tuple[str, ...] = ("y",)
    kwargs: str = ""
    loss: str = "loss"

    def message(self) -> dict[str, str]:
        """Return the name of the model, a call of ``rv.trace``, and a call of one training step ``step``.

        Examples
        --------
        >>> ScriptNames(targets=()).message()["trace"]
        'rv.trace(model, x, loss=loss)'
        """
        targets = ", ".join(self.targets) + ("," if len(self.targets) == 1 else "")
        options = {"kwargs": self.kwargs, "targets": targets and f"({targets})", "loss": self.loss}
        given = [*self.inputs, *(f"{option}={name}" for option, name in options.items() if name)]
        batch = [*self.inputs, *self.targets, *([f"**{self.kwargs}"] if self.kwargs else [])]
        return {
            "model": self.model,
            "trace": f"rv.trace({', '.join([self.model, *given])})",
            "step": f"step({', '.join(batch)})",
        }


def names_of(
    model: Any, inputs: Sequence[Any], kwargs: Mapping[str, Any] | None, targets: Sequence[Any], loss: Any
) -> ScriptNames:
    """Return the names of the arguments of :func:`recompviz.explore` in the notebook that runs.

    Examples
    --------
    >>> names_of("a model", ["batch"], None, ["labels"], None)
    ScriptNames(model='model', inputs=('x',), targets=('y',), kwargs='', loss='')
    """
    variables: Mapping[str, Any] = getattr(running_shell(), "user_ns", {})
    known = {
        id(value): name
        for name, value in reversed(list(variables.items()))
        if name.isidentifier() and not name.startswith("_")
    }

    def each(values: Sequence[Any], usual: str) -> tuple[str, ...]:
        names = [usual] if len(values) == 1 else [f"{usual}{i}" for i in range(1, len(values) + 1)]
        return tuple(known.get(id(value), name) for value, name in zip(values, names, strict=True))

    return ScriptNames(
        known.get(id(model), "model"),
        each(inputs, "x"),
        each(targets, "y"),
        known.get(id(kwargs), "kwargs") if kwargs else "",
        "" if loss is None else known.get(id(loss)) or function_name(loss, variables) or "loss",
    )


def function_name(function: Any, variables: Mapping[str, Any]) -> str:
    """Return a name by which code reaches a function through a module; "" if there is none.

    Parameters
    ----------
    function : callable
    variables : mapping of str to object
        The variables of the code; some of them are modules.

    Examples
    --------
    >>> import os.path
    >>> import posixpath as p
    >>> function_name(p.join, {"os": os, "p": p}), function_name(p.join, {})
    ('p.join', '')
    """
    where, own = (str(getattr(function, attribute, "")) for attribute in ("__module__", "__name__"))
    found = []
    for name, module in variables.items():
        if isinstance(module, ModuleType) and name.isidentifier() and not name.startswith("_"):
            inner = f"{where}.".removeprefix(f"{module.__name__}.")  # the path from this module to that of the function
            for path in (own, f"{inner}{own}"):
                with suppress(AttributeError):  # the module has nothing of this name
                    if attrgetter(path)(module) is function:
                        found.append(f"{name}.{path}")
    return min(found, key=len, default="")
