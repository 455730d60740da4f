"""Measuring: the memory and time of a training step, and whether it computes the same as in eager PyTorch."""
