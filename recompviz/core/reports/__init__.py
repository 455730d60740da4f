"""Results for users: memory reports, comparisons, the report of a recorded step, races, and figures.

``memory_report`` defines the memory report. Its parts are in ``findings``, ``row_groups``, ``step_phases``,
``source_line`` and ``process_memory``, and ``ranking`` orders the findings. ``memory_report_text``, ``first_sentence``,
``html``, ``landscape`` and ``peak_figure`` show a report. ``run_comparison``, ``rank_comparison`` and
``graph_comparison`` compare results, and ``row_pairs`` matches the rows of reports. ``run_report`` is the result of one
run of a plan, with ``step_times``. ``training_step`` describes the recorded step of a compiled model, and
``training_step_text`` writes this description as text. ``race_report`` and ``race_picture`` are the race of several
methods. ``plotly_figures`` draws timelines, trade-off curves and gaps.
"""
