"""Run training steps under plans.

A *region* is one graph that Dynamo captured. ``backend.py`` compiles it, and ``region.py`` runs its forward and
backward pass with the program that ``program.py`` writes for a plan. ``step_budget.py`` chooses a plan for each region
in each training step. ``compiled.py`` is the entry for a user's own training loop, ``planned.py`` for a traced step.
"""
