"""Tracing: from a model and one batch to the graph of its training step."""
