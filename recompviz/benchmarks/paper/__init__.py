"""Repeat the paper's experiments with today's PyTorch: predict memory at the paper's batch sizes, measure, and draw.

    python -m recompviz.benchmarks.paper            # everything: data, figures and page, into results/
    python -m recompviz.benchmarks.paper --page     # figures and page again, from the data
    python -m recompviz.benchmarks.paper resnet50 --device cuda

Each network has a data file in ``results/data`` with the parts "predicted", "measured on …" and "batches". Parts that
are already stored are not run again, so a stopped run can be continued.
"""
