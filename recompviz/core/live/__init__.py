"""Search for plans with a low simulated peak memory.

The plans found have the kind ``"live"`` and may keep any set of values. The simulation frees each storage right after
its last use.
"""
