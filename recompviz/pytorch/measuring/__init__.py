"""Measuring: what a step allocates, how long it takes, and whether it computes what eager PyTorch computes."""
