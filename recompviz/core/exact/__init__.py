"""Solvers of the trade-off curve (the least recomputation for every budget): dynamic programming over lower sets.

``recursion.py`` has the recursion over pairs of lower sets in NumPy, as the reference. ``compiled_pairs.py`` has the
same recursion, compiled by numba, for families of lower sets. ``open_segments.py`` has a faster recursion over all
lower sets, also compiled. ``solver.py`` chooses one of the three.
"""
