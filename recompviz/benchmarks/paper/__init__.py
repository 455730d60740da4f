"""The paper's experiments on today's PyTorch: predicted at its batch sizes, measured where that can be, and drawn.

    python -m recompviz.benchmarks.paper            # everything: data, figures and page, into results/
    python -m recompviz.benchmarks.paper --page     # figures and page again, from the data
    python -m recompviz.benchmarks.paper resnet50 --device cuda

Data are kept network by network in ``results/data``; what is there is not run again, so that a run that was
stopped goes on where it was.
"""
