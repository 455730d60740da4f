"""The paper's experiments with today's PyTorch: predicted at its batch sizes, measured where possible, and drawn.

    python -m recompviz.benchmarks.paper            # everything: data, figures and page, into results/
    python -m recompviz.benchmarks.paper --page     # figures and page again, from the data
    python -m recompviz.benchmarks.paper resnet50 --device cuda

The data of each network are stored in ``results/data``. Parts that are already there are not run again, so a stopped
run continues where it stopped.
"""
