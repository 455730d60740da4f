"""Why memory is alive at the peak of an eager step.

``session`` runs the steps: ``recorder`` watches them, ``references`` searches for who holds what, ``peak`` is the state
at the peak, ``causes`` explain its blocks, ``report`` makes the memory report. ``expectation``, ``advice`` and
``what_if_notes`` add what the trace of the step predicts.
"""
