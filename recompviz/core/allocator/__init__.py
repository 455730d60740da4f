"""A model of PyTorch's CUDA caching allocator, without a GPU and without torch.

``settings`` reads the allocator's settings. ``caching_allocator`` is the model: it chooses an address for each request
and reserves segments. ``reserved_memory`` is the predicted memory of a training step.
"""
