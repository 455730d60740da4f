"""Tracing: turns a model and one batch into the graph of one training step."""
