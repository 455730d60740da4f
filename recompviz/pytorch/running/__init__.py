"""The modules that train under plans: ``rv.compile`` and ``rv.apply``.

``compiled.py`` compiles a model for the user's own training loop, and ``planned.py`` compiles a traced step.
``compiled_report.py`` describes the step that a compiled model recorded.
"""
