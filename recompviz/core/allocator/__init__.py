"""A model of PyTorch's CUDA caching allocator, without a GPU and without torch.

``settings`` reads the allocator's settings. ``caching_allocator`` is the model, which chooses an address for each
request and reserves segments. ``reserved_memory`` defines the prediction for a training step.
"""
