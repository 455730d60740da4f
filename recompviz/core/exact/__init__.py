"""The exact solver: dynamic programming over lower sets.

As an oracle over pairs of lower sets, and as compiled open segments.
"""
