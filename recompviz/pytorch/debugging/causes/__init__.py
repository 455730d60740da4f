"""Named causes of memory that is alive at the peak, in one file for each group.

A cause is a generator function. It takes the state at the peak and the live allocations, and yields findings.
``all_causes.py`` lists the causes, and ``shared.py`` has helper functions. To add a cause, write such a function and
list it in ``all_causes.py``. Some functions of ``outside_step.py`` take other arguments; ``report.py`` calls them.
"""
