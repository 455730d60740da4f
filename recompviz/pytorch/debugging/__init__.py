"""Explain which memory is alive at the peak of eager training steps, and why. This also finds leaks.

``session`` runs training steps, and ``loop_session`` observes the steps of a user's loop. ``recorder`` watches the
steps, and ``references`` searches for the objects that hold tensors. ``peak`` describes the state at the peak,
``causes`` finds why each block is alive, and ``report`` makes the memory report. ``expectation``, ``advice`` and
``what_if_notes`` add predictions from a trace of the training step.
"""
