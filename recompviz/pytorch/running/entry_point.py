"""The entry point that ``torch.compile(model, backend="recompviz")`` loads, before Dynamo captures anything."""

from recompviz.pytorch.internals.dynamo import allow_more_captures
from recompviz.pytorch.running.compiled import backend

__all__ = ["backend"]

allow_more_captures()
