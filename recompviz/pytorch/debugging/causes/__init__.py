"""Named reasons for live memory at the peak.

One file for each group of causes.
"""
