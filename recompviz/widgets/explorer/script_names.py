"""The names that the user's notebook gives to the model, the batch and the loss, for code that is shown to copy.

Only variables of the notebook are looked at, by identity. What has no name there gets a usual one, for example ``x``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
    shell = running_shell()
    known = {
        id(value): name
        for name, value in reversed(list(getattr(shell, "user_ns", {}).items()))
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
        "" if loss is None else known.get(id(loss), "loss"),
    )
