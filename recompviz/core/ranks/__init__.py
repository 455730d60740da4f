"""What one rank of a distributed training step holds: sharded parameters, gathered buffers and reduced gradients.

A *rank* is one process of a distributed training run, with one device.
"""
