"""A plan says which values are kept.

This room holds plans, the peak formula, trade-off curves, plan tables, baselines and comparisons.
"""
