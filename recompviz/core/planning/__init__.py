"""The planner: every plan of one training step, searched for once and cached.

It combines the exact solver, the search in simulated bytes and the baselines.
"""
