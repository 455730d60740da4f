"""What users read: memory reports, their comparison, and figures.

``memory_report`` consists of ``findings`` (with ``source_line``), put in order by ``ranking``; ``text``, ``html`` and
``peak_figure`` show it; ``run_comparison`` matches the rows of two reports with ``row_pairs``. ``figures`` draws
timelines, trade-off curves and gaps; ``run_report`` is the result of one run of a plan.
"""
