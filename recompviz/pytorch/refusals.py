"""What cannot be traced says why: the reason, and the user's own line."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from recompviz.pytorch import private
from recompviz.pytorch.node_info import is_library
from recompviz.pytorch.signature import computed_attributes
from recompviz.pytorch.step import Step, TraceError


def refuse_computed_constants(step: Step, constants: Sequence[torch.Tensor]) -> None:
    """A constant gets no gradient; one that was computed from parameters would get one in eager."""
    keys = {private.storage_key(constant) for constant in constants}
    for name, tensor in computed_attributes(step).items():
        if private.storage_key(tensor) in keys:
            raise TraceError(
                f"forward() reads {name}, which was computed before it and has a gradient function; "
                "compute it in forward(), or detach() it"
            )


def explanation(error: Exception) -> str:
    """The reason and the user's own line out of a long traceback."""
    text = str(error).strip()
    reason = next((line for line in text.splitlines() if line.strip()), type(error).__name__)
    # below its title, Dynamo tells what it met in this very step
    details = (line.strip().removeprefix("Explanation: ") for line in text.splitlines() if "Explanation: " in line)
    reason = ": ".join((reason.rstrip(":"), *list(details)[:1]))
    where = [line.strip() for line in text.splitlines() if line.strip().startswith('File "')]
    where = [line for line in where if not is_library(line.split('"')[1])] or where
    at = f"\n  at {where[-1]}" if where else ""
    hint = (
        "\nData-dependent control flow, prints of values and calls outside PyTorch break the graph; "
        "move them out of forward()."
    )
    return f"this step cannot be traced: {type(error).__name__}: {reason}{at}" + (hint if where else "")
