"""From a plan to a module that trains.

``backend.py`` makes a *region* of each graph that Dynamo captures. ``region.py`` runs a region forward and backward by
the program that ``program.py`` writes for a plan. ``step_budget.py`` chooses the plan of each region at each step.
``compiled.py`` is the entry for any training loop, ``planned.py`` for a traced step.
"""
