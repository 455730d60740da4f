"""The state at the peak of a recording.

``peak_state`` finds the operators, autograd nodes and objects that use each live block. ``description`` makes texts of
these facts.
"""
