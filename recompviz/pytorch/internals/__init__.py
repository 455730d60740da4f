"""All code that uses private PyTorch API.

Each file lists the private names that it uses and the releases of PyTorch on which it was tried. This package also has
the code that differs between devices and the code that reads stack traces.
"""
