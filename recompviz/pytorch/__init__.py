"""The torch layer: trace a training step, run it under a plan, measure it.

Stands on :mod:`recompviz.core`, and knows nothing of widgets.
"""
