"""The pure core: graph, lower sets, planning, schedule, timeline.

Nothing in this folder imports torch or Jupyter. It is the bottom of three layers that point one
way only: ``core`` → ``pytorch`` (trace, execute, measure) → ``widgets`` (pictures that move).
"""
