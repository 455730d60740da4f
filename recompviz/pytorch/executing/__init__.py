"""Execute a plan: the forward and backward pass of one captured graph, called a region, run under the plan.

``backend.py`` makes a region of each graph that Dynamo captured. ``region.py`` runs its forward and backward pass with
the program that ``program.py`` writes for a plan. Which plan runs is decided elsewhere: a region asks its *chooser*,
through ``active_budget.py``.
"""
