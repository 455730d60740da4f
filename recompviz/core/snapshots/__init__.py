"""Memory reports from memory snapshots of PyTorch's CUDA allocator, without a GPU and without torch.

``opcodes`` checks the file before it is unpickled, and ``reader`` reads it without executing anything in it.
``starting_state`` derives the segments and blocks that existed when the recording began. ``replay`` replays the
recorded events from there with a model of the allocator's free memory (``allocator_model``, ``reserved_parts``).
``self_check`` compares the end of the replay with the file. ``stacks`` finds the user's source lines, ``marks`` the
annotations, and ``moments`` what is alive at one moment. ``fragmentation`` judges memory that is reserved but not
allocated, ``out_of_memory`` judges a failed request, and ``host_memory`` reads pinned memory. ``snapshot_report`` makes
the report, and ``recording_figures`` draws it. ``prediction`` compares a recording with what the model of the allocator
reserves for the recorded requests.
"""
