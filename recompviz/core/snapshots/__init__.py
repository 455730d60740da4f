"""Memory reports from memory snapshots of PyTorch's CUDA allocator, without a GPU and without torch.

``reader`` reads the file without executing anything in it. ``replay`` replays the recorded events with a model of the
allocator (``allocator_model``). ``stacks`` finds the user's source lines. ``fragmentation`` judges memory that is
reserved but not allocated. ``snapshot_report`` makes the report.
"""
