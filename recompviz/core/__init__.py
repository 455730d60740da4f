"""The pure core: graph, lower sets, planning, schedule, timeline.

Nothing in this folder imports torch or Jupyter. It is the lowest of three layers: ``core``, ``pytorch`` (trace, run,
measure) and ``widgets`` (interactive widgets). A layer imports only lower layers.
"""
