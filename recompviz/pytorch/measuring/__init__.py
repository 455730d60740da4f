"""Measure the memory and time of a training step, and check that it computes the same results as eager PyTorch.

``meter.py`` measures memory, ``step_timing.py`` times, and ``calibration.py`` the workspace and time of each operator.
``certificate.py`` compares the results with those of eager PyTorch. ``racing.py`` compares methods.
"""
