"""The state at the peak of a recording.

``peak_state`` answers who reads, saves and holds each live block; ``description`` puts the answers into words.
"""
