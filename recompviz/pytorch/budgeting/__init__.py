"""Keep a training loop within a total of bytes: record one step, search plans, and choose plans for each later step.

A *region* is one graph that Dynamo captured. ``step_recorder.py`` records a step, and ``recorded_step.py`` reads the
record. ``planned_region.py`` has the plans of one region, and ``step_model.py`` combines them into plans of the step.
``resident_memory.py`` counts what is in memory when a step starts. ``step_budget.py`` controls the loop, and
``plan_chooser.py`` chooses the plans of a step while it runs.
"""
