"""Keep a training loop within a total: record one of its steps, plan its regions, and choose plans at each later step.

A *region* is one graph that Dynamo captured. ``step_recorder.py`` records a step, and ``recorded_step.py`` is what was
recorded. ``planned_region.py`` has the plans of one region, and ``step_model.py`` combines them into plans of the step.
``resident_memory.py`` counts what is in memory when a step starts. ``step_budget.py`` leads the loop through all this,
and ``plan_chooser.py`` chooses the plans of a step while it runs.
"""
