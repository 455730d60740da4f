"""Benchmarks of speed, memory and accuracy. Run them as ``python -m recompviz.benchmarks.NAME``; they print tables."""
