"""Errors, sizes in bytes, colours and small helpers for the other packages of recompviz.

This package imports no other package of recompviz, except for drawing functions when they are called
(:mod:`recompviz.core.base.rendering`).
"""
