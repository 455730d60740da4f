"""Tracing: turns a model and one batch into the graph of one training step.

``tracer.py`` captures the step. ``folding.py`` turns the captured graph into operator calls, storages and the graph G
of intermediate values. ``costs.py`` gives each node of G its cost. ``traced_step.py`` has the result, the trace.
"""
