"""Plans: which values are kept for the backward pass, and which are recomputed.

``plan.py`` has the plan, and ``formula.py`` the peak by the paper's formula. ``curve.py`` has trade-off curves,
``plan_table.py`` tables of plans, ``baselines.py`` the plans of common methods, and ``gap.py`` the reasons why the
measured peak differs from the peak by the formula.
"""
