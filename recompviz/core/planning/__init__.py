"""The planner: it finds the plans of one training step for every memory budget, and caches them.

The plans come from the exact solver, from the search in simulated bytes and from the baselines.
"""
