"""Training loops and models with control flow, compiled with the backend and compared with eager PyTorch."""
