"""PyTorch's memory snapshots.

A safe reader, the replay of their events, and a model of the caching allocator.
"""
