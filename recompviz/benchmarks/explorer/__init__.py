"""Measure the speed of the Explorer in a real JupyterLab; run as ``python -m recompviz.benchmarks.explorer``."""
