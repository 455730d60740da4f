"""Benchmarks of robustness: faults injected into public functions, random graphs, damaged files, damaged messages."""
