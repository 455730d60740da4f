"""All code that uses private PyTorch API.

Each file lists the private names that it uses and the releases of PyTorch on which it was tried. Code that differs
between devices, and code that reads stack traces, is here, too.
"""
