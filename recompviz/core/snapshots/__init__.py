"""Memory snapshots of PyTorch's CUDA allocator as memory reports, without a GPU and without torch.

``reader`` reads the file, which it does not trust; ``replay`` replays its trace with a model of the allocator
(``allocator_model``); ``stacks`` finds the user's source lines; ``snapshot_report`` makes the report.
"""
