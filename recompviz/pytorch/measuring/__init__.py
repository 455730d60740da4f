"""What a step really takes.

The memory window, measurement, calibration and the certificate.
"""
