"""Measure the memory and time of a training step, and check that it computes the same results as eager PyTorch."""
