"""The exact solver: dynamic programming over lower sets.

``oracle.py`` has the recursion over pairs of lower sets in NumPy, as the reference. ``compiled_pairs.py`` has the same
recursion compiled, for families of lower sets. ``open_segments.py`` has a faster recursion for all lower sets.
"""
