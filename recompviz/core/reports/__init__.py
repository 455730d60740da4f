"""Results for users: memory reports, their comparison, the report of a recorded step, and figures.

``memory_report`` defines the report. Its parts are in ``findings`` and ``source_line``, and ``ranking`` orders the
findings. ``memory_report_text``, ``html`` and ``peak_figure`` show a report. ``run_comparison`` compares two reports,
and ``row_pairs`` matches their rows. ``run_report`` is the result of one run of a plan. ``training_step`` describes the
recorded step of a compiled model, and ``training_step_text`` writes this description as text. ``plotly_figures`` draws
timelines, trade-off curves and gaps.
"""
