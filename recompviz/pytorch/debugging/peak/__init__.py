"""The state at the peak of a recording.

``peak_state`` finds what reads, saves and holds each live block. ``description`` puts this into words.
"""
