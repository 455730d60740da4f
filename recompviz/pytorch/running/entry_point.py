"""What ``torch.compile(model, backend="recompviz")`` loads by name. It is loaded before Dynamo captures anything."""

from recompviz.pytorch.internals.dynamo import allow_more_captures
from recompviz.pytorch.running.compiled import backend

__all__ = ["backend"]

allow_more_captures()
