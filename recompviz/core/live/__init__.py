"""Search for plans with a low simulated peak memory.

The plans found have the kind ``"live"`` and may keep any set of values. ``live_search.py`` has the search, and
``moves.py`` its moves. ``kernels.py`` has the lifetime simulation in compiled code, which frees each storage right
after its last use.
"""
