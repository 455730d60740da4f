"""The planner: all plans of one training step. Each table of plans is computed once and cached.

The plans come from the exact solver, from the search in simulated bytes and from the baselines.
"""
