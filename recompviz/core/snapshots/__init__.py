"""Memory reports from memory snapshots of PyTorch's CUDA allocator, without a GPU and without torch.

<<<<<<< HEAD
``reader`` reads the file without executing anything in it. ``replay`` replays the recorded events with a model of the
allocator (``allocator_model``). ``stacks`` finds the user's source lines. ``fragmentation`` judges memory that is
reserved but not allocated. ``snapshot_report`` makes the report.
=======
``reader`` reads the file without trusting it. ``starting_state`` derives the segments and blocks that existed when the
recording began. ``replay`` replays the trace from there with a model of the allocator's free memory
(``allocator_model``). ``stacks`` finds the user's source lines. ``fragmentation`` judges memory that is reserved but
not allocated. ``snapshot_report`` makes the report.
>>>>>>> c91d395 (Recordings are replayed from the state before them: reserved bytes, private pools, expandable segments, rounding by settings and files with one kind of free are read right; benchmarks.allocator compares the model with recordings)
"""
