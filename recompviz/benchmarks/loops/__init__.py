"""Benchmarks of the backend: training loops and models with control flow, compared with eager PyTorch."""
