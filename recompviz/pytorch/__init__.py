"""The PyTorch layer: trace a training step, run it under a plan, and measure its memory.

This layer imports :mod:`recompviz.core`, but not :mod:`recompviz.widgets`.
"""
