"""The only room that touches private PyTorch API.

Device and stack facts that are read from PyTorch are here, too.
"""
