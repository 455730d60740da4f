"""One training step as operator calls.

The joint graph, its schedule, the lifetime simulation and the resulting timeline.
"""
