"""The torch layer: trace a training step, run it under a plan, measure it.

It imports :mod:`recompviz.core`, never :mod:`recompviz.widgets`.
"""
