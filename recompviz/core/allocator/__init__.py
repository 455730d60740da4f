"""A model of PyTorch's CUDA caching allocator, without a GPU and without torch.

``settings`` reads the allocator's settings. ``blocks`` are the pieces of its segments. ``caching_allocator`` is the
model, which chooses a block for each request and reserves segments. ``reserved_memory`` defines the prediction for a
training step.
"""
