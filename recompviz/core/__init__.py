"""The core layer: graphs, lower sets, plans, schedules and simulated timelines.

Nothing in this folder imports torch or Jupyter. The layers are ``core``, ``pytorch`` (tracing, running, measuring) and
``widgets`` (interactive widgets), from low to high. A layer imports only itself and lower layers.
"""
