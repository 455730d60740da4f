"""Plans: which values are kept for the backward pass, and which are recomputed.

This package holds plans, the peak formula, trade-off curves, plan tables, baselines and comparisons.
"""
