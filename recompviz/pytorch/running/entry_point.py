"""The entry point that ``torch.compile(model, backend="recompviz")`` loads, before Dynamo captures anything."""

from recompviz.pytorch.internals.dynamo import allow_more_captures
from recompviz.pytorch.running.compiled import backend, runs_by_name
from recompviz.pytorch.running.uncaptured import watch_steps

__all__ = ["backend"]

allow_more_captures()
watch_steps(backend, runs_by_name)
