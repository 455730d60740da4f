"""Commands that print tables: speed, memory, accuracy. Run as ``python -m recompviz.benchmarks.NAME``."""
