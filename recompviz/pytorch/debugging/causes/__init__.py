"""Named causes of live memory at the peak, in one file for each group.

A cause is a function of the state at the peak that returns findings. ``all_causes`` lists them; ``shared`` contains
what they have in common. To add a cause, write such a function and list it in ``all_causes``.
"""
