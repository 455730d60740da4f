"""One training step as operator calls: its joint graph, its schedule, the simulation of its memory, its timeline.

``joint.py`` has the operator calls. ``schedule.py`` orders them for a plan, ``simulation.py`` simulates the lifetimes
of their storages, and ``timeline.py`` has the result.
"""
