"""Why memory is alive at the peak of an eager step.

The recorder, the peak, reference paths, causes and advice.
"""
