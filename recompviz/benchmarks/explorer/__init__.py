"""Speed of the Explorer in a real JupyterLab: ``python -m recompviz.benchmarks.explorer``."""
