"""The exact solver: dynamic programming over lower sets.

It exists as an oracle over pairs of lower sets in NumPy, and as compiled open segments.
"""
